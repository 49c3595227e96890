"""The C++ kernels of this folder, called on tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_ops.runtime import CpuLibrary, all_float32, int32


def neighbor_dot(
    library: CpuLibrary, q: Tensor, k: Tensor, table: Tensor, heads: int
) -> Tensor | None:
    """`reference_dot`; None for types other than float32."""
    if not all_float32(q, k):
        return None
    dots = q.new_zeros(len(q), len(table), heads)
    sizes = (len(table), heads, *q.shape)
    tensors = (q.contiguous(), k.contiguous(), int32(table))
    library.checked(_beyond(q), "pc3d_neighbor_dot", *tensors, *sizes, dots)
    return dots


def neighbor_sum(library: CpuLibrary, weights: Tensor, v: Tensor, table: Tensor) -> Tensor | None:
    """`reference_sum`; None for types other than float32."""
    if not all_float32(weights, v):
        return None
    y = v.new_zeros(v.shape)
    groups = torch.empty(library.call("pc3d_group_entries", v.shape[1]), dtype=torch.int32)
    sizes = (len(table), weights.shape[2], *v.shape)
    tensors = (weights.contiguous(), v.contiguous(), int32(table))
    library.checked(_beyond(v), "pc3d_neighbor_sum", *tensors, *sizes, y, groups)
    return y


def neighbor_transpose(library: CpuLibrary, weights: Tensor, table: Tensor) -> Tensor | None:
    """`reference_transpose`; None for types other than float32."""
    if not all_float32(weights):
        return None
    transposed = weights.new_zeros(weights.shape)
    sizes = (len(table), weights.shape[2], len(weights))
    tensors = (weights.contiguous(), int32(table))
    library.checked(_beyond(weights), "pc3d_neighbor_transpose", *tensors, *sizes, transposed)
    return transposed


def _beyond(x: Tensor) -> IndexError:
    return IndexError(f"the table names rows beyond the {len(x)} voxels")
