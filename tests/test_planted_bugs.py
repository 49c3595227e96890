"""The oracle has teeth: every classic bug of sparse convolutions makes a comparison fail.

Each case replaces one function of the code under test by a version with the bug, and asserts that
the comparison, which passes without it (the first test), no longer does.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

import cuda_ops
from pc3d.sparse import CoordSet, KernelSpec
from tests.attack import CLOUDS
from tests.parity import check_down_and_up, check_gradient, check_points, check_submanifold

CLOUD = CLOUDS["three, one empty"]
CUBE = KernelSpec(3)
Check = Callable[[], None]

CHECKS: dict[str, Check] = {
    "points": partial(check_points, CLOUD),
    "cube": partial(check_submanifold, CLOUD, CUBE),
    "cross": partial(check_submanifold, CLOUD, KernelSpec(3, shape="cross")),
    "dilated": partial(check_submanifold, CLOUD, KernelSpec(5, dilation=3)),
    "down and up": partial(check_down_and_up, CLOUD),
    "gradient": partial(check_gradient, CLOUD, CUBE),
}

# Cross-module names are bound in the modules that import them; `import a.b` would find the
# functions of the same names in the package.
TABLE_OPS = importlib.import_module("cuda_ops.neighbor_table.op")
Patch = pytest.MonkeyPatch


def flipped_taps(patch: Patch) -> None:
    offsets = KernelSpec.offsets.func
    patch.setattr(KernelSpec, "offsets", property(lambda spec: offsets(spec)[::-1]))


def x_fastest(patch: Patch) -> None:
    offsets = KernelSpec.offsets.func
    patch.setattr(
        KernelSpec, "offsets", property(lambda spec: tuple(o[::-1] for o in offsets(spec)))
    )


def dilation_ignored(patch: Patch) -> None:
    offsets = KernelSpec.offsets.func
    near = lambda spec: offsets(KernelSpec(spec.size, shape=spec.shape))  # noqa: E731
    patch.setattr(KernelSpec, "offsets", property(near))


def permuted_taps_of_two(patch: Patch) -> None:
    real = cuda_ops.down_table
    order = torch.tensor([0, 4, 2, 6, 1, 5, 3, 7])  # x fastest instead of slowest

    def planted(keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        coarse, down, up = real(keys)
        return coarse, down[order], up[order]

    patch.setattr(cuda_ops, "down_table", planted)


def trunc_for_floor(patch: Patch) -> None:
    real = cuda_ops.down_table

    def planted(keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        indices = cuda_ops.morton_decode(keys)
        indices[:, 1:] = torch.div(indices[:, 1:], 2, rounding_mode="trunc")
        parents, parent = torch.unique(cuda_ops.morton_encode(indices), return_inverse=True)
        _, down, up = real(keys)
        row = torch.arange(len(keys), dtype=torch.int32)
        down = row.new_full((8, len(parents)), -1).index_put_((keys & 7, parent), row)
        up = torch.full_like(up, -1).index_put_((keys & 7, row.long()), parent.int())
        return parents, down, up

    patch.setattr(cuda_ops, "down_table", planted)


def dropped_batch_column(patch: Patch) -> None:
    patch.setenv("PC3D_CPU_ISA", "reference")  # where the bug is planted
    patch.setattr(TABLE_OPS, "encode_cloud", torch.zeros_like)


def dropped_batch_column_of_points(patch: Patch) -> None:
    real = cuda_ops.morton_encode
    patch.setattr(
        cuda_ops, "morton_encode", lambda rows: real(rows * torch.tensor([0, 1, 1, 1]).int())
    )


def clamped_minus_one(patch: Patch) -> None:
    real = cuda_ops.neighbor_table
    patch.setattr(cuda_ops, "neighbor_table", lambda keys, taps: real(keys, taps).clamp(min=0))


def wrapped_minus_one(patch: Patch) -> None:
    def planted(x: Tensor, weight: Tensor, table: Tensor, table_t: Tensor) -> Tensor:
        return torch.einsum("kmc,kcd->md", x[table.long()], weight)

    patch.setattr(cuda_ops, "sparse_conv", planted)


def unsorted_rows(patch: Patch) -> None:
    """A set that takes rows in the order of the points, as if its constructor did not check."""
    patch.setenv("PC3D_CPU_ISA", "reference")  # the C++ kernel refuses such keys
    real = cuda_ops.voxelize

    def planted(keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        unique, point2voxel, counts = real(keys)
        order = torch.arange(len(unique)).roll(7)
        return unique[order], order.argsort()[point2voxel], counts[order]

    patch.setattr(cuda_ops, "voxelize", planted)
    patch.setattr(
        CoordSet,
        "__init__",
        lambda self, rows, size: self._set(rows, cuda_ops.morton_encode(rows), size, 1),
    )


def gradient_through_the_forward_table(patch: Patch) -> None:
    real = cuda_ops.sparse_conv
    patch.setattr(cuda_ops, "sparse_conv", lambda x, w, table, table_t: real(x, w, table, table))


def sum_for_mean(patch: Patch) -> None:
    def planted(feats: Tensor, point2voxel: Tensor, counts: Tensor) -> Tensor:
        return feats.new_zeros(len(counts), feats.shape[1]).index_add(0, point2voxel, feats)

    patch.setattr(cuda_ops, "voxel_mean", planted)


PLANTED: list[tuple[Callable[[Patch], None], str]] = [
    (flipped_taps, "cube"),
    (flipped_taps, "cross"),
    (flipped_taps, "gradient"),
    (x_fastest, "cube"),
    (x_fastest, "cross"),
    (dilation_ignored, "dilated"),
    (permuted_taps_of_two, "down and up"),
    (trunc_for_floor, "down and up"),
    (dropped_batch_column, "cube"),
    (dropped_batch_column_of_points, "points"),
    (clamped_minus_one, "cube"),
    (clamped_minus_one, "dilated"),
    (wrapped_minus_one, "cube"),
    (wrapped_minus_one, "down and up"),
    (unsorted_rows, "cube"),
    (unsorted_rows, "points"),
    (gradient_through_the_forward_table, "gradient"),
    (sum_for_mean, "points"),
]


@pytest.mark.parametrize("check", CHECKS)
def test_nothing_is_planted_yet(check):
    CHECKS[check]()


@pytest.mark.parametrize("plant, check", PLANTED, ids=lambda p: getattr(p, "__name__", p))
def test_the_comparison_fails(plant, check, monkeypatch):
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        CHECKS[check]()
