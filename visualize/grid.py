"""The voxels that points lie in, for the page's search of neighbours under a kernel."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.voxelize import voxel_cells

COARSEST = 4
"""Largest stride at which the page looks for neighbours."""
MAX_VOXELS = 500_000
"""Voxels beyond those of the shown points that a page carries: 4 MB."""
_EXACT = 2**53  # integers that a number of JavaScript holds


@dataclass(frozen=True)
class VoxelGrid:
    """The voxels of a scene.

    Attributes:
        voxel_size: metres.
        indices: [P, 3] integers, the voxel of every point, as the network has them.
    """

    voxel_size: float
    indices: NDArray[np.integer]


def grid_of(xyz: NDArray[np.floating], voxel_size: float) -> VoxelGrid:
    """The voxels `floor(xyz / voxel_size)` of points in world coordinates.

    Args:
        xyz: [P, 3] metres, P > 0.
        voxel_size: metres.

    Raises:
        ValueError: a size that is not a positive number, or so small that voxels cannot be counted.
    """
    if not (isfinite(voxel_size) and voxel_size > 0):
        raise ValueError(f"voxel_size must be a positive number of metres; got {voxel_size}")
    if prod((np.ptp(xyz, axis=0) / voxel_size + 2 * COARSEST).tolist()) >= _EXACT:
        raise ValueError(
            f"voxel_size={voxel_size:g} m is too small for a scene of "
            f"{' x '.join(f'{side:.1f}' for side in np.ptp(xyz, axis=0))} m"
        )
    return VoxelGrid(voxel_size, voxel_cells(xyz, voxel_size))


@dataclass(frozen=True)
class ShownVoxels:
    """What a page needs to find occupied voxels.

    Attributes:
        indices: [Q, 3] of the shown points, from 0; multiples of `COARSEST` stay such.
        others: [V, 3] likewise, each once: voxels that hold points of the scene, but none that is
            shown.
        shape: voxels along each axis.
        is_complete: whether `others` are in it; too many are left out.
    """

    indices: NDArray[np.integer]
    others: NDArray[np.integer]
    shape: tuple[int, int, int]
    is_complete: bool


def shown_voxels(
    grid: VoxelGrid, kept: NDArray[np.int64], max_voxels: int = MAX_VOXELS
) -> ShownVoxels:
    """The voxels of the shown points and the others.

    Args:
        grid: of all P points.
        kept: [Q] rows of the points that are shown, Q > 0.
        max_voxels: `others` are left out where there are more.
    """
    cells = grid.indices.astype(np.int64)
    low = cells.min(axis=0) // COARSEST * COARSEST
    cells = cells - low
    nx, ny, nz = (cells.max(axis=0) + 1).tolist()
    keys = (cells[:, 0] * ny + cells[:, 1]) * nz + cells[:, 2]
    other_keys = np.setdiff1d(keys, keys[kept])
    is_complete = len(other_keys) <= max_voxels
    if not is_complete:
        other_keys = other_keys[:0]
    others = np.stack([other_keys // (ny * nz), other_keys // nz % ny, other_keys % nz], axis=1)
    return ShownVoxels(cells[kept], others, (nx, ny, nz), is_complete)


def index_type(shape: tuple[int, int, int]) -> Any:
    """The little-endian type that holds the indices of so many voxels."""
    return "<u2" if max(shape) <= 2**16 else "<u4"
