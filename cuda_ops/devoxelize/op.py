"""Devoxelize: features of voxels at points, nearest or trilinear.

    y[p] = sum over corners k with index[k, p] >= 0 of  weight[k, p] * x[index[k, p]]

Trilinear weights are prod(1 - |u - corner|) over the 8 lattice points around u, renormalised over
the corners that exist (as in SPVNAS, Tang et al. 2020, arXiv 2007.16100).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cuda_ops.devoxelize import cpu, cuda
from cuda_ops.flops import count_flops, num_pairs
from cuda_ops.library import define, differentiable, once_differentiable
from cuda_ops.morton.op import encode_unchecked
from cuda_ops.neighbor_table.op import reference_lookup
from cuda_ops.segment import sum_rows


def reference_devoxelize(x: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    y = x.new_zeros((index.shape[1], x.shape[1]))
    for rows, share in zip(index, weight, strict=True):
        found = (rows >= 0).nonzero().squeeze(1)
        y.index_add_(0, found, x[rows[found]] * share[found].unsqueeze(1).to(x.dtype))
    return y


def reference_devoxelize_grad(
    grad: Tensor, index: Tensor, weight: Tensor, num_voxels: int
) -> Tensor:
    found, point = (index >= 0).nonzero(as_tuple=True)
    share = weight[found, point].unsqueeze(1).to(grad.dtype)
    return sum_rows(grad[point] * share, index[found, point].long(), num_voxels)


_devoxelize = define(
    "devoxelize(Tensor x, Tensor index, Tensor weight) -> Tensor",
    reference_devoxelize,
    lambda x, index, weight: x.new_empty((index.shape[1], x.shape[1])),
    cpu.devoxelize,
    cuda.devoxelize,
)
_devoxelize_grad = define(
    "devoxelize_grad(Tensor grad, Tensor index, Tensor weight, SymInt num_voxels) -> Tensor",
    reference_devoxelize_grad,
    lambda grad, index, weight, num_voxels: grad.new_empty((num_voxels, grad.shape[1])),
    cpu.devoxelize_grad,
    cuda.devoxelize_grad,
)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    x, index, weight = inputs
    ctx.save_for_backward(index, weight)
    ctx.num_voxels = x.shape[0]


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    index, weight = ctx.saved_tensors
    return _devoxelize_grad(grad.contiguous(), index, weight, ctx.num_voxels), None, None


differentiable("devoxelize", _backward, _save, features=(0,))
once_differentiable("devoxelize_grad")
count_flops("devoxelize", lambda x, index, weight: num_pairs(index) * x.shape[1])
count_flops("devoxelize_grad", lambda grad, index, *_: num_pairs(index) * grad.shape[1])


def devoxelize(x: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Weighted sum of voxel features at points. Differentiable in `x` only; deterministic.

    Args:
        x: [N, C] floating point.
        index: [K, P] int32 rows of `x`, or -1 for a corner that does not exist.
        weight: [K, P] floating point.

    Returns:
        [P, C], the dtype of `x`; 0 where a point has no corner.
    """
    result: Tensor = _devoxelize(x, index, weight)
    return result


def reference_trilinear(keys: Tensor, batch: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    base = position.floor()
    fraction = position - base
    indices = torch.cat([batch.unsqueeze(1), base.to(torch.int64)], dim=1)
    index = keys.new_empty((8, position.shape[0]), dtype=torch.int32)
    weight = position.new_empty((8, position.shape[0]))
    for tap in range(8):
        corner = torch.tensor([tap >> 2 & 1, tap >> 1 & 1, tap & 1], device=position.device)
        index[tap] = reference_lookup(
            keys, encode_unchecked(indices + torch.nn.functional.pad(corner, (1, 0)))
        )
        weight[tap] = torch.where(corner.bool(), fraction, 1 - fraction).prod(dim=1)
    weight = weight.masked_fill(index < 0, 0)
    tiny = torch.finfo(weight.dtype).tiny  # a point without corners keeps weights of 0
    return index, weight / weight.sum(dim=0, keepdim=True).clamp(min=tiny)


_trilinear = define(
    "trilinear(Tensor keys, Tensor batch, Tensor position) -> (Tensor, Tensor)",
    reference_trilinear,
    lambda keys, batch, position: (
        position.new_empty((8, position.shape[0]), dtype=torch.int32),
        position.new_empty((8, position.shape[0])),
    ),
    cpu.trilinear,
    cuda.trilinear,
)


def trilinear(keys: Tensor, batch: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """The corners around each point and their weights, for `devoxelize`.

    Args:
        keys: [N] int64, ascending, unique: the voxels.
        batch: [P] int64, the cloud of every point.
        position: [P, 3] float32 or float64, in voxels of this set (metres / (voxel_size * stride)),
            within the range of `morton_encode`. A voxel's feature stands at its integer coordinate.

    Returns:
        index [8, P] int32, or -1 where no voxel is, and weight [8, P] in the dtype of `position`,
        which sums to 1 over the corners that exist and to 0 where none does.
    """
    result: tuple[Tensor, Tensor] = _trilinear(keys, batch, position)
    return result
