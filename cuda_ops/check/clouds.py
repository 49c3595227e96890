"""Voxel clouds to check and time on: a furnished room and a street seen by a LiDAR, by seed."""

from __future__ import annotations

import torch
from torch import Tensor

import cuda_ops

CELL = 0.02
"""Metres per voxel of the room; the street uses 0.05."""


def room(num_points: int, seed: int = 0) -> Tensor:
    """[P, 3] float64 metres: floor, walls and boxes of a room that grows with `num_points`."""
    generator = torch.Generator().manual_seed(seed)
    side = (num_points / 10_000) ** 0.5
    boxes = torch.rand(24, 3, generator=generator, dtype=torch.float64) * side
    size = 0.2 + torch.rand(24, 3, generator=generator, dtype=torch.float64)
    low = torch.cat([torch.zeros(3, 3, dtype=torch.float64), boxes])
    high = low + torch.cat([torch.full((3, 3), side, dtype=torch.float64), size])
    face = torch.randint(len(low), (num_points,), generator=generator)
    axis = torch.randint(3, (num_points,), generator=generator)
    axis[face < 3] = face[face < 3]  # one wall per axis
    points = torch.rand(num_points, 3, generator=generator, dtype=torch.float64)
    points = low[face] + points * (high[face] - low[face])
    row = torch.arange(num_points)
    points[row, axis] = low[face, axis]
    return points


def street(num_points: int, seed: int = 0) -> Tensor:
    """[P, 3] float64 metres: 64 rings on the ground and facades left and right."""
    generator = torch.Generator().manual_seed(seed)
    azimuth = torch.rand(num_points, generator=generator, dtype=torch.float64) * 2 * torch.pi
    beam = torch.randint(64, (num_points,), generator=generator)
    pitch = torch.deg2rad(2.0 - beam * 26.8 / 63)
    to_ground = torch.where(pitch < 0, -1.73 / pitch.tan(), torch.full_like(pitch, 80.0))
    to_facade = 9.0 / azimuth.sin().abs().clamp(min=1e-3)
    distance = torch.minimum(torch.minimum(to_ground, to_facade), torch.full_like(pitch, 80.0))
    distance = distance + 0.02 * torch.randn(num_points, generator=generator, dtype=torch.float64)
    return torch.stack(
        [distance * azimuth.cos(), distance * azimuth.sin(), distance * pitch.tan()], dim=1
    )


def voxel_keys(points: Tensor, voxel_size: float, device: torch.device) -> Tensor:
    """[N] int64 keys, ascending and unique, of the voxels that hold points."""
    indices = torch.nn.functional.pad((points / voxel_size).floor().to(torch.int32), (1, 0))
    return cuda_ops.voxelize(cuda_ops.morton_encode(indices.to(device)))[0]
