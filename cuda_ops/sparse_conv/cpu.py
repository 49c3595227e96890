"""The C++ kernels of this folder, called on tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_ops.runtime import CpuLibrary, all_float32, int32
from cuda_ops.runtime.threads import num_threads


def sparse_conv(
    library: CpuLibrary, x: Tensor, weight: Tensor, table: Tensor, table_t: Tensor | None
) -> Tensor | None:
    """`reference_sparse_conv`; None for types other than float32."""
    if not all_float32(x, weight):
        return None
    (taps, c_in, c_out), num_out = weight.shape, table.shape[1]
    y = x.new_empty(num_out, c_out)
    padded = library.call("pc3d_conv_padded", c_out)
    packed = x.new_empty(taps * c_in * padded)
    strided = (weight.data_ptr(), *weight.stride(), *weight.shape)  # the gradient's is transposed
    library.parallel("pc3d_conv_pack", *strided, packed)
    per_thread = library.call("pc3d_conv_scratch_bytes", c_out)
    scratch = torch.empty(per_thread * num_threads(), dtype=torch.uint8)
    tensors = (x.contiguous(), packed, int32(table), y)
    sizes = (len(x), num_out, taps, c_in, c_out)
    library.checked(_beyond(x), "pc3d_conv", *tensors, *sizes, scratch)
    return y


def weight_grad(library: CpuLibrary, x: Tensor, grad: Tensor, table: Tensor) -> Tensor | None:
    """`reference_weight_grad`; None for types other than float32."""
    if not all_float32(x, grad):
        return None
    (taps, num_out), c_in, c_out = table.shape, x.shape[1], grad.shape[1]
    sizes = (num_out, taps, c_in, c_out)
    chunks = library.call("pc3d_weight_grad_chunks", *sizes)
    padded = library.call("pc3d_conv_padded", c_out)
    sums = x.new_empty(chunks * taps * c_in * padded)
    per_thread = library.call("pc3d_weight_grad_scratch_bytes", c_in, c_out)
    scratch = torch.empty(per_thread * num_threads(), dtype=torch.uint8)
    tensors = (x.contiguous(), grad.contiguous(), int32(table), sums)
    library.checked(_beyond(x), "pc3d_weight_grad", *tensors, len(x), *sizes, scratch)
    out = x.new_empty(taps, c_in, c_out)
    library.parallel("pc3d_weight_grad_reduce", sums, chunks, taps, c_in, c_out, out)
    return out


def _beyond(x: Tensor) -> IndexError:
    return IndexError(f"the table names rows beyond the {len(x)} of x")
