"""What page and picture decide from the cloud alone: viewpoint, density, points to keep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Viewpoint:
    """A direction to look from, z up.

    Attributes:
        azimuth: degrees, counter-clockwise from +x, of the camera as seen from the scene.
        elevation: degrees above the horizon.
    """

    azimuth: float
    elevation: float


def check_cloud(xyz: NDArray[np.floating]) -> None:
    """Refuse clouds that cannot be shown.

    Args:
        xyz: [P, 3] metres.

    Raises:
        ValueError: another shape, no points, NaN or infinite coordinates.
    """
    if xyz.ndim != 2 or xyz.shape[1] != 3:
        raise ValueError(f"xyz must be [P, 3]; got {xyz.shape}")
    if len(xyz) == 0:
        raise ValueError("xyz has no points: there is nothing to show")
    bad = ~np.isfinite(xyz).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{int(bad.sum())} of {len(xyz)} points have NaN or infinite coordinates (first at "
            f"row {int(bad.argmax())}). Remove them first."
        )


def core_box(xyz: NDArray[np.floating]) -> NDArray[np.float64]:
    """The box that a camera should fill its picture with.

    The 2nd to 98th percentile per axis: a room keeps its walls, a LiDAR scan loses the thin
    far end that would make everything else small.

    Args:
        xyz: [P, 3] metres.

    Returns:
        [2, 3] metres: the lowest and the highest corner.
    """
    return np.percentile(xyz, (2, 98), axis=0)


def overview(xyz: NDArray[np.floating]) -> Viewpoint:
    """A viewpoint across the longer side, from above, that looks over the near walls of a room.

    A wall of height h hides h / tan(elevation) of the floor behind it; the elevation is such that
    this is at most a quarter of the scene's depth, but never below 35 degrees, where flat outdoor
    scans shrink to a line, nor above 65, where walls do.

    Args:
        xyz: [P, 3] metres.
    """
    width, depth, height = np.diff(core_box(xyz), axis=0)[0]
    elevation = np.degrees(np.arctan2(height, np.sqrt(width * depth) / 4.0))
    return Viewpoint(
        azimuth=-120.0 if width >= depth else -30.0,
        elevation=float(np.clip(elevation, 35.0, 65.0)),
    )


def point_spacing(xyz: NDArray[np.floating]) -> float:
    """Mean distance in metres between neighbouring points of a scanned surface.

    Surfaces that fill n voxels of size s have an area of about n s^2, and P points on them are
    sqrt(n s^2 / P) apart.

    Args:
        xyz: [P, 3] metres.
    """
    voxel_size = float(np.diff(core_box(xyz), axis=0).max()) / 64.0
    if voxel_size == 0.0:
        return 0.0
    num_voxels = _count_distinct(_voxel_keys(xyz, voxel_size))
    return voxel_size * float(np.sqrt(num_voxels / len(xyz)))


def thin(xyz: NDArray[np.floating], max_points: int) -> NDArray[np.int64]:
    """Choose at most `max_points` points, evenly in space: one per voxel.

    No random numbers: the same cloud always gives the same points.

    Args:
        xyz: [P, 3] metres.
        max_points: how many points may remain, at least 1.

    Returns:
        [Q] int64 rows of `xyz`, ascending; all of them where P <= `max_points`.

    Raises:
        ValueError: `max_points` below 1.
    """
    if max_points < 1:
        raise ValueError(f"max_points must be at least 1; got {max_points}")
    if len(xyz) <= max_points:
        return np.arange(len(xyz), dtype=np.int64)
    finest = max(float(np.ptp(xyz, axis=0).max()) / 2.0**20, 1e-9)  # keys have 21 bits per axis
    voxel_size = max(point_spacing(xyz) * float(np.sqrt(len(xyz) / max_points)), finest)
    # A surface fills voxels in proportion to 1 / size^2, so the correction converges in a few
    # steps. Slightly too many voxels are wanted here: the surplus is dropped evenly below.
    for _ in range(8):
        num_voxels = _count_distinct(_voxel_keys(xyz, voxel_size))
        if max_points <= num_voxels <= 1.1 * max_points:
            break
        voxel_size = max(voxel_size * float(np.sqrt(num_voxels / (1.05 * max_points))), finest)
    _, first = np.unique(_voxel_keys(xyz, voxel_size), return_index=True)
    kept = np.linspace(0, len(first) - 1, min(len(first), max_points)).astype(np.int64)
    return np.sort(first[kept])


def _count_distinct(keys: NDArray[np.int64]) -> int:
    ordered = np.sort(keys)
    return 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1]))


def _voxel_keys(xyz: NDArray[np.floating], voxel_size: float) -> NDArray[np.int64]:
    """One int64 per point, equal for points of one voxel; 21 bits per axis."""
    cell = np.floor((xyz - xyz.min(axis=0)) / voxel_size).astype(np.int64)
    return (cell[:, 0] << 42) | (cell[:, 1] << 21) | cell[:, 2]
