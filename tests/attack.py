"""Data that punishes mistakes: lopsided, shuffled, negative, empty, at the end of the range."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tests.oracle import Row, voxelize

FAR = 2**17 - 2**10
"""The largest legal coordinate, as the design states it."""

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
DTYPES = [torch.float32, torch.float64]


@dataclass(frozen=True)
class Cloud:
    """Voxels of several clouds in key order, and the shuffled points behind them."""

    points: list[Row]
    rows: list[Row]
    point2voxel: list[int]
    counts: list[int]
    batch_size: int

    @property
    def indices(self) -> Tensor:
        return torch.tensor(self.rows, dtype=torch.int32).reshape(-1, 4)

    @property
    def point_indices(self) -> Tensor:
        return torch.tensor(self.points, dtype=torch.int32).reshape(-1, 4)


def make(points: list[Row], batch_size: int) -> Cloud:
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0)).tolist()
    shuffled = [points[i] for i in order]
    return Cloud(shuffled, *voxelize(shuffled), batch_size)


def random_points(num: int, batch: int, low: int, high: int, seed: int) -> list[Row]:
    """Points of a slanted slab, thicker in z on one side: no symmetry to hide behind."""
    generator = torch.Generator().manual_seed(seed)
    xyz = torch.randint(low, high, (num, 3), generator=generator)
    xyz[:, 2] = (xyz[:, 0] - xyz[:, 1] // 2 + xyz[:, 2] % 3).clamp(low, high - 1)
    return [(batch, *point) for point in xyz.tolist()]


def corners(batch: int) -> list[Row]:
    """Pairs of neighbours in the eight extreme corners, where a carry or a wrap would show."""
    signs = [(i, j, k) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]
    far = [(batch, FAR * i, FAR * j, FAR * k) for i, j, k in signs]
    near = [(batch, (FAR - 1) * i, FAR * j, (FAR - 1) * k) for i, j, k in signs]
    return far + near + [(batch, -1, -1, -1), (batch, 0, 0, 0), (batch, -1, 0, -1)]


CLOUDS: dict[str, Cloud] = {
    "two": make(random_points(90, 0, 0, 7, 1) + random_points(25, 1, 0, 7, 2), 2),
    "negative": make(random_points(80, 0, -6, 5, 3), 1),
    "three, one empty": make(
        random_points(60, 0, -4, 3, 4) + random_points(40, 2, -3, 9, 5) + [(0, 7, -8, 1)], 3
    ),
    "one voxel": make([(0, -3, 5, -7)] * 4, 1),
    "none": make([], 2),
}
"""Small enough for a dense grid."""

WIDE: dict[str, Cloud] = {
    **CLOUDS,
    "extremes": make(corners(0) + corners(511), 512),
    "line": make([(0, 0, 0, z) for z in range(-9, 9)], 1),
}
"""Also those that only a dictionary can hold."""


def asymmetric(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """Random values, every one of them different: no flip or transpose leaves them as they are."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64).mul(2).sub(0.9).to(dtype)


def strided(x: Tensor) -> Tensor:
    """The same values in memory that is not contiguous."""
    poison = float("nan") if x.is_floating_point() else -7
    wide = x.new_full((*x.shape[:-1], 2 * x.shape[-1] + 1), poison)
    wide[..., 1::2] = x
    return wide[..., 1::2]


def assert_sums(actual: Tensor, expected: Tensor, magnitude: Tensor, terms: int) -> None:
    """Assert that sums of `terms` products are as exact as their dtype allows.

    A sum of n products in any order errs by at most n u / (1 - n u) times the sum of their absolute
    values, u the unit round-off (Higham 2002, eq. 3.5). One more term stands for rounding inputs.

    Args:
        actual: the result.
        expected: the exact result, float64.
        magnitude: the same sums over absolute values, float64.
        terms: products per sum.
    """
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    unit = torch.finfo(actual.dtype).eps / 2
    bound = (terms + 1) * unit * magnitude + torch.finfo(actual.dtype).tiny
    excess = (actual.detach().double().cpu() - expected).abs() - 2 * bound
    worst = excess.max().item() if excess.numel() else -1.0
    assert worst <= 0, f"beyond the rounding error of {terms} terms by {worst:.3g}"
