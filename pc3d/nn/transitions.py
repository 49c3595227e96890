"""Between the point sets of a point transformer (Zhao et al. 2021, arXiv 2012.09164)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import cuda_ops
from pc3d.nn.blocks import point_layer
from pc3d.nn.norm import PointNorm, RowNorm
from pc3d.nn.vector_attention import learns, ones, pick, spread
from pc3d.sparse import Neighbors, PointSet


class TransitionDown(nn.Module):
    """To the points of a coarser set: the maximum over a layer on every neighbour.

        y[n, c] = max over neighbours m of  relu(norm(W [p[m] - p[n], x[m]]))

    Args:
        in_channels: C_in.
        out_channels: C_out.

    Shape: [M, C_in] to [N, C_out]; 0 where a point has no neighbour.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3 + in_channels, out_channels, bias=False)
        self.norm = RowNorm(out_channels)

    def forward(self, x: Tensor, near: Neighbors) -> Tensor:
        """[N, C_out] from [M, C_in] and the neighbours of N points among the M."""
        position, feature = self.linear.weight.split([3, x.shape[1]], dim=1)
        combine = self._of_pairs if learns(self) else self._tap_by_tap
        return combine(nn.functional.linear(x, feature), position, near)

    def _of_pairs(self, x: Tensor, position: Tensor, near: Neighbors) -> Tensor:
        found = cuda_ops.devoxelize(x, near.flat, ones(near.table.numel(), x))
        rows = found + nn.functional.linear(near.relative.flatten(0, 1), position)
        rows = spread(self.norm(pick(rows, near)).relu(), near, 0.0)
        # All are at least 0, and so is what is missing.
        return rows.unflatten(0, near.table.shape).amax(dim=0)

    def _tap_by_tap(self, x: Tensor, position: Tensor, near: Neighbors) -> Tensor:
        """The same where the norm is a constant map, without features of all pairs."""
        scale, shift = self.norm.affine()
        x, position = x * scale, position * scale.unsqueeze(1)
        largest = x.new_zeros(near.table.shape[1], x.shape[1])
        for table, relative in zip(near.table, near.relative, strict=True):
            rows = cuda_ops.devoxelize(x, table.unsqueeze(0), ones(len(table), x))
            rows = rows + nn.functional.linear(relative, position, shift)
            largest = largest.maximum(torch.where(table.unsqueeze(1) < 0, 0.0, rows))
        return largest


class TransitionUp(nn.Module):
    """To the points of a finer set: its own features plus interpolated coarse ones.

    Args:
        in_channels: C_in of the coarse set.
        out_channels: C_out, channels of the finer set too.
        norm: see `point_norm`.

    Shape: [N, C_out] and [M, C_in] to [N, C_out].
    """

    def __init__(self, in_channels: int, out_channels: int, *, norm: PointNorm = "layer") -> None:
        super().__init__()
        self.skip = point_layer(out_channels, out_channels, norm)
        self.lift = point_layer(in_channels, out_channels, norm)

    def forward(self, x: Tensor, points: PointSet, coarse: Tensor, of: PointSet) -> Tensor:
        """[N, C_out] from `x` at `points` and `coarse` at the points `of`."""
        found: Tensor = self.skip(x)
        return found + cuda_ops.devoxelize(self.lift(coarse), *points.interpolation(of))


class GlobalContext(nn.Module):
    """Every point's features beside the mean of its cloud. Shape: [N, C] to [N, C].

    Args:
        channels: C.
        norm: see `point_norm`.
    """

    def __init__(self, channels: int, *, norm: PointNorm = "layer") -> None:
        super().__init__()
        self.mean = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(inplace=True))
        self.join = point_layer(2 * channels, channels, norm)

    def forward(self, x: Tensor, points: PointSet) -> Tensor:
        counts = points.offsets.diff().clamp(min=1)
        mean = self.mean(cuda_ops.voxel_mean(x, points.cloud, counts))
        everywhere = cuda_ops.devoxelize(mean, points.cloud.unsqueeze(0), ones(len(x), x))
        joined: Tensor = self.join(torch.cat([x, everywhere], dim=1))
        return joined
