"""Attention over a local window of voxels, without a codebook (VoTr).

After the submanifold blocks of VoTr (Mao et al. 2021, arXiv 2109.02497), with a window that is
near and dense, far and sparse, and in the pre-norm form of today's transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

import cuda_ops
from pc3d.nn.codebook import CodeSpec
from pc3d.nn.codebook_attention import change_width
from pc3d.sparse import CoordSet, SparseTensor


class LocalAttention(nn.Module):
    """Multi-head attention of every voxel over the occupied taps of its window.

        y[n] = sum over taps k of softmax_k(q[n] . k[m] / sqrt(C / H) + bias[k]) * v[m]

    with m the neighbour at tap k; taps without a voxel have no part in the softmax. The centre is
    always there, so a lonely voxel attends to itself.

    Args:
        channels: C.
        head_channels: C / H.
        window: keyword arguments of a `CodeSpec` for every kernel of the window; taps that occur in
            an earlier kernel too are left out.

    Raises:
        ValueError: no kernel, masks, strides, or heads that do not divide the channels.

    Shape: [N, C] to [N, C].
    """

    def __init__(
        self, channels: int, head_channels: int, window: Sequence[Mapping[str, Any]]
    ) -> None:
        super().__init__()
        if head_channels < 1 or channels % head_channels:
            raise ValueError(
                f"head_channels must divide the channels; got {head_channels} for {channels}"
            )
        specs = [CodeSpec(**kernel) for kernel in window]
        if not specs or any(spec.masks or spec.stride != 1 for spec in specs):
            raise ValueError("a window needs at least one kernel, and none with masks or stride 2")
        self.heads = channels // head_channels
        self.kernels = [spec.kernel for spec in specs]
        offsets = [offset for kernel in self.kernels for offset in kernel.offsets]
        first = [n for n, offset in enumerate(offsets) if offset not in offsets[:n]]
        self.taps: Tensor
        self.register_buffer("taps", torch.tensor(first), persistent=False)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.bias = nn.Parameter(torch.zeros(len(first), self.heads))

    def forward(self, x: Tensor, coords: CoordSet) -> Tensor:
        """[N, C] from [N, C] on the N voxels of `coords`."""
        q, k, v = self.qkv(x).chunk(3, dim=1)
        tables = [coords.neighbors(kernel).table for kernel in self.kernels]
        q = q * (self.heads / x.shape[1]) ** 0.5
        dots = torch.cat([cuda_ops.neighbor_dot(q, k, table, self.heads) for table in tables], 1)
        occupied = torch.cat(tables)[self.taps].T.unsqueeze(2) >= 0
        logits = (dots[:, self.taps] + self.bias).masked_fill(~occupied, -torch.inf)
        shares = logits.softmax(dim=1)
        weights = torch.zeros_like(dots).index_copy(1, self.taps, shares)
        parts = weights.split([kernel.num_taps for kernel in self.kernels], dim=1)
        y = sum(
            cuda_ops.neighbor_sum(part, v, table) for part, table in zip(parts, tables, strict=True)
        )
        out: Tensor = self.project(y)
        return out


class LocalAttentionBlock(nn.Module):
    """A pre-norm transformer block: local attention, then a two-layer perceptron.

    Where the widths differ, pointwise layers come first, as in `VoxelTransformerBlock`.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        head_channels: channels of a head.
        window: see `LocalAttention`.
        mlp_ratio: width of the perceptron's hidden layer per channel.

    Shape: [N, C_in] to [N, C_out].
    """

    input_axes: ClassVar[Mapping[str, int]] = {"prelude.conv.weight": 1, "shortcut.weight": 1}
    stacked_axes: ClassVar[Mapping[str, tuple[int, int]]] = {
        "attention.qkv.weight": (0, 3),
        "attention.qkv.bias": (0, 3),
    }

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        head_channels: int,
        window: Sequence[Mapping[str, Any]],
        mlp_ratio: int = 2,
    ) -> None:
        super().__init__()
        self.prelude, self.shortcut = change_width(in_channels, out_channels)
        self.norm1, self.norm2 = nn.LayerNorm(out_channels), nn.LayerNorm(out_channels)
        self.attention = LocalAttention(out_channels, head_channels, window)
        self.mlp = nn.Sequential(
            nn.Linear(out_channels, mlp_ratio * out_channels),
            nn.GELU(),
            nn.Linear(mlp_ratio * out_channels, out_channels),
        )

    def forward(self, x: SparseTensor) -> SparseTensor:
        residual, x = self.shortcut(x).feats, self.prelude(x)
        y = residual + self.attention(self.norm1(x.feats), x.coords)
        return x.with_feats(y + self.mlp(self.norm2(y)))
