"""Voxelize: which points share a voxel, the mean of their features, one representative of each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cuda_ops.library import define, differentiable
from cuda_ops.segment import sum_rows
from cuda_ops.voxelize import cpu, cuda


def reference_voxelize(keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    unique, inverse, counts = torch.unique(keys, return_inverse=True, return_counts=True)
    return unique, inverse, counts


def fake_voxelize(keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    num_voxels = torch.library.get_ctx().new_dynamic_size()
    return keys.new_empty(num_voxels), torch.empty_like(keys), keys.new_empty(num_voxels)


_voxelize = define(
    "voxelize(Tensor keys) -> (Tensor, Tensor, Tensor)",
    reference_voxelize,
    fake_voxelize,
    cpu.voxelize,
    cuda.voxelize,
)


def voxelize(keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find the voxels of points.

    Args:
        keys: [P] int64, the `morton_encode` key of every point's voxel, in any order.

    Returns:
        unique_keys [N] int64 ascending, point2voxel [P] int64 with
        `unique_keys[point2voxel] == keys`, and counts [N] int64, the points in each voxel.
    """
    result: tuple[Tensor, Tensor, Tensor] = _voxelize(keys)
    return result


def reference_voxel_mean(feats: Tensor, point2voxel: Tensor, counts: Tensor) -> Tensor:
    return sum_rows(feats, point2voxel, counts.shape[0]) / counts.unsqueeze(1).to(feats.dtype)


def _save_mean(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    _, point2voxel, counts = inputs
    ctx.save_for_backward(point2voxel, counts)


def _mean_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    point2voxel, counts = ctx.saved_tensors
    return (grad / counts.unsqueeze(1).to(grad.dtype))[point2voxel], None, None


_voxel_mean = define(
    "voxel_mean(Tensor feats, Tensor point2voxel, Tensor counts) -> Tensor",
    reference_voxel_mean,
    lambda feats, point2voxel, counts: feats.new_empty((counts.shape[0], feats.shape[1])),
    cpu.voxel_mean,
    cuda.voxel_mean,
)
differentiable("voxel_mean", _mean_backward, _save_mean, features=(0,))


def voxel_mean(feats: Tensor, point2voxel: Tensor, counts: Tensor) -> Tensor:
    """The mean of each voxel's points. Differentiable in `feats`; deterministic.

    Args:
        feats: [P, C] floating point.
        point2voxel: [P] int64 from `voxelize`.
        counts: [N] int64 from `voxelize`.

    Returns:
        [N, C], the dtype of `feats`.
    """
    result: Tensor = _voxel_mean(feats, point2voxel, counts)
    return result


def reference_voxel_representative(
    point2voxel: Tensor, priority: Tensor, num_voxels: int
) -> Tensor:
    best = priority.new_full((num_voxels,), torch.iinfo(torch.int64).max)
    best.scatter_reduce_(0, point2voxel, priority, "amin")
    winner = (priority == best[point2voxel]).nonzero().squeeze(1)
    rows = priority.new_empty(num_voxels)
    rows[point2voxel[winner]] = winner
    return rows


_voxel_representative = define(
    "voxel_representative(Tensor point2voxel, Tensor priority, SymInt num_voxels) -> Tensor",
    reference_voxel_representative,
    lambda point2voxel, priority, num_voxels: priority.new_empty(num_voxels),
    cuda=cuda.voxel_representative,
)


def voxel_first(point2voxel: Tensor, num_voxels: int) -> Tensor:
    """[N] int64, the first point (in input order) of every voxel."""
    order = torch.arange(len(point2voxel), device=point2voxel.device)
    result: Tensor = _voxel_representative(point2voxel, order, num_voxels)
    return result


def voxel_random(
    point2voxel: Tensor, num_voxels: int, generator: torch.Generator | None = None
) -> Tensor:
    """[N] int64, one point of every voxel, each with the same probability.

    Args:
        point2voxel: [P] int64 from `voxelize`.
        num_voxels: N.
        generator: source of the draw, on the device of `point2voxel`; torch's default if None.
    """
    order = torch.randperm(len(point2voxel), generator=generator, device=point2voxel.device)
    result: Tensor = _voxel_representative(point2voxel, order, num_voxels)
    return result
