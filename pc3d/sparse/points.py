"""`PointBatch`, the ragged batch of raw points, and `Batch`, what a network is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from pc3d.sparse.tensor import SparseTensor

T = TypeVar("T", "PointBatch", "Batch")


@dataclass(frozen=True)
class PointBatch:
    """The points of B clouds, one after the other, without padding.

    Attributes:
        names: the B scene names.
        offsets: [B + 1] int64 with a leading 0; cloud b holds the rows `offsets[b]:offsets[b + 1]`.
        xyz: [P, 3] float32, metres, relative to each cloud's `origin`.
        origin: [B, 3] float64, metres.
        row: [P] int64, the row of every point in its file.
        segment: [P] int64 classes, or None where the clouds carry no labels.
    """

    names: tuple[str, ...]
    offsets: Tensor
    xyz: Tensor
    origin: Tensor
    row: Tensor
    segment: Tensor | None = None

    @property
    def num_points(self) -> int:
        return len(self.xyz)

    @property
    def batch_size(self) -> int:
        return len(self.names)

    @property
    def batch_index(self) -> Tensor:
        """[P] int64, the cloud of every point."""
        clouds = torch.arange(self.batch_size, device=self.offsets.device)
        counts = self.offsets.diff()
        return torch.repeat_interleave(clouds, counts, output_size=self.num_points)

    def select(self, keep: Tensor) -> PointBatch:
        """The points where `keep` ([P] bool) is set; clouds may become empty."""
        counts = torch.bincount(self.batch_index[keep], minlength=self.batch_size)
        return PointBatch(
            names=self.names,
            offsets=torch.nn.functional.pad(counts.cumsum(0), (1, 0)),
            xyz=self.xyz[keep],
            origin=self.origin,
            row=self.row[keep],
            segment=None if self.segment is None else self.segment[keep],
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PointBatch:
        return _map(self, lambda item: item.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> PointBatch:
        return _map(self, lambda item: item.pin_memory())


@dataclass(frozen=True)
class Batch:
    """Points, voxels, and the only bridge between them.

    Attributes:
        points: the points of all clouds.
        voxels: features of all voxels; its `coords` carry the batch column.
        point2voxel: [P] int64, the row in `voxels` of every point's voxel.
        segment: [N] int64, training label of every voxel, or None.
    """

    points: PointBatch
    voxels: SparseTensor
    point2voxel: Tensor
    segment: Tensor | None = None

    def select_voxels(self, keep: Tensor) -> Batch:
        """The voxels where `keep` ([N] bool) is set, with their points, as a batch of its own."""
        coords = self.voxels.coords
        kept_points = keep[self.point2voxel]
        new_row = keep.cumsum(0) - 1
        rows = keep.nonzero().squeeze(1)
        return Batch(
            points=self.points.select(kept_points),
            voxels=SparseTensor(coords.select(rows), self.voxels.feats[rows]),
            point2voxel=new_row[self.point2voxel[kept_points]],
            segment=None if self.segment is None else self.segment[rows],
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        return _map(self, lambda item: item.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """Pinned copies of the tensors; the DataLoader calls this when asked to pin."""
        return _map(self, lambda item: item.pin_memory())


def _map(value: T, change: Callable[[Any], Any]) -> T:
    """A copy of `value` with `change` applied to everything in it that holds tensors."""
    held = {f.name: getattr(value, f.name) for f in fields(value)}
    movable = (Tensor, PointBatch, SparseTensor)
    return replace(
        value, **{name: change(item) for name, item in held.items() if isinstance(item, movable)}
    )
