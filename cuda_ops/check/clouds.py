"""Voxel clouds to check and time on: a furnished room and a street seen by a LiDAR, by seed."""

from __future__ import annotations

import torch
from torch import Tensor

import cuda_ops

CELL = 0.02
"""Metres per voxel of the room; the street uses `STREET_CELL`."""
STREET_CELL = 0.05
POINTS_PER_VOXEL = 10
"""Of the room: so dense that surfaces have few holes."""
NOISE = 0.002  # metres
SHARES = (6, 3, 3, *[1] * 24)
"""Points on the floor, the two walls, and each of 24 boards, which lean in every direction."""


def room(num_voxels: int, seed: int = 0) -> Tensor:
    """[P, 3] float64 metres: floor, two walls, leaning boards; of about `num_voxels` voxels.

    The room grows with their number, and the density of points stays. A voxel has 13 neighbours
    in a 3x3x3 kernel, as in real rooms.
    """
    generator = torch.Generator().manual_seed(seed)
    side = 0.0080 * num_voxels**0.5  # 2 cm voxels, floor and furniture together
    origin = torch.rand(27, 3, generator=generator, dtype=torch.float64) * side
    edges = torch.randn(27, 2, 3, generator=generator, dtype=torch.float64)
    edges = edges / edges.norm(dim=2, keepdim=True) * (side / 2.5)
    axes = torch.eye(3, dtype=torch.float64) * side
    origin[:3] = CELL / 2  # of one voxel, not two, across
    edges[:3] = torch.stack([axes[[0, 1]], axes[[1, 2]] / 2, axes[[2, 0]] / 2])
    num_points = POINTS_PER_VOXEL * num_voxels
    plate = torch.multinomial(torch.tensor(SHARES).double(), num_points, True, generator=generator)
    place = torch.rand(num_points, 2, 1, generator=generator, dtype=torch.float64)
    noise = torch.randn(num_points, 3, generator=generator, dtype=torch.float64)
    on_plate: Tensor = origin[plate] + (edges[plate] * place).sum(dim=1)
    return on_plate + NOISE * noise


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
