"""Sparse convolution over a neighbour table: submanifold, down and up are one formula.

    y[m] = sum over taps k with table[k, m] >= 0 of  x[table[k, m]] @ weight[k]

The input gradient is the same convolution through the transposed table with the transposed weight:
a gather, so there are no atomics. Source: Choy et al. 2019 (arXiv 1904.08755), eq. 3.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from cuda_ops.flops import count_flops, num_pairs
from cuda_ops.library import define, differentiable, fits, once_differentiable, sum_dtype
from cuda_ops.sparse_conv import cpu, cuda


def reference_sparse_conv(
    x: Tensor, weight: Tensor, table: Tensor, table_t: Tensor | None
) -> Tensor:
    y = x.new_zeros((table.shape[1], weight.shape[2]))
    for tap, rows in enumerate(table):
        out = (rows >= 0).nonzero().squeeze(1)
        # Each output row occurs at most once per tap, so the order of this sum is fixed.
        y.index_add_(0, out, x.index_select(0, rows.index_select(0, out)) @ weight[tap])
    return y


def reference_weight_grad(x: Tensor, grad: Tensor, table: Tensor) -> Tensor:
    weight_grad = x.new_empty((table.shape[0], x.shape[1], grad.shape[1]))
    for tap, rows in enumerate(table):
        out = (rows >= 0).nonzero().squeeze(1)
        inputs = x.index_select(0, rows.index_select(0, out))
        weight_grad[tap] = inputs.T @ grad.index_select(0, out)
    return weight_grad


_sparse_conv = define(
    "sparse_conv(Tensor x, Tensor weight, Tensor table, Tensor? table_t) -> Tensor",
    reference_sparse_conv,
    lambda x, weight, table, table_t: x.new_empty((table.shape[1], weight.shape[2])),
    cpu.sparse_conv,
    cuda.sparse_conv,
)
_weight_grad = define(
    "sparse_conv_weight_grad(Tensor x, Tensor grad, Tensor table) -> Tensor",
    reference_weight_grad,
    lambda x, grad, table: x.new_empty(
        (table.shape[0], x.shape[1], grad.shape[1]), dtype=sum_dtype(x.dtype)
    ),
    cpu.weight_grad,
    cuda.weight_grad,
    like=None,
)


def _save(ctx: Any, inputs: tuple[Tensor | None, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
    x, weight, table, table_t = ctx.saved_tensors
    grad = grad.contiguous()
    need_x, need_weight, *_ = ctx.needs_input_grad
    x_grad = None
    if need_x and table_t is None:  # reversing the taps of the weight does as well as the table's
        x_grad = _sparse_conv(grad, weight.flip(0).transpose(1, 2), table, None)
    elif need_x:
        x_grad = _sparse_conv(grad, weight.transpose(1, 2), table_t, table)
    weight_grad = _weight_grad(x, grad, table).to(weight.dtype) if need_weight else None
    return x_grad, weight_grad, None, None


differentiable("sparse_conv", _backward, _save, features=(0,))
once_differentiable("sparse_conv_weight_grad")
count_flops("sparse_conv", lambda x, weight, table, _: num_pairs(table) * weight[0].numel())
count_flops(
    "sparse_conv_weight_grad",
    lambda x, grad, table: num_pairs(table) * x.shape[1] * grad.shape[1],
)


def sparse_conv(x: Tensor, weight: Tensor, table: Tensor, table_t: Tensor | None = None) -> Tensor:
    """Convolve sparse features. Differentiable in `x` and `weight`; deterministic.

    Args:
        x: [N, C_in] floating point, features of the input set.
        weight: [K, C_in, C_out], the dtype of `x`, or float32 with features in half precision.
        table: [K, M] int32, the input row at each tap of each output row, or -1.
        table_t: [K, N] int32, the transpose of `table`: the output row that input row n feeds
            through each tap, or -1. None for a submanifold kernel, whose offsets are symmetric:
            its transpose is `table` with the taps in reverse.

    Returns:
        [M, C_out], the dtype of `x`; rows without any neighbour are 0.

    Raises:
        ValueError: shapes or dtypes that do not fit together.
    """
    if weight.ndim != 3 or x.ndim != 2 or x.shape[1] != weight.shape[1]:
        raise ValueError(
            f"x must be [N, C_in] and weight [K, C_in, C_out]; got {tuple(x.shape)} and "
            f"{tuple(weight.shape)}"
        )
    if not fits(weight, x):
        raise ValueError(
            "x and weight must have the same dtype, or weight float32 where x is in half "
            f"precision; got {x.dtype} and {weight.dtype}. Convert one of them, or run under "
            "torch.autocast."
        )
    back = table if table_t is None else table_t
    if table.shape[0] != weight.shape[0] or back.shape != (weight.shape[0], x.shape[0]):
        raise ValueError(
            f"for {weight.shape[0]} taps and {x.shape[0]} input rows, table must be "
            f"[{weight.shape[0]}, M] and table_t [{weight.shape[0]}, {x.shape[0]}]; got "
            f"{tuple(table.shape)} and {tuple(back.shape)}"
        )
    result: Tensor = _sparse_conv(x, weight, table, table_t)
    return result
