"""The workloads of the benchmarks: a furnished room and one sweep of a 64-beam LiDAR.

At the default size the room has 99.8k voxels of 3.9 cm with 13.4 neighbours each in a 3x3x3 kernel,
the centre included, and the LiDAR 94.7k of 5 cm with 5.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor

import cuda_ops
from cuda_ops.check.clouds import voxel_keys
from pc3d.sparse import CoordSet, KernelSpec

ROOM = (6.0, 6.0, 2.5)  # metres
POINTS_PER_VOXEL = 40  # dense enough that no voxel of a surface is missed
ROOM_NOISE = 0.004  # metres
NUM_PLATES, NUM_BALLS = 14, 10
VOXEL_RANGE = (0.004, 0.2)  # metres, between which the room's voxel size is sought
SEARCH_STEPS = 18
BEAMS, AZIMUTHS = 64, 2200
PITCH = (-25.0, 3.0)  # degrees
SENSOR_HEIGHT, RANGE, NUM_POLES, POLE_TOP = 1.73, 75.0, 60, 3.0  # metres
LIDAR_NOISE, LIDAR_VOXEL_SIZE = 0.01, 0.05  # metres
DEFAULT_POINTS = 100_000
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Workload:
    """A point cloud and its voxels.

    Attributes:
        name: `"indoor"` or `"lidar"`.
        points: [P, 3] float32 metres.
        voxel_size: metres.
        coords: the N voxels.
    """

    name: str
    points: Tensor
    voxel_size: float
    coords: CoordSet

    def to(self, device: torch.device) -> Workload:
        """The same, its voxels on a device; points stay where they are."""
        return replace(self, coords=self.coords.to(device))

    def mean_neighbors(self) -> float:
        """Voxels per 3x3x3 neighbourhood, the centre included."""
        return self.coords.neighbors(KernelSpec(3)).num_pairs / len(self.coords)


def room_points(num_voxels: int, seed: int = 0) -> Tensor:
    """[P, 3] float32 metres: floor, three walls, slanted plates and balls, with sensor noise.

    Args:
        num_voxels: voxels that the cloud is to fill; it has about 50 points for each.
        seed: of everything random.
    """
    generator = torch.Generator().manual_seed(seed)
    num = num_voxels * POINTS_PER_VOXEL
    width, depth, height = torch.eye(3) * torch.tensor(ROOM)
    parts = []

    def random(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    def surface(origin: Tensor, u: Tensor, v: Tensor, count: int) -> None:
        parts.append(origin + random(count, 1) * u + random(count, 1) * v)

    surface(torch.zeros(3), width, depth, num // 4)
    surface(torch.zeros(3), width, height, num // 8)
    surface(torch.zeros(3), depth, height, num // 8)
    surface(depth, width, height, num // 8)
    for _ in range(NUM_PLATES):
        origin = random(3) * torch.tensor([ROOM[0] - 1.5, ROOM[1] - 1.5, 0.8]) + 0.1
        u, v = (random(3) - 0.5) * 2, (random(3) - 0.5) * 2
        surface(origin, u, v, num // 40)
    for _ in range(NUM_BALLS):
        center = random(3) * torch.tensor([ROOM[0], ROOM[1], 1.2])
        radius = 0.15 + 0.4 * random(1)
        direction = torch.randn(num // 40, 3, generator=generator)
        parts.append(center + radius * direction / direction.norm(dim=1, keepdim=True))
    points = torch.cat(parts)
    return points + ROOM_NOISE * torch.randn(points.shape, generator=generator)


def sweep_points(azimuths: int, seed: int = 0) -> Tensor:
    """[P, 3] float32 metres: where the rays of a LiDAR meet the ground or one of 60 poles.

    Args:
        azimuths: rays per turn of each of the 64 beams; those that meet nothing are left out.
        seed: of the poles and the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    pitch = torch.deg2rad(torch.linspace(*PITCH, BEAMS))
    turn = torch.arange(azimuths) / azimuths * 2 * math.pi
    pitch, turn = torch.meshgrid(pitch, turn, indexing="ij")
    ray = torch.stack([pitch.cos() * turn.cos(), pitch.cos() * turn.sin(), pitch.sin()], dim=-1)
    ray = ray.reshape(-1, 3)
    down = ray[:, 2] < -1e-3
    distance = torch.where(down, SENSOR_HEIGHT / -ray[:, 2], 2 * RANGE)
    flat_square = ray[:, :2].square().sum(dim=1)
    for center in torch.rand(NUM_POLES, 2, generator=generator) * 100 - 50:
        radius = 0.3 + 2 * torch.rand(1, generator=generator)
        along = ray[:, :2] @ center
        # The quadratic of a ray against a vertical cylinder, in the ground plane.
        discriminant = along**2 - flat_square * (center @ center - radius**2)
        at = (along - discriminant.clamp(min=0).sqrt()) / flat_square
        hit = (discriminant > 0) & (along > 0) & (at > 1)
        hit &= at * ray[:, 2] + SENSOR_HEIGHT < POLE_TOP
        distance = torch.where(hit, torch.minimum(distance, at), distance)
    points = (ray * distance[:, None])[distance < RANGE]
    return points + LIDAR_NOISE * torch.randn(points.shape, generator=generator)


def indoor(num_voxels: int) -> Workload:
    """The room, at the voxel size (3.9 cm for 100k) at which it has just so many voxels.

    The number is not monotonic in the voxel size, since walls meet the grid by chance: the search
    is always the same, so that it ends at the same cloud.
    """
    points = room_points(num_voxels)
    points = points - points.amin(dim=0)
    low, high = VOXEL_RANGE[0], VOXEL_RANGE[1] * math.sqrt(DEFAULT_POINTS / num_voxels)
    keys = voxel_keys(points, high, _CPU)
    for _ in range(SEARCH_STEPS):
        middle = math.sqrt(low * high)
        found = voxel_keys(points, middle, _CPU)
        if len(found) > num_voxels:
            low = middle
        else:
            high, keys = middle, found
    return Workload("indoor", points, high, _coords(keys))


def lidar(num_points: int) -> Workload:
    """One sweep with as many rays as give 95k voxels when asked for 100k."""
    points = sweep_points(max(1, round(num_points * AZIMUTHS / DEFAULT_POINTS)))
    keys = voxel_keys(points - points.amin(dim=0), LIDAR_VOXEL_SIZE, _CPU)
    return Workload("lidar", points, LIDAR_VOXEL_SIZE, _coords(keys))


def _coords(keys: Tensor) -> CoordSet:
    return CoordSet(cuda_ops.morton_decode(keys), batch_size=1)


WORKLOADS: Mapping[str, Callable[[int], Workload]] = MappingProxyType(
    {"indoor": indoor, "lidar": lidar}
)
"""Makers of workloads by name; they take the size, 100,000 unless a test wants less."""
