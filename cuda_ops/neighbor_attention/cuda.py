"""The CUDA kernels of this folder, called on tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_ops.runtime import Gpu, int32, vector_width

OP = "neighbor_attention"


def _beyond(gpu: Gpu) -> Tensor:
    return gpu.complaint(IndexError("a neighbour table names rows that are not there"))


def neighbor_dot(gpu: Gpu, q: Tensor, k: Tensor, table: Tensor, heads: int) -> Tensor:
    """`reference_dot`."""
    q, k = q.contiguous(), k.to(q.dtype).contiguous()
    dots = q.new_empty(len(q), len(table), heads, dtype=torch.float32)
    width = vector_width(q.shape[1] // heads, q, k)
    args = (q, k, int32(table), len(table), heads, *q.shape, dots, _beyond(gpu))
    gpu.launch(OP, "dot", dots.numel(), *args, scalar=q.dtype, width=width)
    return dots


def neighbor_sum(gpu: Gpu, weights: Tensor, v: Tensor, table: Tensor) -> Tensor:
    """`reference_sum`."""
    weights, v, heads = weights.float().contiguous(), v.contiguous(), weights.shape[2]
    y = torch.empty_like(v)
    width = vector_width(v.shape[1] // heads, v, y)
    args = (weights, v, int32(table), len(table), heads, *v.shape, y, _beyond(gpu))
    gpu.launch(OP, "weighted_sum", v.numel() // width, *args, scalar=v.dtype, width=width)
    return y


def neighbor_transpose(gpu: Gpu, weights: Tensor, table: Tensor) -> Tensor:
    """`reference_transpose`."""
    wide = weights.float().contiguous()
    result = torch.empty_like(wide)
    sizes = (len(table), weights.shape[2], len(weights))
    args = (wide, int32(table), *sizes, result, _beyond(gpu))
    gpu.launch(OP, "transpose", wide.numel(), *args)
    return result.to(weights.dtype)
