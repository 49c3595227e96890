"""What kernels are timed on: several clouds of each kind, so that no cache serves repeats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

import cuda_ops
from cuda_ops.check.cases import OFFSETS
from cuda_ops.check.clouds import CELL, STREET_CELL, room, street, voxel_keys

NUM_CLOUDS = 3
STREET_POINTS = 1.7
"""Points of a street for each voxel, of which there are 95k at 100k."""


@dataclass(frozen=True)
class Kind:
    """A kind of cloud: points by their number and a seed, points per voxel, metres per voxel."""

    points: Callable[[int, int], Tensor]
    per_voxel: float
    cell: float


KINDS = {"room": Kind(room, 1.0, CELL), "street": Kind(street, STREET_POINTS, STREET_CELL)}


class Cloud:
    """Voxels, the points that lie in them, and their maps, computed when asked for."""

    def __init__(self, kind: Kind, num_voxels: int, seed: int, device: torch.device) -> None:
        points = kind.points(round(kind.per_voxel * num_voxels), seed)
        self.keys = voxel_keys(points, kind.cell, device)
        generator = torch.Generator().manual_seed(seed)
        # As many points as voxels, at random: what is voxelized and interpolated.
        chosen = points[torch.randint(len(points), (len(self.keys),), generator=generator)]
        self.position = (chosen / kind.cell).float().to(device)

    def __len__(self) -> int:
        return len(self.keys)

    def table(self, dilation: int = 1) -> Tensor:
        """[27, N] int32, neighbours in a 3x3x3 kernel."""
        if dilation not in self._tables:
            self._tables[dilation] = cuda_ops.neighbor_table(
                self.keys, offsets(self.keys, dilation)
            )
        return self._tables[dilation]

    @cached_property
    def _tables(self) -> dict[int, Tensor]:
        return {}

    @cached_property
    def down(self) -> tuple[Tensor, Tensor, Tensor]:
        """What `cuda_ops.down_table` gives."""
        return cuda_ops.down_table(self.keys)

    @cached_property
    def corners(self) -> tuple[Tensor, Tensor]:
        """What `cuda_ops.trilinear` gives for the points."""
        batch = torch.zeros(len(self.position), dtype=torch.int64, device=self.keys.device)
        return cuda_ops.trilinear(self.keys, batch, self.position)

    @cached_property
    def point_keys(self) -> Tensor:
        """[P] int64, the keys of the points, in no order."""
        cells = self.position.floor().to(torch.int32)
        return cuda_ops.morton_encode(torch.nn.functional.pad(cells, (1, 0)))


@dataclass(frozen=True)
class Place:
    """Clouds of one kind and size.

    Attributes:
        name: such as `"room 100k"`.
        clouds: of different seeds.
    """

    name: str
    clouds: tuple[Cloud, ...]

    @classmethod
    def make(cls, kind: str, num_voxels: int, device: torch.device) -> Place:
        """By the name of the kind and the number of voxels, about."""
        seeds = range(NUM_CLOUDS)
        clouds = tuple(Cloud(KINDS[kind], num_voxels, seed, device) for seed in seeds)
        return cls(place_name(kind, num_voxels), clouds)

    @property
    def num_voxels(self) -> int:
        """Of a cloud, on average."""
        return sum(map(len, self.clouds)) // len(self.clouds)


def place_name(kind: str, num_voxels: int) -> str:
    """`"room 100k"`; below a thousand the number itself."""
    size = f"{num_voxels // 1000}k" if num_voxels >= 1000 else str(num_voxels)
    return f"{kind} {size}"


def offsets(like: Tensor, dilation: int = 1, reach: int = 1) -> Tensor:
    """[K, 3] int32 offsets of a cube of 2 reach + 1 taps per axis, on the device of a tensor."""
    if reach == 1:
        return torch.tensor(OFFSETS, dtype=torch.int32, device=like.device) * dilation
    axis = torch.arange(-reach, reach + 1, dtype=torch.int32, device=like.device)
    return torch.cartesian_prod(axis, axis, axis) * dilation
