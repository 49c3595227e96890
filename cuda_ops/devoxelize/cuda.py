"""The CUDA kernels of this folder, called on tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_ops.neighbor_table.cpu import MAX_VOXELS
from cuda_ops.neighbor_table.cuda import block_table
from cuda_ops.runtime import Gpu, int32, int64, vector_width
from cuda_ops.voxelize.cuda import segment_sum, segments

OP = "devoxelize"


def trilinear(
    gpu: Gpu, keys: Tensor, batch: Tensor, position: Tensor
) -> tuple[Tensor, Tensor] | None:
    """`reference_trilinear`; None for too many keys, or positions that are not float32."""
    if len(keys) > MAX_VOXELS or position.dtype != torch.float32:
        return None
    points = len(position)
    index = position.new_empty(8, points, dtype=torch.int32)
    weight = position.new_empty(8, points)
    blocks = block_table(gpu, int64(keys))
    where = (int64(batch), position.contiguous(), points)
    gpu.launch(OP, "trilinear", points, *where, *blocks, index, weight)
    return index, weight


def devoxelize(gpu: Gpu, x: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """`reference_devoxelize`."""
    x, (rows, channels), (taps, points) = x.contiguous(), x.shape, index.shape
    y = x.new_empty(points, channels)
    width = vector_width(channels, x, y)
    corners = (int32(index), weight.float().contiguous(), taps, points)
    beyond = gpu.complaint(IndexError("devoxelize: index names rows that x does not have"))
    arguments = (x, rows, channels, *corners, y, beyond)
    size = points * (channels // width)
    gpu.launch(OP, "devoxelize", size, *arguments, scalar=x.dtype, width=width)
    return y


def devoxelize_grad(
    gpu: Gpu, grad: Tensor, index: Tensor, weight: Tensor, num_voxels: int
) -> Tensor:
    """`reference_devoxelize_grad`."""
    factors = weight.float().flatten()
    return segment_sum(gpu, grad, segments(index, num_voxels), factors)
