"""Vector attention over neighbours (Point Transformer: Zhao et al. 2021, arXiv 2012.09164).

    relation_logits:  logits[n, j] = relu(k[m] - q[n] + hidden[j, n] lift + bias) weight
    vector_sum:       y[n, c]      = sum over j of
                                     weights[n, j, g(c)] (v[m, c] + (hidden[j, n] lift)[c])

with m = table[j, n], nothing where there is no neighbour, and g(c) one of G groups of consecutive
channels. `hidden` is the hidden layer of the MLP that encodes positions, `lift` its last matrix.
In inference batch norms are affine and fold into q, k, lift and bias, so both ops together with a
softmax are the whole attention. Points n and their neighbours m may be of different sets. Nothing
of size [N, K, C] exists.

The second term of the sum, and the gradients of hidden and lift, go through [N, G, H]: the
sum over j of weights[n, j, g] hidden[j, n].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cuda_ops.flops import count_flops, num_pairs
from cuda_ops.library import (
    define,
    differentiable,
    fits,
    inference_only,
    once_differentiable,
    sum_dtype,
)
from cuda_ops.segment import sum_rows
from cuda_ops.vector_attention import cpu, cuda


def reference_logits(
    q: Tensor, k: Tensor, hidden: Tensor, lift: Tensor, bias: Tensor, weight: Tensor, table: Tensor
) -> Tensor:
    logits = q.new_zeros(q.shape[0], table.shape[0], weight.shape[1])
    for tap, rows in enumerate(table):
        out = (rows >= 0).nonzero().squeeze(1)
        position = hidden[tap].index_select(0, out) @ lift + bias
        relation = k.index_select(0, rows[out]) - q.index_select(0, out) + position
        logits[out, tap] = relation.relu() @ weight
    return logits


def reference_sum(
    weights: Tensor, v: Tensor, hidden: Tensor, lift: Tensor, table: Tensor
) -> Tensor:
    y = v.new_zeros(table.shape[1], v.shape[1])
    for tap, rows in enumerate(table):
        out = (rows >= 0).nonzero().squeeze(1)
        value = v.index_select(0, rows[out]) + hidden[tap].index_select(0, out) @ lift
        # Each output row occurs at most once per tap, so the order of this sum is fixed.
        y.index_add_(0, out, value * _spread(weights[out, tap], v.shape[1]))
    return y


def reference_grad_weights(
    grad: Tensor, v: Tensor, hidden: Tensor, lift: Tensor, table: Tensor, groups: int
) -> Tensor:
    weights_grad = grad.new_zeros(table.shape[1], table.shape[0], groups)
    for tap, rows in enumerate(table):
        out = (rows >= 0).nonzero().squeeze(1)
        value = v.index_select(0, rows[out]) + hidden[tap].index_select(0, out) @ lift
        product = grad.index_select(0, out) * value
        weights_grad[out, tap] = product.unflatten(1, (groups, -1)).sum(dim=2)
    return weights_grad


def reference_grad_v(grad: Tensor, weights: Tensor, table: Tensor, num_sources: int) -> Tensor:
    v_grad = grad.new_zeros(num_sources, grad.shape[1])
    for tap, rows in enumerate(table):
        out = (rows >= 0).nonzero().squeeze(1)
        product = grad.index_select(0, out) * _spread(weights[out, tap], grad.shape[1])
        v_grad += sum_rows(product, rows[out].long(), num_sources)
    return v_grad


def reference_grad_hidden(grad: Tensor, weights: Tensor, lift: Tensor, table: Tensor) -> Tensor:
    groups = weights.shape[2]
    lifted = torch.einsum(
        "ngc,hgc->ngh", grad.unflatten(1, (groups, -1)), lift.unflatten(1, (groups, -1))
    )
    hidden_grad = grad.new_zeros(*table.shape, lift.shape[0])
    for tap, rows in enumerate(table):
        out = (rows >= 0).nonzero().squeeze(1)
        hidden_grad[tap, out] = torch.einsum("ng,ngh->nh", weights[out, tap], lifted[out])
    return hidden_grad


def reference_grad_lift(grad: Tensor, weights: Tensor, hidden: Tensor, table: Tensor) -> Tensor:
    groups = weights.shape[2]
    mixed = grad.new_zeros(grad.shape[0], groups, hidden.shape[2])
    for tap, rows in enumerate(table):
        out = (rows >= 0).nonzero().squeeze(1)
        product = weights[out, tap].unsqueeze(2) * hidden[tap].index_select(0, out).unsqueeze(1)
        mixed.index_add_(0, out, product)
    return torch.einsum("ngh,ngc->hgc", mixed, grad.unflatten(1, (groups, -1))).flatten(1)


def _spread(share: Tensor, channels: int) -> Tensor:
    """[N, G] to [N, C]: each group's weight at its channels."""
    return share.repeat_interleave(channels // share.shape[1], dim=1)


_logits = define(
    "relation_logits(Tensor q, Tensor k, Tensor hidden, Tensor lift, Tensor bias, Tensor weight, "
    "Tensor table) -> Tensor",
    reference_logits,
    lambda q, k, hidden, lift, bias, weight, table: q.new_empty(
        q.shape[0], table.shape[0], weight.shape[1], dtype=sum_dtype(q.dtype)
    ),
    cpu.relation_logits,
    cuda.relation_logits,
    like=None,
)
_sum = define(
    "vector_sum(Tensor weights, Tensor v, Tensor hidden, Tensor lift, Tensor table) -> Tensor",
    reference_sum,
    lambda weights, v, hidden, lift, table: v.new_empty(table.shape[1], v.shape[1]),
    cpu.vector_sum,
    cuda.vector_sum,
    like=1,
)
_grad_weights = define(
    "vector_sum_grad_weights(Tensor grad, Tensor v, Tensor hidden, Tensor lift, Tensor table, "
    "SymInt groups) -> Tensor",
    reference_grad_weights,
    lambda grad, v, hidden, lift, table, groups: grad.new_empty(
        table.shape[1], table.shape[0], groups, dtype=sum_dtype(grad.dtype)
    ),
    cpu.grad_weights,
    cuda.grad_weights,
    like=None,
)
_grad_v = define(
    "vector_sum_grad_v(Tensor grad, Tensor weights, Tensor table, SymInt num_sources) -> Tensor",
    reference_grad_v,
    lambda grad, weights, table, num_sources: grad.new_empty(num_sources, grad.shape[1]),
    cpu.grad_v,
    cuda.grad_v,
)
_grad_hidden = define(
    "vector_sum_grad_hidden(Tensor grad, Tensor weights, Tensor lift, Tensor table) -> Tensor",
    reference_grad_hidden,
    lambda grad, weights, lift, table: grad.new_empty(
        *table.shape, lift.shape[0], dtype=sum_dtype(grad.dtype)
    ),
    cpu.grad_hidden,
    cuda.grad_hidden,
    like=None,
)
_grad_lift = define(
    "vector_sum_grad_lift(Tensor grad, Tensor weights, Tensor hidden, Tensor table) -> Tensor",
    reference_grad_lift,
    lambda grad, weights, hidden, table: grad.new_empty(
        hidden.shape[2], grad.shape[1], dtype=sum_dtype(grad.dtype)
    ),
    cpu.grad_lift,
    cuda.grad_lift,
    like=None,
)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    weights, v, hidden, lift, table = ctx.saved_tensors
    need_weights, need_v, need_hidden, need_lift, _ = ctx.needs_input_grad
    weights_grad = v_grad = hidden_grad = lift_grad = None
    if need_weights:
        groups = weights.shape[2]
        weights_grad = _grad_weights(grad, v, hidden, lift, table, groups).to(weights.dtype)
    if need_v:
        v_grad = _grad_v(grad, weights, table, v.shape[0])
    if need_hidden:
        hidden_grad = _grad_hidden(grad, weights, lift, table).to(hidden.dtype)
    if need_lift:
        lift_grad = _grad_lift(grad, weights, hidden, table).to(lift.dtype)
    return weights_grad, v_grad, hidden_grad, lift_grad, None


inference_only("relation_logits", features=(0, 1))
differentiable("vector_sum", _backward, _save, features=(1,))
for _name in ("grad_weights", "grad_v", "grad_hidden", "grad_lift"):
    once_differentiable(f"vector_sum_{_name}")


def _lifted(points: Tensor, table: Tensor, lift: Tensor, groups: int) -> int:
    """Multiply-adds of relative positions: summed by group, then lifted once for each point."""
    return num_pairs(table) * groups * lift.shape[0] + len(points) * lift.numel()


count_flops(
    "relation_logits",
    lambda q, k, hidden, lift, bias, weight, table: (
        num_pairs(table) * (lift.numel() + weight.numel())
    ),
)
count_flops(
    "vector_sum",
    lambda weights, v, hidden, lift, table: (
        num_pairs(table) * v.shape[1] + _lifted(weights, table, lift, weights.shape[2])
    ),
)
count_flops(
    "vector_sum_grad_weights",
    lambda grad, v, hidden, lift, table, groups: (
        num_pairs(table) * v.shape[1] + _lifted(grad, table, lift, groups)
    ),
)
count_flops("vector_sum_grad_v", lambda grad, weights, table, _: num_pairs(table) * grad.shape[1])
count_flops(
    "vector_sum_grad_hidden",
    lambda grad, weights, lift, table: _lifted(grad, table, lift, weights.shape[2]),
)
count_flops(
    "vector_sum_grad_lift",
    lambda grad, weights, hidden, table: (
        num_pairs(table) * weights.shape[2] * hidden.shape[2] + grad.numel() * hidden.shape[2]
    ),
)


def relation_logits(
    q: Tensor, k: Tensor, hidden: Tensor, lift: Tensor, bias: Tensor, weight: Tensor, table: Tensor
) -> Tensor:
    """The first layer of vector attention's weights, for every neighbour. Inference only.

    Args:
        q: [N, C] floating point, queries.
        k: [M, C], the dtype of `q`, keys.
        hidden: [K, N, H], the hidden layer of the positions' MLP; those of missing neighbours are
            not read. It, `lift`, `bias` and `weight` have the dtype of `q`, or are float32 where
            that is in half precision.
        lift: [H, C].
        bias: [C].
        weight: [C, G].
        table: [K, N] int32, rows of `k`, or -1 for a missing neighbour.

    Returns:
        [N, K, G], the dtype of `q`, or float32 where that is in half precision; 0 where there is no
        neighbour.

    Raises:
        ValueError: shapes or dtypes that do not fit together.
        RuntimeError: in a backward pass.
    """
    if k.ndim != 2 or q.ndim != 2 or q.shape[1] != k.shape[1]:
        raise ValueError(
            f"q and k must be [N, C] and [M, C]; got {tuple(q.shape)} and {tuple(k.shape)}"
        )
    if k.dtype != q.dtype and not torch.is_autocast_enabled(q.device.type):
        raise ValueError(f"q and k must have the same dtype; got {q.dtype} and {k.dtype}")
    _check(q, table, len(q), hidden=hidden, lift=lift, bias=bias, weight=weight)
    channels = q.shape[1]
    if bias.shape != (channels,) or weight.ndim != 2 or weight.shape[0] != channels:
        raise ValueError(
            f"bias and weight must be [C] and [C, G] with C={channels}; got {tuple(bias.shape)} "
            f"and {tuple(weight.shape)}"
        )
    result: Tensor = _logits(q, k, hidden, lift, bias, weight, table)
    return result


def vector_sum(weights: Tensor, v: Tensor, hidden: Tensor, lift: Tensor, table: Tensor) -> Tensor:
    """Sums of the neighbours' values and positions, weighted by groups of channels.

    Differentiable in all but the table, once; deterministic.

    Args:
        weights: [N, K, G]; those of missing neighbours are not read. Weights, `hidden` and `lift`
            have the dtype of `v`, or are float32 where that is in half precision.
        v: [M, C] floating point; G divides C.
        hidden: [K, N, H], the hidden layer of the positions' MLP; those of missing neighbours are
            not read.
        lift: [H, C].
        table: [K, N] int32, rows of `v`, or -1 for a missing neighbour.

    Returns:
        [N, C], the dtype of `v`; 0 where a point has no neighbour.

    Raises:
        ValueError: shapes or dtypes that do not fit together.
    """
    if v.ndim != 2:
        raise ValueError(f"v must be [M, C]; got {tuple(v.shape)}")
    if weights.ndim != 3 or weights.shape[:2] != table.shape[::-1]:
        raise ValueError(
            "weights must be [N, K, G] for a table [K, N]; got "
            f"{tuple(weights.shape)} and {tuple(table.shape)}"
        )
    if weights.shape[2] < 1 or v.shape[1] % weights.shape[2]:
        raise ValueError(f"{weights.shape[2]} groups do not divide {v.shape[1]} channels")
    _check(v, table, len(weights), weights=weights, hidden=hidden, lift=lift)
    result: Tensor = _sum(weights, v, hidden, lift, table)
    return result


def _check(x: Tensor, table: Tensor, num: int, **others: Tensor) -> None:
    """ValueError unless the table is [K, N], and all else fits it and the features `x` [*, C]."""
    if table.ndim != 2 or table.shape[1] != num:
        raise ValueError(f"table must be [K, N] with N={num} points; got {tuple(table.shape)}")
    hidden, lift = others["hidden"], others["lift"]
    if hidden.ndim != 3 or hidden.shape[:2] != table.shape:
        raise ValueError(
            f"hidden must be [K, N, H] with K={len(table)} and N={num}; got {tuple(hidden.shape)}"
        )
    if lift.shape != (hidden.shape[2], x.shape[1]):
        raise ValueError(
            f"lift must be [H, C] with H={hidden.shape[2]} and C={x.shape[1]}; got "
            f"{tuple(lift.shape)}"
        )
    for name, tensor in others.items():
        if not fits(tensor, x):
            raise ValueError(
                f"{name} must have the dtype of the features, or float32 where those are in half "
                f"precision; got {tensor.dtype} and {x.dtype}"
            )
