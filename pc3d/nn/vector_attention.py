"""Vector attention over the neighbours of points (Zhao et al. 2021, arXiv 2012.09164).

With m the j-th neighbour of point n, d[n, j] = P2 relu(norm(P1 (p[m] - p[n]))) the code of their
relative position, and g(c) the group of channel c:

    w[n, j]  = MLP(k[m] - q[n] + d[n, j])                    one weight for each group
    y[n, c]  = sum over j of softmax_j(w)[n, j, g(c)] * (v[m, c] + d[n, j, c])
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

import cuda_ops
from pc3d.nn.blocks import point_layer
from pc3d.nn.norm import PointNorm, RowNorm, point_norm
from pc3d.sparse import Neighbors

Projection = Callable[[int, int], nn.Module]


class VectorAttention(nn.Module):
    """Each point's neighbours, weighed by group of channels.

    In training all pairs of points have features of their own, [K * N, C]. In evaluation, norms are
    constant maps and nothing larger than [K * N, C / group_channels] exists.

    Args:
        channels: C.
        group_channels: consecutive channels that share a weight.
        relation: `relation(in_channels, channels)` makes the layer from features to queries and
            keys; None: a linear layer for each.

    Raises:
        ValueError: `group_channels` does not divide the channels.
    """

    def __init__(
        self, channels: int, *, group_channels: int = 8, relation: Projection | None = None
    ) -> None:
        super().__init__()
        if group_channels < 1 or channels % group_channels:
            raise ValueError(
                f"group_channels must divide the channels; got {group_channels} for {channels}"
            )
        groups = channels // group_channels
        self.relation = (relation or LinearRelation)(channels, channels)
        self.values = nn.Linear(channels, channels)
        self.position = nn.Sequential(nn.Linear(3, 3), RowNorm(3), nn.ReLU())
        self.lift = nn.Linear(3, channels)
        self.norm = RowNorm(channels)
        self.reduce = nn.Linear(channels, groups)
        self.weigh = nn.Sequential(RowNorm(groups), nn.ReLU(), nn.Linear(groups, groups))

    def forward(self, x: Tensor, near: Neighbors) -> Tensor:
        """[N, C] from features [N, C] and the neighbours of the N points among themselves."""
        hidden = self._hidden(near)
        queries, keys = self.relation(x)
        rows_of = self._rows if learns(self) else self._fused_rows
        rows = rows_of(queries, keys, hidden, near)
        taps, num_points = near.table.shape
        scores = spread(self.weigh(rows), near, -torch.inf).unflatten(0, (taps, num_points))
        precise = torch.promote_types(scores.dtype, torch.float32)
        weights = scores.softmax(dim=0, dtype=precise).transpose(0, 1)
        lift = self.lift.weight.T
        y = cuda_ops.vector_sum(weights, self.values(x), hidden, lift, near.table)
        return y + self.lift.bias  # of all neighbours, whose weights sum to 1

    def _hidden(self, near: Neighbors) -> Tensor:
        """[K, N, 3], the hidden layer of relative positions; 0 where there is no neighbour."""
        rows = self.position(pick(near.relative.flatten(0, 1), near))
        return spread(rows, near, 0.0).view_as(near.relative)

    def _rows(self, queries: Tensor, keys: Tensor, hidden: Tensor, near: Neighbors) -> Tensor:
        """[E, G], the reduced relation of every pair."""
        found = cuda_ops.devoxelize(keys, near.flat, ones(near.table.numel(), keys))
        relation = found.unflatten(0, near.table.shape) - queries + self.lift(hidden)
        rows: Tensor = self.reduce(self.norm(pick(relation.flatten(0, 1), near)).relu())
        return rows

    def _fused_rows(self, queries: Tensor, keys: Tensor, hidden: Tensor, near: Neighbors) -> Tensor:
        """`_rows` with the norm folded into what comes before it."""
        scale, shift = self.norm.affine()
        logits = cuda_ops.relation_logits(
            queries * scale,
            keys * scale,
            hidden,
            self.lift.weight.T * scale,
            self.lift.bias * scale + shift,
            self.reduce.weight.T,
            near.table,
        )
        return pick(logits.transpose(0, 1).flatten(0, 1), near) + self.reduce.bias


class LinearRelation(nn.Module):
    """Queries and keys as two linear layers. [N, C_in] to [N, C] twice."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.query = nn.Linear(in_channels, channels)
        self.key = nn.Linear(in_channels, channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.query(x), self.key(x)


class PointTransformerBlock(nn.Module):
    """The residual block of Point Transformer: linear, vector attention, linear.

    Args:
        channels: C.
        attention: `attention(channels)` makes the layer in the middle, such as `VectorAttention`
            with all but this argument given.
        norm: over points; see `point_norm`. Those over pairs of points are batch norms.

    Shape: [N, C] to [N, C].
    """

    def __init__(
        self,
        channels: int,
        *,
        attention: Callable[[int], nn.Module],
        norm: PointNorm = "layer",
    ) -> None:
        super().__init__()
        self.before = point_layer(channels, channels, norm, bias=False)
        self.attention = attention(channels)
        self.after = nn.Sequential(
            point_norm(channels, norm), nn.ReLU(), nn.Linear(channels, channels, bias=False)
        )
        self.norm = point_norm(channels, norm)

    def forward(self, x: Tensor, near: Neighbors) -> Tensor:
        y: Tensor = self.norm(self.after(self.attention(self.before(x), near))) + x
        return y.relu()


def learns(module: nn.Module) -> bool:
    """Whether norms see statistics or gradients are asked for: pairs then have features."""
    return module.training or torch.is_grad_enabled()


def pick(rows: Tensor, near: Neighbors) -> Tensor:
    """Of a row per place in the table, [K * N, C], those with a neighbour, [E, C]."""
    return rows if near.pairs is None else rows.index_select(0, near.pairs)


def spread(rows: Tensor, near: Neighbors, missing: float) -> Tensor:
    """The inverse of `pick`, with a value for missing neighbours."""
    if near.pairs is None:
        return rows
    places = rows.new_full((near.table.numel(), rows.shape[1]), missing)
    return places.index_copy(0, near.pairs, rows)


def ones(num: int, like: Tensor) -> Tensor:
    """[1, num], the weights of a sum that only gathers, on the device of a tensor."""
    return torch.ones(1, num, device=like.device)
