"""The C++ kernels of this folder, called on tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_ops.neighbor_table.cpu import MAX_VOXELS, index_space, unsorted
from cuda_ops.runtime import CpuLibrary


def trilinear(
    library: CpuLibrary, keys: Tensor, batch: Tensor, position: Tensor
) -> tuple[Tensor, Tensor] | None:
    """`reference_trilinear`; None if there are too many keys."""
    if len(keys) > MAX_VOXELS:
        return None
    num_points = len(position)
    index = torch.empty(8, num_points, dtype=torch.int32)
    weight = position.new_empty(8, num_points)
    library.checked(
        unsorted(),
        "pc3d_trilinear",
        keys.contiguous(),
        len(keys),
        batch.to(torch.int64).contiguous(),
        position.contiguous(),
        num_points,
        index,
        weight,
        index_space(library, len(keys)),
    )
    return index, weight


def devoxelize(library: CpuLibrary, x: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """`reference_devoxelize`."""
    (taps, num_points), channels = index.shape, x.shape[1]
    y = x.new_empty(num_points, channels)
    library.checked(
        IndexError(f"index names rows beyond the {len(x)} of x"),
        "pc3d_devoxelize",
        x.contiguous(),
        index.contiguous(),
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
) -> Tensor:
    """`reference_devoxelize_grad`."""
    (taps, num_points), channels = index.shape, grad.shape[1]
    x_grad = grad.new_empty(num_voxels, channels)
    library.checked(
        IndexError(f"index names rows beyond the {num_voxels} voxels"),
        "pc3d_devoxelize_grad",
        grad.contiguous(),
        index.contiguous(),
        weight.contiguous(),
        taps,
        num_points,
        num_voxels,
        channels,
        x_grad,
    )
    return x_grad
