"""One scene in numpy: as points (`PointSample`) and as voxels (`VoxelSample`)."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Int = NDArray[np.int64]
_MAX_EXTENT = 1e6  # metres; beyond, float32 steps by more than 6 cm


def bounds(points: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Smallest and largest value of each column of [P, C]: two [C] arrays of its type."""
    # A column at a time: with axis=0, NumPy takes tens of times as long on so few columns.
    columns = [points[:, k] for k in range(points.shape[1])]
    low = np.array([column.min() for column in columns], dtype=points.dtype)
    return low, np.array([column.max() for column in columns], dtype=points.dtype)


@dataclass(frozen=True)
class PointSample:
    """One scene of P points. Arrays never change in place; `with_` and `select` make new ones.

    Attributes:
        name: scene name, unique within its split (`"scene0000_00"`, `"00/000123"`).
        xyz: [P, 3] float32, metres, relative to `origin`.
        origin: [3] float64, metres: world position = `xyz + origin`.
        row: [P] int64, the row of each point in its file.
        color: [P, 3] float32 in 0..255, or None.
        normal: [P, 3] float32 unit vectors, or None.
        intensity: [P] float32, or None.
        returns: [P, 2] float32: the number of the return, from 1, and how many its pulse has (LAS:
            return number, number of returns); or None.
        segment: [P] int64 classes, `IGNORE_INDEX` where unlabelled, or None.
        instance: [P] int64, -1 where none, or None.
    """

    name: str
    xyz: Float
    origin: NDArray[np.float64]
    row: Int
    color: Float | None = None
    normal: Float | None = None
    intensity: Float | None = None
    returns: Float | None = None
    segment: Int | None = None
    instance: Int | None = None

    def __post_init__(self) -> None:
        if self.xyz.ndim != 2 or self.xyz.shape[1] != 3:
            raise ValueError(f"{self.name}: xyz must be [P, 3]; got {self.xyz.shape}")
        for field in POINT_FIELDS:
            array = getattr(self, field)
            if array is not None and len(array) != len(self.xyz):
                raise ValueError(
                    f"{self.name}: {field} has {len(array)} rows but xyz has {len(self.xyz)}"
                )

    def __len__(self) -> int:
        return len(self.xyz)

    def with_(self, **arrays: Any) -> PointSample:
        """A copy with the given fields replaced."""
        return replace(self, **arrays)

    def select(self, index: NDArray[Any]) -> PointSample:
        """The points at `index` ([Q] int or [P] bool), in that order, with all their fields."""
        chosen = {name: getattr(self, name) for name in POINT_FIELDS}
        return replace(self, **{k: a[index] for k, a in chosen.items() if a is not None})


POINT_FIELDS = tuple(f.name for f in fields(PointSample) if f.name not in ("name", "origin"))
"""The fields of `PointSample` that have one row per point."""


def read_points(
    name: str, source: str, xyz: NDArray[np.floating], **arrays: NDArray[Any] | None
) -> PointSample:
    """Make a sample of what a reader found in a file; the one place where coordinates are checked.

    Args:
        name: scene name.
        source: the file, named in errors.
        xyz: [P, 3] metres, any float type. float64 beyond 4 km of zero gets an integer `origin`,
            since float32 has steps of 0.25 m at 4,000 km.
        **arrays: further per-point fields of `PointSample`.

    Raises:
        ValueError: no points, coordinates that are NaN, infinite or 1,000 km apart.
    """
    if len(xyz) == 0:
        raise ValueError(f"{source}: the scene has no points")
    if not np.isfinite(xyz).all():
        bad = ~np.isfinite(xyz).all(axis=1)
        raise ValueError(
            f"{source}: {int(bad.sum())} of {len(xyz)} points have NaN or infinite coordinates "
            f"(first at row {int(bad.argmax())}). Remove them from the file."
        )
    low, high = check_reach(source, xyz)
    origin = np.zeros(3)
    relative = xyz
    if max(-low.min(), high.max()) > 4096.0:
        origin = np.floor(low)
        relative = xyz - origin
    return PointSample(
        name=name,
        xyz=np.array(relative, dtype=np.float32, order="C"),
        origin=origin,
        row=np.arange(len(xyz), dtype=np.int64),
        **arrays,
    )


def check_reach(
    source: str, xyz: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lowest and the highest coordinates.

    Args:
        source: the file, named in errors.
        xyz: [P, 3] metres, P > 0, finite.

    Raises:
        ValueError: they are 1,000 km apart.
    """
    low, high = (corner.astype(np.float64) for corner in bounds(xyz))
    if (high / 2 - low / 2).max() > _MAX_EXTENT / 2:  # halves: the difference may overflow
        raise ValueError(
            f"{source}: the scene reaches from {low.tolist()} to {high.tolist()}; expected metres, "
            "and less than 1,000 km. Is a coordinate damaged, or are they in another unit?"
        )
    return low, high


@dataclass(frozen=True)
class VoxelSample:
    """One scene after voxelization: P points, N voxels.

    Attributes:
        points: the points, in the order in which they came.
        indices: [N, 3] int32 voxel coordinates (x, y, z), unique, in the row order of `CoordSet`.
        feats: [N, C] float32, the mean of the features of the voxel's points.
        segment: [N] int64, the majority label of the voxel's labelled points, or None.
        point2voxel: [P] int64, the row in `indices` of every point's voxel.
    """

    points: PointSample
    indices: NDArray[np.int32]
    feats: Float
    segment: Int | None
    point2voxel: Int

    @property
    def num_voxels(self) -> int:
        return len(self.indices)

    def select(self, keep: NDArray[np.bool_]) -> VoxelSample:
        """The voxels where `keep` ([N] bool) is set, with their points."""
        new_row = np.cumsum(keep, dtype=np.int64) - 1
        point_kept = keep[self.point2voxel]
        return VoxelSample(
            points=self.points.select(point_kept),
            indices=self.indices[keep],
            feats=self.feats[keep],
            segment=None if self.segment is None else self.segment[keep],
            point2voxel=new_row[self.point2voxel[point_kept]],
        )
