"""Attention patterns out of a codebook: each voxel's softmax over taps is vector-quantised.

Per voxel n and group g, with m the neighbour at tap k, occupied taps only:

    u[n, k, g]  = MLP(q[n] - q[m])           a[n, :, g] = softmax over taps of u[n, :, g]
    a^[n, :, g] = the code nearest to a[n, :, g], restricted to occupied taps, summing to 1
    y[n, c]     = sum over taps of a^[n, k, g(c)] * v[m, c]

Codes are moving averages of the patterns they stand for (`VectorQuantizer`). The weights [N, K, G]
are kept in memory; this variant is for studies of quantised attention, not for speed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import cuda_ops
from pc3d.nn.codebook import CodeSpec, check_groups
from pc3d.nn.vector_quantize import VectorQuantizer
from pc3d.sparse import SparseTensor

MIN_SHARE = 1e-3
"""Of the centre, so that a code without weight on a voxel's neighbours leaves it its own value."""


class PatternAttention(nn.Module):
    """Values [N, C] mixed by quantised attention patterns.

    Args:
        in_channels: channels of the features that queries are made of.
        channels: C, channels of values and output.
        groups: G groups of C / G consecutive channels, each with a pattern of its own.
        num_codes: patterns in the codebook that all groups share.
        dilation: of the cube of 27 taps.
        decay: see `VectorQuantizer`.
        commitment_weight: see `VectorQuantizer`; the loss is in the output of the network.
        dead_threshold: see `VectorQuantizer`.

    Raises:
        ValueError: groups that do not divide the channels; see `VectorQuantizer`.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        groups: int = 8,
        num_codes: int = 32,
        dilation: int = 1,
        decay: float = 0.99,
        commitment_weight: float = 0.25,
        dead_threshold: float = 2.0,
    ) -> None:
        super().__init__()
        check_groups(channels, groups)
        self.groups, self.kernel = groups, CodeSpec(dilation=dilation).kernel
        self.query = nn.Linear(in_channels, groups)
        self.mlp = nn.Sequential(nn.Linear(groups, groups), nn.ReLU(), nn.Linear(groups, groups))
        self.quantizer = VectorQuantizer(
            num_codes=num_codes,
            dim=self.kernel.num_taps,
            init="kmeans",
            decay=decay,
            commitment_weight=commitment_weight,
            dead_threshold=dead_threshold,
        )

    def forward(self, x: SparseTensor, v: SparseTensor) -> SparseTensor:
        """Mixed values [N, C] from features x [N, in_channels] and values v [N, C]."""
        table = x.coords.neighbors(self.kernel).table
        occupied = (table >= 0).T.unsqueeze(2)
        patterns = self.patterns(x.feats, table).masked_fill(~occupied, -torch.inf).softmax(dim=1)
        rows = patterns.transpose(1, 2).reshape(-1, self.kernel.num_taps)  # [N * G, K]
        quantized, _, _ = self.quantizer(rows)
        shares = quantized.unflatten(0, (-1, self.groups)).transpose(1, 2)
        shares = shares * occupied
        least = shares.new_zeros(self.kernel.num_taps, 1)
        least[self.kernel.num_taps // 2] = MIN_SHARE
        shares = shares + least
        shares = shares / shares.sum(dim=1, keepdim=True)
        return v.with_feats(cuda_ops.neighbor_sum(shares, v.feats, table))

    def patterns(self, feats: Tensor, table: Tensor) -> Tensor:
        """[N, K, G], the logits of the attention over taps; of no meaning where no voxel is."""
        query = self.query(feats)
        neighbor = cuda_ops.neighbor_dot(torch.ones_like(query), query, table, self.groups)
        logits: Tensor = self.mlp(query.unsqueeze(1) - neighbor)
        return logits
