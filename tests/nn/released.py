"""The block that was published with CodedVTR, from its equations and in plain torch.

Values and queries of every neighbour are gathered into [N, K, E] and the queries expanded to all
channels, as the release does. Those of its defects that are equations are options, here and nowhere
else. The others are not: maps registered as buffers in every pass (checkpoints of other shapes),
`requires_grad` switched within the forward pass, queries made after the optimizer, regularizers
that DDP hides, a dictionary of kernel arguments that is emptied, and a test against voxel labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, relu

from pc3d.nn import VoxelTransformerBlock
from tests import oracle


class ReleasedBlock:
    """Evaluates the published equations with the weights of one of our blocks.

    Args:
        block: in evaluation mode, with a soft choice at temperature 1.
        rows: the voxels.
        guidance: multiply the choice by the "sparse pattern" of blocks without masks.
        pairwise: logits from differences of queries, in the form of the release.
    """

    def __init__(
        self,
        block: VoxelTransformerBlock,
        rows: list[oracle.Row],
        guidance: bool = False,
        pairwise: bool = False,
    ) -> None:
        self.block, self.rows = block, rows
        self.guidance, self.pairwise = guidance, pairwise
        book = block.attention.codebook
        self.groups = book.groups
        self.codes = book.weight.split(book.num_taps)
        self.tables = []
        for spec in book.specs:
            taps = oracle.offsets(spec.size, spec.dilation, spec.shape)
            self.tables.append(torch.tensor(oracle.neighbor_table(rows, taps)).T)  # [N, K]
        self.logits = self.choice = torch.empty(0)

    def __call__(self, x: Tensor) -> Tensor:
        block = self.block
        residual = x
        if not isinstance(block.prelude, nn.Identity):
            residual = x @ block.shortcut.weight.T
            x = conv_norm_relu(block.prelude, x)
        conv, widen = block.values
        hidden = oracle.submanifold_conv(self.rows, x, conv.conv.weight, 3)
        v = conv_norm_relu(widen, relu(norm(conv.norm, hidden)))
        self.logits = torch.stack(
            [self.element(d, x, v.shape[1]) for d in range(len(self.codes))], 1
        )
        choice = self.logits.softmax(dim=1)
        if self.pairwise:
            scores = [torch.randn(len(x), len(c), self.groups).softmax(dim=1) for c in self.codes]
            choice = torch.stack([s.sum(dim=1) for s in scores], dim=1).softmax(dim=1).to(x.dtype)
        if self.guidance:
            choice = choice * self.sparse_pattern()
        self.choice = choice
        out = torch.zeros_like(v)
        for d, (code, table) in enumerate(zip(self.codes, self.tables, strict=True)):
            per_channel = choice[:, d].repeat_interleave(v.shape[1] // self.groups, dim=1)
            out += per_channel * (gather(v, table) * code).sum(dim=1)
        return conv_norm_relu(block.project, out) + residual

    def element(self, d: int, x: Tensor, channels: int) -> Tensor:
        """[N, M] logits of one element: the query, expanded to all channels, times the code."""
        weight = self.block.attention.queries[d].weight
        query = torch.einsum("nkc,kcm->nm", gather(x, self.tables[d]), weight)
        expanded = query.repeat_interleave(channels // self.groups, dim=1)
        scores = (gather(expanded, self.tables[d]) * self.codes[d]).sum(dim=1)
        return scores.unflatten(1, (self.groups, -1)).sum(dim=2)

    def sparse_pattern(self) -> Tensor:
        """[N, D, 1]: occupancies, through a softmax over mask groups, of which there is one."""
        occupied = torch.stack([(t >= 0).double().mean(dim=1) for t in self.tables], dim=1)
        inner = ((occupied.unsqueeze(2) + 1e-3) / 0.2).softmax(dim=2)
        return ((inner + 1e-3) / 0.2).softmax(dim=1)


def gather(x: Tensor, table: Tensor) -> Tensor:
    """[N, K, C], zero where there is no neighbour."""
    return torch.where((table >= 0).unsqueeze(2), x[table.clamp(min=0)], 0.0)


def norm(module: nn.Module, x: Tensor) -> Tensor:
    bn = module.bn
    return batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=bn.eps)


def conv_norm_relu(module: nn.Module, x: Tensor) -> Tensor:
    return relu(norm(module.norm, x @ module.conv.weight.T))
