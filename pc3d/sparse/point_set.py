"""`PointSet`: points of several clouds, what is sampled from them, and who is near whom."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

import cuda_ops
from pc3d.sparse.coords import CoordSet
from pc3d.sparse.points import Batch
from pc3d.sparse.relation import KernelSpec

Sampling = Literal["fps", "strided"]
Search = Literal["knn", "ball", "voxel"]
SAMPLINGS = ("fps", "strided")
SHARE = 4
"""One of so many points is kept by farthest point sampling."""
WINDOW = KernelSpec(3)


@dataclass(frozen=True)
class NeighborSearch:
    """Which points are the neighbours of a point.

    Args:
        kind: `"knn"`: the k nearest. `"ball"`: those of them within a radius. `"voxel"`: the first
            point of each of the 27 voxels around the point's own, where it stands for itself. All
            within a cloud.
        k: of knn and ball.
        radius: of ball, in metres at stride 1; it grows with the stride.

    Raises:
        ValueError: an unknown kind, k below 1, a ball without radius, one that is not above 0.
    """

    kind: Search = "knn"
    k: int = 16
    radius: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("knn", "ball", "voxel"):
            raise ValueError(f"kind must be one of knn, ball, voxel; got {self.kind!r}")
        if self.k < 1:
            raise ValueError(f"k must be at least 1; got {self.k}")
        if (self.kind == "ball") != (self.radius is not None):
            raise ValueError(
                f"a ball needs a radius in metres, and nothing else takes one; got kind="
                f"{self.kind!r}, radius={self.radius}"
            )
        if self.radius is not None and not self.radius > 0:
            raise ValueError(f"radius must be above 0 metres; got {self.radius}")


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The neighbours of N points among M.

    Attributes:
        table: [K, N] int32 rows of the M points, or -1.
        relative: [K, N, 3], from the point to its neighbour, metres; 0 where there is none.
        pairs: [E] int64, the places in the flattened table that hold a neighbour; None: all do.
    """

    table: Tensor
    relative: Tensor
    pairs: Tensor | None

    @cached_property
    def flat(self) -> Tensor:
        """[1, K * N], the table as the rows of a gather; one tensor, as ops sort it once."""
        return self.table.reshape(1, -1)

    @classmethod
    def between(
        cls, table: Tensor, queries: Tensor, points: Tensor, num_pairs: int | None
    ) -> Neighbors:
        """From a table and the positions [N, 3] and [M, 3]; to count the pairs, a GPU waits."""
        there = table >= 0
        padded = points if len(points) else points.new_zeros(1, 3)
        near = padded.index_select(0, table.clamp(min=0).flatten()).view(*table.shape, 3)
        relative = torch.where(there.unsqueeze(2), near - queries, 0.0)
        if num_pairs == table.numel():
            return cls(table, relative, None)
        flat = there.flatten()
        size = int(flat.sum()) if num_pairs is None else num_pairs
        return cls(table, relative, flat.nonzero_static(size=size).squeeze(1))


class PointSet:
    """N points of B clouds, each in a voxel of a `CoordSet`. Immutable.

    Searches among its points and samples of it are made on first use and kept, so that all blocks
    of a stage share them.

    Args:
        xyz: [N, 3] floating point, metres; clouds one after the other.
        coords: voxels as far apart as the points.
        voxel: [N] int64, ascending, the voxel of every point; None: point n is in voxel n.
        cloud_sizes: points of each cloud.
        rows: [N] int64, ascending, which points of a finer set these are; None: none of it.
    """

    def __init__(
        self,
        xyz: Tensor,
        coords: CoordSet,
        voxel: Tensor | None,
        cloud_sizes: tuple[int, ...],
        rows: Tensor | None = None,
    ) -> None:
        self.xyz, self.coords, self.voxel, self.rows = xyz, coords, voxel, rows
        self.cloud_sizes = cloud_sizes
        cloud = coords.indices.select(1, 0)
        self.cloud = (cloud if voxel is None else cloud.index_select(0, voxel)).long()
        clouds = torch.arange(len(cloud_sizes) + 1, device=xyz.device)
        self.offsets = torch.searchsorted(self.cloud, clouds)
        self._neighbors: dict[NeighborSearch, Neighbors] = {}
        self._coarse: dict[Sampling, PointSet] = {}

    @classmethod
    def of_batch(cls, batch: Batch) -> PointSet:
        """One point per voxel of a batch: the mean of the points in it."""
        coords, row = batch.voxels.coords, batch.point2voxel
        counts = row.new_zeros(len(coords)).scatter_add_(0, row, torch.ones_like(row))
        xyz = mean_position(batch.points.xyz, row, counts)
        return cls(xyz, coords, None, coords.cloud_sizes)

    def __len__(self) -> int:
        return len(self.xyz)

    def __repr__(self) -> str:
        return f"PointSet({len(self)} points, {self.coords})"

    def down(self, sampling: Sampling) -> PointSet:
        """About a quarter of the points, in voxels of twice the stride; no cloud vanishes.

        `"fps"`: farthest point sampling. `"strided"`: the mean of each coarse voxel's points, which
        stand where a strided convolution would put them.
        """
        if sampling not in self._coarse:
            make = {"fps": self._sampled, "strided": self._strided}[sampling]
            self._coarse[sampling] = make()
        return self._coarse[sampling]

    def neighbors(self, search: NeighborSearch) -> Neighbors:
        """The neighbours of every point in this set, itself among them."""
        if search not in self._neighbors:
            self._neighbors[search] = self._search(self, search)
        return self._neighbors[search]

    def neighbors_in(self, finer: PointSet, search: NeighborSearch) -> Neighbors:
        """The neighbours of every point among those of the set that it was sampled from."""
        return self._search(finer, search)

    def interpolation(self, coarse: PointSet) -> tuple[Tensor, Tensor]:
        """Rows and weights [3, N] of the nearest points of another set, for `cuda_ops.devoxelize`.

        Weights are inverse distances that sum to 1 (PointNet++, arXiv 1706.02413, eq. 2).
        """
        table, square = cuda_ops.nearest_neighbors(
            coarse.xyz, coarse.offsets, self.xyz, self.offsets, 3
        )
        closeness = 1 / (square.sqrt() + 1e-8)
        return table, closeness / closeness.sum(dim=0).clamp(min=torch.finfo(square.dtype).tiny)

    def _sampled(self) -> PointSet:
        sizes = tuple(-(-size // SHARE) for size in self.cloud_sizes)
        rows = cuda_ops.farthest_points(self.xyz, self.offsets, sizes).sort().values
        coarse, down = self.coords.down()
        voxel = down.parents.index_select(0, self._voxels().index_select(0, rows)).long()
        return PointSet(self.xyz.index_select(0, rows), coarse, voxel, sizes, rows)

    def _strided(self) -> PointSet:
        if self.voxel is not None:
            raise ValueError("points that were sampled by fps are not one per voxel")
        coarse, down = self.coords.down()
        xyz = mean_position(self.xyz, down.parents.long(), down.num_children)
        return PointSet(xyz, coarse, None, coarse.cloud_sizes)

    def _search(self, source: PointSet, search: NeighborSearch) -> Neighbors:
        if search.kind == "voxel":
            return Neighbors.between(self._window(source), self.xyz, source.xyz, None)
        radius = None if search.radius is None else search.radius * source.coords.stride
        table, _ = cuda_ops.nearest_neighbors(
            source.xyz, source.offsets, self.xyz, self.offsets, search.k, radius
        )
        num_pairs = None
        if radius is None:
            sizes = zip(self.cloud_sizes, source.cloud_sizes, strict=True)
            num_pairs = sum(size * min(search.k, of) for size, of in sizes)
        return Neighbors.between(table, self.xyz, source.xyz, num_pairs)

    def _window(self, source: PointSet) -> Tensor:
        """[K, N]: of the voxels of `source` around every point, the first point of each.

        A mean of a coarse voxel's points has those points around it: K is 8 then, otherwise 27.
        """
        if self.rows is None and source is not self:
            return source.coords.down()[1].table
        voxels = source._voxels()
        here = voxels if self.rows is None or source is self else voxels[self.rows]
        around = source.coords.neighbors(WINDOW).table[:, here]
        table = torch.where(around < 0, -1, source._first()[around.clamp(min=0).long()])
        itself = torch.arange(len(self), device=here.device) if source is self else self.rows
        assert itself is not None
        table[len(table) // 2] = itself.to(torch.int32)  # two points may share a voxel
        return table

    def _voxels(self) -> Tensor:
        """[N] int64, the voxel of every point."""
        if self.voxel is not None:
            return self.voxel
        return torch.arange(len(self), device=self.xyz.device)

    def _first(self) -> Tensor:
        """[voxels] int32, the first point of every voxel, or -1."""
        size = len(self)
        rows = torch.arange(size, dtype=torch.int32, device=self.xyz.device)
        if self.voxel is None:
            return rows
        first = rows.new_full((len(self.coords),), size)
        first = first.scatter_reduce(0, self.voxel, rows, "amin")
        return torch.where(first == size, -1, first)


def mean_position(xyz: Tensor, row: Tensor, counts: Tensor) -> Tensor:
    """`cuda_ops.voxel_mean` of positions: autocast rounds features, but not where they are."""
    with torch.autocast(xyz.device.type, enabled=False):
        return cuda_ops.voxel_mean(xyz, row, counts)
