"""Attention over neighbours, in three sums that are each other's gradients.

    neighbor_dot:        dots[n, k, h] = sum over the channels c of head h of  q[n, c] * k[m, c]
    neighbor_sum:        y[n, c]       = sum over taps k of  weights[n, k, head(c)] * v[m, c]
    neighbor_transpose:  out[n, k, h]  = weights[m, K - 1 - k, h]

with m = table[k, n], and 0 where there is no neighbour. Tables are of submanifold kernels, where
n is the neighbour of m at tap K - 1 - k; so what m gets from n is a gather too, and there are no
atomics. Nothing of size [N, K, C] exists; the weights [N, K, H] do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cuda_ops.flops import count_flops, num_pairs
from cuda_ops.library import define, differentiable, fits, sum_dtype
from cuda_ops.neighbor_attention import cpu, cuda


def reference_dot(q: Tensor, k: Tensor, table: Tensor, heads: int) -> Tensor:
    dots = q.new_zeros(q.shape[0], table.shape[0], heads)
    for tap, rows in enumerate(table):
        out = (rows >= 0).nonzero().squeeze(1)
        product = q.index_select(0, out) * k.index_select(0, rows.index_select(0, out))
        dots[out, tap] = product.unflatten(1, (heads, -1)).sum(dim=2)
    return dots


def reference_sum(weights: Tensor, v: Tensor, table: Tensor) -> Tensor:
    y = v.new_zeros(v.shape)
    for tap, rows in enumerate(table):
        out = (rows >= 0).nonzero().squeeze(1)
        share = weights[out, tap].repeat_interleave(v.shape[1] // weights.shape[2], dim=1)
        # Each output row occurs at most once per tap, so the order of this sum is fixed.
        y.index_add_(0, out, v.index_select(0, rows.index_select(0, out)) * share)
    return y


def reference_transpose(weights: Tensor, table: Tensor) -> Tensor:
    transposed = weights.new_zeros(weights.shape)
    for tap, rows in enumerate(table):
        out = (rows >= 0).nonzero().squeeze(1)
        transposed[out, tap] = weights[rows[out].long(), len(table) - 1 - tap]
    return transposed


_dot = define(
    "neighbor_dot(Tensor q, Tensor k, Tensor table, SymInt heads) -> Tensor",
    reference_dot,
    lambda q, k, table, heads: q.new_empty(
        q.shape[0], table.shape[0], heads, dtype=sum_dtype(q.dtype)
    ),
    cpu.neighbor_dot,
    cuda.neighbor_dot,
    like=None,
)
_sum = define(
    "neighbor_sum(Tensor weights, Tensor v, Tensor table) -> Tensor",
    reference_sum,
    lambda weights, v, table: v.new_empty(v.shape),
    cpu.neighbor_sum,
    cuda.neighbor_sum,
    like=1,
)
_transpose = define(
    "neighbor_transpose(Tensor weights, Tensor table) -> Tensor",
    reference_transpose,
    lambda weights, table: weights.new_empty(weights.shape),
    cpu.neighbor_transpose,
    cuda.neighbor_transpose,
)


def _save_dot(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    q, k, table, _ = inputs
    ctx.save_for_backward(q, k, table)


def _backward_dot(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    q, k, table = ctx.saved_tensors
    need_q, need_k, *_ = ctx.needs_input_grad
    q_grad = _sum(grad, k, table) if need_q else None
    k_grad = _sum(_transpose(grad, table), q, table) if need_k else None
    return q_grad, k_grad, None, None


def _save_sum(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward_sum(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    weights, v, table = ctx.saved_tensors
    need_weights, need_v, _ = ctx.needs_input_grad
    weights_grad = None
    if need_weights:
        weights_grad = _dot(grad, v, table, weights.shape[2]).to(weights.dtype)
    v_grad = _sum(_transpose(weights, table), grad, table) if need_v else None
    return weights_grad, v_grad, None


def _save_transpose(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[1])


def _backward_transpose(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    (table,) = ctx.saved_tensors
    return _transpose(grad, table), None


differentiable("neighbor_dot", _backward_dot, _save_dot, features=(0, 1))
differentiable("neighbor_sum", _backward_sum, _save_sum, features=(1,))
differentiable("neighbor_transpose", _backward_transpose, _save_transpose)
count_flops("neighbor_dot", lambda q, k, table, heads: num_pairs(table) * q.shape[1])
count_flops("neighbor_sum", lambda weights, v, table: num_pairs(table) * v.shape[1])


def neighbor_dot(q: Tensor, k: Tensor, table: Tensor, heads: int) -> Tensor:
    """Dot products of every voxel's query with its neighbours' keys. Differentiable in q and k.

    Args:
        q: [N, C] floating point.
        k: [N, C], the dtype of `q`.
        table: [K, N] int32, the neighbour at each tap of a submanifold kernel, or -1.
        heads: H groups of C / H consecutive channels.

    Returns:
        [N, K, H], the dtype of `q`, or float32 where that is in half precision: what comes next is
        a softmax. 0 where there is no neighbour.

    Raises:
        ValueError: shapes or dtypes that do not fit together.
    """
    _check(table, q=q, k=k)
    if heads < 1 or q.shape[1] % heads:
        raise ValueError(f"heads must divide the channels; got {heads} for {q.shape[1]}")
    result: Tensor = _dot(q, k, table, heads)
    return result


def neighbor_sum(weights: Tensor, v: Tensor, table: Tensor) -> Tensor:
    """Weighted sums of the neighbours' values. Differentiable in weights and v.

    Args:
        weights: [N, K, H], the dtype of `v`, or float32 with values in half precision; those of
            missing neighbours are not read.
        v: [N, C] floating point; H divides C.
        table: [K, N] int32, the neighbour at each tap of a submanifold kernel, or -1.

    Returns:
        [N, C], the dtype of `v`; 0 where a voxel has no neighbour.

    Raises:
        ValueError: shapes or dtypes that do not fit together.
    """
    _check(table, v=v)
    if weights.ndim != 3 or weights.shape[:2] != (v.shape[0], table.shape[0]):
        raise ValueError(
            f"weights must be [N, K, H] with N={v.shape[0]} and K={table.shape[0]}; got "
            f"{tuple(weights.shape)}"
        )
    if weights.shape[2] < 1 or v.shape[1] % weights.shape[2]:
        raise ValueError(f"{weights.shape[2]} heads do not divide {v.shape[1]} channels")
    if not fits(weights, v):
        raise ValueError(
            "weights and v must have the same dtype, or weights float32 where v is in half "
            f"precision; got {weights.dtype} and {v.dtype}"
        )
    result: Tensor = _sum(weights, v, table)
    return result


def _check(table: Tensor, **feats: Tensor) -> None:
    """ValueError unless all of `feats` are [N, C] of one dtype and `table` is [K, N]."""
    names, (first, *others) = " and ".join(feats), feats.values()
    if first.ndim != 2 or any(x.shape != first.shape for x in others):
        found = " and ".join(str(tuple(x.shape)) for x in feats.values())
        raise ValueError(f"{names} must be [N, C]; got {found}")
    one_dtype = all(x.dtype == first.dtype for x in others)
    if not one_dtype and not torch.is_autocast_enabled(first.device.type):
        found = " and ".join(str(x.dtype) for x in feats.values())
        raise ValueError(f"{names} must have the same dtype; got {found}")
    if table.ndim != 2 or table.shape[1] != len(first):
        raise ValueError(
            f"table must be [K, N] with N={len(first)} voxels; got {tuple(table.shape)}"
        )
