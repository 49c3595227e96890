"""The C++ kernels of this folder, called on tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_ops.neighbor_table.cpu import MAX_VOXELS, index_space, unsorted
from cuda_ops.neighbor_table.pairs import pairs_of_sources
from cuda_ops.runtime import CpuLibrary, all_float32, int32, int64


def trilinear(
    library: CpuLibrary, keys: Tensor, batch: Tensor, position: Tensor
) -> tuple[Tensor, Tensor] | None:
    """`reference_trilinear`; None for too many keys, or positions that are not float32."""
    if len(keys) > MAX_VOXELS or not all_float32(position):
        return None
    num_points = len(position)
    index = torch.empty(8, num_points, dtype=torch.int32)
    weight = position.new_empty(8, num_points)
    library.checked(
        unsorted(),
        "pc3d_trilinear",
        int64(keys),
        len(keys),
        int64(batch),
        position.contiguous(),
        num_points,
        index,
        weight,
        index_space(library, len(keys)),
    )
    return index, weight


def devoxelize(library: CpuLibrary, x: Tensor, index: Tensor, weight: Tensor) -> Tensor | None:
    """`reference_devoxelize`; None for types other than float32."""
    if not all_float32(x, weight):
        return None
    (taps, num_points), channels = index.shape, x.shape[1]
    y = x.new_empty(num_points, channels)
    library.checked(
        IndexError(f"index names rows beyond the {len(x)} of x"),
        "pc3d_devoxelize",
        x.contiguous(),
        int32(index),
        weight.contiguous(),
        taps,
        num_points,
        len(x),
        channels,
        y,
    )
    return y


def devoxelize_grad(
    library: CpuLibrary, grad: Tensor, index: Tensor, weight: Tensor, num_voxels: int
) -> Tensor | None:
    """`reference_devoxelize_grad`; None for types other than float32."""
    if not all_float32(grad, weight):
        return None
    x_grad = grad.new_empty(num_voxels, grad.shape[1])
    tensors = (
        grad.contiguous(),
        weight.contiguous(),
        *pairs_of_sources(library, index, num_voxels),
    )
    library.parallel("pc3d_devoxelize_grad", *tensors, index.shape[1], *x_grad.shape, x_grad)
    return x_grad
