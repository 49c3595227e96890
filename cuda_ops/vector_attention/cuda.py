"""The CUDA kernels of this folder, called on tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_ops.runtime import Gpu, int32, vector_width
from cuda_ops.runtime.cuda_compiler import THREADS
from cuda_ops.voxelize.cuda import segments

OP = "vector_attention"
PAIRS = 16
"""Pairs of which a block computes logits (`kPairs`)."""
CHUNK_ROWS = 128
"""Rows whose gradients of lift are summed apart."""


def relation_logits(
    gpu: Gpu,
    q: Tensor,
    k: Tensor,
    hidden: Tensor,
    lift: Tensor,
    bias: Tensor,
    weight: Tensor,
    table: Tensor,
) -> Tensor:
    """`reference_logits`."""
    q, k = q.contiguous(), k.to(q.dtype).contiguous()
    (channels, groups), (taps, n) = weight.shape, table.shape
    logits = q.new_empty(n, taps, groups, dtype=torch.float32)
    parameters = (_float32(tensor) for tensor in (hidden, lift, bias, weight))
    sizes = (taps, n, len(k), channels, len(lift), groups)
    blocks = (-(-n * taps // PAIRS) * THREADS, -(-groups // (THREADS // PAIRS)))
    tensors = (q, k, *parameters, int32(table))
    gpu.launch(OP, "logits", blocks, *tensors, *sizes, logits, _beyond(gpu), scalar=q.dtype)
    return logits


def vector_sum(
    gpu: Gpu, weights: Tensor, v: Tensor, hidden: Tensor, lift: Tensor, table: Tensor
) -> Tensor:
    """`reference_sum`."""
    v, weights, (sources, channels) = v.contiguous(), _float32(weights), v.shape
    (taps, n), groups = table.shape, weights.shape[2]
    y = v.new_empty(n, channels)
    width = vector_width(channels // groups, v, y)
    sizes = (taps, n, sources, channels, len(lift), groups)
    arguments = (weights, v, _float32(hidden), _float32(lift), int32(table), *sizes, y)
    size = n * (channels // width)
    gpu.launch(OP, "weighted_sum", size, *arguments, _beyond(gpu), scalar=v.dtype, width=width)
    return y


def grad_weights(
    gpu: Gpu, grad: Tensor, v: Tensor, hidden: Tensor, lift: Tensor, table: Tensor, groups: int
) -> Tensor:
    """`reference_grad_weights`."""
    grad, v, (sources, channels) = grad.contiguous(), v.to(grad.dtype).contiguous(), v.shape
    taps, n = table.shape
    result = grad.new_empty(n, taps, groups, dtype=torch.float32)
    width = vector_width(channels // groups, grad, v)
    sizes = (taps, n, sources, channels, len(lift), groups)
    arguments = (grad, v, _float32(hidden), _float32(lift), int32(table), *sizes, result)
    gpu.launch(
        *(OP, "grad_weights", result.numel(), *arguments, _beyond(gpu)),
        scalar=grad.dtype,
        width=width,
    )
    return result


def grad_v(gpu: Gpu, grad: Tensor, weights: Tensor, table: Tensor, num_sources: int) -> Tensor:
    """`reference_grad_v`."""
    grad, weights, (n, channels) = grad.contiguous(), _float32(weights), grad.shape
    taps, groups = weights.shape[1:]
    v_grad = grad.new_empty(num_sources, channels)
    width = vector_width(channels // groups, grad, v_grad)
    sizes = (taps, n, num_sources, channels, groups)
    arguments = (grad, weights, *segments(table, num_sources), *sizes, v_grad)
    size = num_sources * (channels // width)
    gpu.launch(OP, "grad_v", size, *arguments, scalar=grad.dtype, width=width)
    return v_grad


def grad_hidden(gpu: Gpu, grad: Tensor, weights: Tensor, lift: Tensor, table: Tensor) -> Tensor:
    """`reference_grad_hidden`."""
    grad, weights, groups = grad.contiguous(), _float32(weights), weights.shape[2]
    channels = grad.shape[1]
    result = grad.new_empty(*table.shape, len(lift), dtype=torch.float32)
    width = vector_width(channels // groups, grad)
    sizes = (*table.shape, channels, len(lift), groups)
    arguments = (grad, weights, _float32(lift), int32(table), *sizes, result)
    gpu.launch(OP, "grad_hidden", result.numel(), *arguments, scalar=grad.dtype, width=width)
    return result


def grad_lift(gpu: Gpu, grad: Tensor, weights: Tensor, hidden: Tensor, table: Tensor) -> Tensor:
    """`reference_grad_lift`: sums of chunks of rows, and then their sum."""
    grad, weights, groups = grad.contiguous(), _float32(weights), weights.shape[2]
    (n, channels), num_hidden = grad.shape, hidden.shape[2]
    chunks = -(-n // CHUNK_ROWS)
    sums = grad.new_empty(chunks, num_hidden, channels, dtype=torch.float32)
    sizes = (*table.shape, channels, num_hidden, groups, chunks, CHUNK_ROWS)
    arguments = (grad, weights, _float32(hidden), int32(table), *sizes, sums)
    gpu.launch(OP, "grad_lift", sums.numel(), *arguments, scalar=grad.dtype)
    return sums.sum(dim=0)


def _float32(tensor: Tensor) -> Tensor:
    return tensor.float().contiguous()


def _beyond(gpu: Gpu) -> Tensor:
    return gpu.complaint(IndexError("a neighbour table names rows that are not there"))
