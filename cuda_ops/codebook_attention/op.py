"""Codebook attention: depthwise convolutions of several codes, mixed per voxel and group.

    u[d, n, c] = sum over taps k of code d with tables[d][k, n] >= 0 of
                 codes[k of d, c] * v[tables[d][k, n], c]
    y[n, c]    = sum over codes d of  choice[n, d, group(c)] * u[d, n, c]

with group(c) = c // (C / G). This is the value path of CodedVTR (Zhao et al. 2022, arXiv
2203.09887), mixed after the sum over neighbours, so that no kernel per voxel exists. Tables are of
submanifold kernels, whose transpose is the table with its taps in reverse; hence the gradient of v
is a gather too, and there are no atomics. u is computed again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cuda_ops.codebook_attention import cpu, cuda
from cuda_ops.flops import count_flops, num_pairs
from cuda_ops.library import define, differentiable, fits, once_differentiable, sum_dtype


def depthwise(x: Tensor, code: Tensor, table: Tensor) -> Tensor:
    y = x.new_zeros(x.shape)
    for factor, rows in zip(code, table, strict=True):
        out = (rows >= 0).nonzero().squeeze(1)
        # Each output row occurs at most once per tap, so the order of this sum is fixed.
        y.index_add_(0, out, x.index_select(0, rows.index_select(0, out)) * factor)
    return y


def share(choice: Tensor | None, code: int, x: Tensor) -> Tensor:
    """x times the choice of one code, repeated over each group's channels."""
    if choice is None:
        return x
    return x * choice[:, code].repeat_interleave(x.shape[1] // choice.shape[2], dim=1)


def split(codes: Tensor, tables: Sequence[Tensor]) -> Sequence[Tensor]:
    """The taps of every code."""
    parts: Sequence[Tensor] = codes.split([len(table) for table in tables])
    return parts


def reference_codebook_attention(
    v: Tensor, choice: Tensor | None, codes: Tensor, tables: Sequence[Tensor]
) -> Tensor:
    y = v.new_zeros(v.shape)
    for d, (code, table) in enumerate(zip(split(codes, tables), tables, strict=True)):
        y += share(choice, d, depthwise(v, code, table))
    return y


def reference_grad_v(
    grad: Tensor, choice: Tensor | None, codes: Tensor, tables: Sequence[Tensor]
) -> Tensor:
    v_grad = grad.new_zeros(grad.shape)
    for d, (code, table) in enumerate(zip(split(codes, tables), tables, strict=True)):
        v_grad += depthwise(share(choice, d, grad), code.flip(0), table)
    return v_grad


def reference_grad_codes(
    v: Tensor, choice: Tensor | None, codes: Tensor, tables: Sequence[Tensor], grad: Tensor
) -> tuple[Tensor, Tensor]:
    choice_grad = v.new_empty(0 if choice is None else choice.shape)
    codes_grad = codes.new_empty(codes.shape)
    tap_grads = iter(codes_grad)
    for d, (code, table) in enumerate(zip(split(codes, tables), tables, strict=True)):
        mixed = share(choice, d, grad)
        for rows in table:
            out = (rows >= 0).nonzero().squeeze(1)
            inputs = v.index_select(0, rows.index_select(0, out))
            next(tap_grads).copy_((inputs * mixed.index_select(0, out)).sum(dim=0))
        if choice is not None:
            u = depthwise(v, code, table)
            choice_grad[:, d] = (grad * u).unflatten(1, (choice.shape[2], -1)).sum(dim=2)
    return choice_grad, codes_grad


def reference_routed(v: Tensor, chosen: Tensor, codes: Tensor, tables: Sequence[Tensor]) -> Tensor:
    if chosen.numel() and not 0 <= int(chosen.min()) <= int(chosen.max()) < len(tables):
        raise cpu.no_such_code(chosen, len(tables))
    one_hot = torch.nn.functional.one_hot(chosen.long(), len(tables))
    return reference_codebook_attention(v, one_hot.transpose(1, 2).to(v.dtype), codes, tables)


_attention = define(
    "codebook_attention(Tensor v, Tensor? choice, Tensor codes, Tensor[] tables) -> Tensor",
    reference_codebook_attention,
    lambda v, choice, codes, tables: v.new_empty(v.shape),
    cpu.codebook_attention,
    cuda.codebook_attention,
)
_grad_v = define(
    "codebook_attention_grad_v"
    "(Tensor grad, Tensor? choice, Tensor codes, Tensor[] tables) -> Tensor",
    reference_grad_v,
    lambda grad, choice, codes, tables: grad.new_empty(grad.shape),
    cpu.grad_v,
    cuda.grad_v,
)
_grad_codes = define(
    "codebook_attention_grad_codes(Tensor v, Tensor? choice, Tensor codes, Tensor[] tables, "
    "Tensor grad) -> (Tensor, Tensor)",
    reference_grad_codes,
    lambda v, choice, codes, tables, grad: (
        v.new_empty(0 if choice is None else choice.shape, dtype=sum_dtype(v.dtype)),
        codes.new_empty(codes.shape, dtype=sum_dtype(v.dtype)),
    ),
    cpu.grad_codes,
    cuda.grad_codes,
    like=None,
)
_routed = define(
    "routed_codebook_attention(Tensor v, Tensor chosen, Tensor codes, Tensor[] tables) -> Tensor",
    reference_routed,
    lambda v, chosen, codes, tables: v.new_empty(v.shape),
    cpu.routed,
    cuda.routed,
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    v, choice, codes, tables = inputs
    ctx.save_for_backward(v, choice, codes, *tables)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    v, choice, codes, *tables = ctx.saved_tensors
    grad = grad.contiguous()
    need_v, need_choice, need_codes, _ = ctx.needs_input_grad
    v_grad = choice_grad = codes_grad = None
    if need_v:
        v_grad = _grad_v(grad, choice, codes, tables)
    if need_choice or need_codes:
        choice_grad, codes_grad = _grad_codes(v, choice, codes, tables, grad)
        choice_grad = choice_grad.to(choice.dtype) if need_choice else None
        codes_grad = codes_grad.to(codes.dtype)
    return v_grad, choice_grad, codes_grad, [None] * len(tables)


differentiable("codebook_attention", _backward, _save, features=(0,))
for _name in ("grad_v", "grad_codes"):
    once_differentiable(f"codebook_attention_{_name}")


def _weighted_sums(v: Tensor, choice: Tensor | None, tables: Sequence[Tensor]) -> int:
    """Multiply-adds of the codes' sums over neighbours, and of the choice among them."""
    mixed = 0 if choice is None else len(tables) * v.numel()
    return num_pairs(*tables) * v.shape[1] + mixed


def _code_gradients(
    v: Tensor, choice: Tensor | None, codes: Tensor, tables: Sequence[Tensor], grad: Tensor
) -> int:
    # With a choice: each code's share of the gradient, and for the choice's own, each code's sums.
    sums = _weighted_sums(v, choice, tables)
    return sums if choice is None else 2 * sums


def _routed_sums(v: Tensor, chosen: Tensor, codes: Tensor, tables: Sequence[Tensor]) -> int:
    """Of the chosen code alone, group by group."""
    degrees = torch.stack([(table >= 0).sum(dim=0) for table in tables], dim=1)
    channels = v.shape[1] // chosen.shape[1]
    return channels * int(degrees.gather(1, chosen.long()).sum())


count_flops("codebook_attention", lambda v, choice, _, tables: _weighted_sums(v, choice, tables))
count_flops(
    "codebook_attention_grad_v",
    lambda grad, choice, _, tables: _weighted_sums(grad, choice, tables),
)
count_flops("codebook_attention_grad_codes", _code_gradients)
count_flops("routed_codebook_attention", _routed_sums)


def codebook_attention(
    v: Tensor, choice: Tensor | None, codes: Tensor, tables: Sequence[Tensor]
) -> Tensor:
    """Mix depthwise convolutions. Differentiable in v, choice and codes; deterministic.

    Args:
        v: [N, C] floating point, the values.
        choice: [N, D, G], the dtype of `v`, or float32 with values in half precision: the weight
            of each code for each voxel and group of C / G consecutive channels. None: 1 for every
            code, so that one code is a depthwise convolution, and several are their sum.
        codes: [K_0 + ... + K_{D-1}, C], of such a dtype: the taps of all codes, one after another.
        tables: D neighbour tables [K_d, N] int32 of submanifold kernels (offset(k) is
            -offset(K_d - 1 - k)): the row at each tap of each voxel, or -1.

    Returns:
        [N, C], the dtype of `v`; 0 where a voxel has no neighbour at any tap.

    Raises:
        ValueError: shapes or dtypes that do not fit together.
    """
    num_groups = 1 if choice is None else choice.shape[-1]
    _check(v, choice, codes, tables, num_groups)
    if choice is not None and choice.shape != (len(v), len(tables), num_groups):
        raise ValueError(
            f"choice must be [N, D, G] with N={len(v)} voxels and D={len(tables)} codes; got "
            f"{tuple(choice.shape)}"
        )
    result: Tensor = _attention(v, choice, codes, list(tables))
    return result


def routed_codebook_attention(
    v: Tensor, chosen: Tensor, codes: Tensor, tables: Sequence[Tensor]
) -> Tensor:
    """`codebook_attention` with a one-hot choice: only the chosen code is computed.

    Not differentiable; for inference.

    Args:
        v: [N, C] floating point, the values.
        chosen: [N, G] integers: the code of each voxel and group, in [0, D).
        codes: as in `codebook_attention`.
        tables: as in `codebook_attention`.

    Returns:
        [N, C], the dtype of `v`.

    Raises:
        ValueError: shapes or dtypes that do not fit together, or codes that are not there.
    """
    _check(v, None, codes, tables, chosen.shape[-1])
    if chosen.ndim != 2 or len(chosen) != len(v) or chosen.is_floating_point():
        raise ValueError(
            f"chosen must be [N, G] integers with N={len(v)} voxels; got {tuple(chosen.shape)} "
            f"{chosen.dtype}"
        )
    result: Tensor = _routed(v, chosen, codes, list(tables))
    return result


def _check(
    v: Tensor, choice: Tensor | None, codes: Tensor, tables: Sequence[Tensor], num_groups: int
) -> None:
    if v.ndim != 2 or codes.ndim != 2 or codes.shape[1] != v.shape[1]:
        raise ValueError(
            "v must be [N, C] and codes [taps of all codes, C]; got "
            f"{tuple(v.shape)} and {tuple(codes.shape)}"
        )
    for name, tensor in (("choice", choice), ("codes", codes)):
        if tensor is not None and not fits(tensor, v):
            raise ValueError(
                f"v and {name} must have the same dtype, or {name} float32 where v is in half "
                f"precision; got {v.dtype} and {tensor.dtype}. Convert one of them, or run under "
                "torch.autocast."
            )
    if not tables or any(t.ndim != 2 or t.shape[1] != len(v) for t in tables):
        raise ValueError(
            f"tables must be one [K, N] per code with N={len(v)} voxels; got "
            f"{[tuple(t.shape) for t in tables]}"
        )
    if sum(len(table) for table in tables) != len(codes):
        raise ValueError(
            f"codes must have a row per tap: tables have {[len(t) for t in tables]} taps, codes "
            f"{len(codes)} rows"
        )
    if num_groups < 1 or v.shape[1] % num_groups:
        raise ValueError(f"{num_groups} groups do not divide {v.shape[1]} channels")
