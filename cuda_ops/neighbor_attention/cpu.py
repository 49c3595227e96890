"""The C++ kernels of this folder, called on tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_ops.neighbor_table.packed import addresses, packed
from cuda_ops.runtime import CpuLibrary, all_float32


def neighbor_dot(
    library: CpuLibrary, q: Tensor, k: Tensor, table: Tensor, heads: int
) -> Tensor | None:
    """`reference_dot`; None for types other than float32."""
    if not all_float32(q, k):
        return None
    dots = q.new_zeros(len(q), len(table), heads)
    pairs = packed(library, table)
    tensors = (q.contiguous(), k.contiguous(), addresses([pairs]))
    library.parallel("pc3d_neighbor_dot", *tensors, heads, *q.shape, dots)
    return dots


def neighbor_sum(library: CpuLibrary, weights: Tensor, v: Tensor, table: Tensor) -> Tensor | None:
    """`reference_sum`; None for types other than float32."""
    if not all_float32(weights, v):
        return None
    y = v.new_zeros(v.shape)
    groups = torch.empty(library.call("pc3d_group_entries", v.shape[1]), dtype=torch.int32)
    pairs = packed(library, table)
    tensors = (weights.contiguous(), v.contiguous(), addresses([pairs]))
    library.parallel("pc3d_neighbor_sum", *tensors, weights.shape[2], *v.shape, y, groups)
    return y


def neighbor_transpose(library: CpuLibrary, weights: Tensor, table: Tensor) -> Tensor | None:
    """`reference_transpose`; None for types other than float32."""
    if not all_float32(weights):
        return None
    transposed = weights.new_zeros(weights.shape)
    pairs = packed(library, table)
    tensors = (weights.contiguous(), addresses([pairs]))
    library.parallel(
        "pc3d_neighbor_transpose", *tensors, weights.shape[2], len(weights), transposed
    )
    return transposed
