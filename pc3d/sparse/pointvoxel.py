"""The ways between points and voxels of any stride."""

from __future__ import annotations

import torch
from torch import Tensor

import cuda_ops
from pc3d.sparse.coords import CoordSet
from pc3d.sparse.tensor import SparseTensor


class PointVoxelMap:
    """Points that exchange features with voxel sets. What leads to a set is found once and kept.

    A voxel's features stand at its integer coordinate; at stride s a point at u is at u / s.

    Args:
        position: [P, 3] float32, in voxels of the finest set, within the range of
            `cuda_ops.morton_encode`.
        cloud: [P] int64, the cloud of every point.
        home: the set whose voxels the points are, row by row, or None. To and from it features go
            as they are.

    Raises:
        ValueError: positions and clouds do not fit together.
    """

    def __init__(self, position: Tensor, cloud: Tensor, home: CoordSet | None = None) -> None:
        if position.shape != (len(cloud), 3):
            raise ValueError(
                f"position must be [{len(cloud)}, 3], a row per point; got {tuple(position.shape)}"
            )
        self.position, self.cloud, self.home = position, cloud, home
        self._corners: dict[CoordSet, tuple[Tensor, Tensor]] = {}
        self._voxels: dict[CoordSet, tuple[Tensor, Tensor]] = {}

    @classmethod
    def of_voxels(cls, coords: CoordSet) -> PointVoxelMap:
        """One point per voxel of `coords`, at its coordinate."""
        cloud, *xyz = coords.indices.unbind(1)
        return cls(torch.stack(xyz, dim=1).float(), cloud.long(), coords)

    def devoxelize(self, x: SparseTensor) -> Tensor:
        """[P, C], trilinear between the 8 voxels around each point; see `cuda_ops.trilinear`.

        0 where a point has none of them.
        """
        if x.coords is self.home:
            return x.feats
        return cuda_ops.devoxelize(x.feats, *self._around(x.coords))

    def voxelize(self, feats: Tensor, coords: CoordSet) -> SparseTensor:
        """The mean of the features [P, C] of each voxel's points.

        A point whose voxel does not exist has no part in it; a voxel without points is 0.
        """
        if coords is self.home:
            return SparseTensor(coords, feats)
        if coords not in self._voxels:
            corners, _ = self._around(coords)
            row = corners.select(0, 0)  # the corner at floor(u / s) is the point's own voxel
            # Points without a voxel meet in a further one, which is dropped.
            row = torch.where(row < 0, len(coords), row).long()
            counts = row.new_zeros(len(coords) + 1).scatter_add_(0, row, torch.ones_like(row))
            self._voxels[coords] = row, counts.clamp_(min=1)
        mean = cuda_ops.voxel_mean(feats, *self._voxels[coords])
        return SparseTensor(coords, mean.narrow(0, 0, len(coords)))

    def _around(self, coords: CoordSet) -> tuple[Tensor, Tensor]:
        """Rows and weights of the 8 corners, [8, P] each."""
        if coords not in self._corners:
            position = self.position / coords.stride
            self._corners[coords] = cuda_ops.trilinear(coords.keys, self.cloud, position)
        return self._corners[coords]
