"""The C++ kernels of this folder, called on tensors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from cuda_ops.neighbor_table.pairs import pairs_of_sources
from cuda_ops.runtime import CpuLibrary, all_float32, int32
from cuda_ops.runtime.threads import num_threads


def relation_logits(
    library: CpuLibrary,
    q: Tensor,
    k: Tensor,
    hidden: Tensor,
    lift: Tensor,
    bias: Tensor,
    weight: Tensor,
    table: Tensor,
) -> Tensor | None:
    """`reference_logits`; None for types other than float32."""
    features = (q, k, hidden, lift, bias)
    if not all_float32(*features, weight):
        return None
    channels, groups = weight.shape
    logits = q.new_zeros(len(q), len(table), groups)
    padded = pad(weight, (0, library.call("pc3d_relation_padded", groups) - groups))
    size = library.call("pc3d_relation_scratch_floats", channels, groups)
    library.checked(
        _beyond(len(k)),
        "pc3d_relation_logits",
        *(tensor.contiguous() for tensor in (*features, padded)),
        *(int32(table), *table.shape, len(k), channels, len(lift), groups),
        *(logits, q.new_empty(num_threads() * size)),
    )
    return logits


def vector_sum(
    library: CpuLibrary, weights: Tensor, v: Tensor, hidden: Tensor, lift: Tensor, table: Tensor
) -> Tensor | None:
    """`reference_sum`; None for types other than float32."""
    tensors = (weights, v, hidden, lift)
    if not all_float32(*tensors):
        return None
    (_, taps, groups), (sources, channels) = weights.shape, v.shape
    y = v.new_empty(table.shape[1], channels)
    library.checked(
        _beyond(sources),
        "pc3d_vector_sum",
        *(tensor.contiguous() for tensor in tensors),
        *(int32(table), taps, len(y), sources, channels, len(lift), groups, y),
        *(_scratch(lift, groups), _groups(library, channels)),
    )
    return y


def grad_weights(
    library: CpuLibrary,
    grad: Tensor,
    v: Tensor,
    hidden: Tensor,
    lift: Tensor,
    table: Tensor,
    groups: int,
) -> Tensor | None:
    """`reference_grad_weights`; None for types other than float32."""
    tensors = (grad, v, hidden, lift)
    if not all_float32(*tensors):
        return None
    (taps, num), (sources, channels) = table.shape, v.shape
    weights_grad = grad.new_zeros(num, taps, groups)
    library.checked(
        _beyond(sources),
        "pc3d_vector_sum_grad_weights",
        *(tensor.contiguous() for tensor in tensors),
        *(int32(table), taps, num, sources, channels, len(lift), groups),
        *(weights_grad, _scratch(lift, groups)),
    )
    return weights_grad


def grad_v(
    library: CpuLibrary, grad: Tensor, weights: Tensor, table: Tensor, num_sources: int
) -> Tensor | None:
    """`reference_grad_v`; None for types other than float32."""
    if not all_float32(grad, weights):
        return None
    (_, taps, groups), channels = weights.shape, grad.shape[1]
    v_grad = grad.new_empty(num_sources, channels)
    pairs = pairs_of_sources(library, table, num_sources)
    tensors = (grad.contiguous(), weights.contiguous(), *pairs)
    sizes = (taps, num_sources, channels, groups)
    groups_memory = _groups(library, channels)
    library.parallel("pc3d_vector_sum_grad_v", *tensors, *sizes, v_grad, groups_memory)
    return v_grad


def grad_hidden(
    library: CpuLibrary, grad: Tensor, weights: Tensor, lift: Tensor, table: Tensor
) -> Tensor | None:
    """`reference_grad_hidden`; None for types other than float32."""
    if not all_float32(grad, weights, lift):
        return None
    groups = weights.shape[2]
    hidden_grad = grad.new_zeros(*table.shape, len(lift))
    tensors = (*(tensor.contiguous() for tensor in (grad, weights, lift)), int32(table))
    sizes = (*table.shape, grad.shape[1], len(lift), groups)
    size = library.call("pc3d_vector_sum_scratch_floats", len(lift), groups)
    scratch = grad.new_empty(num_threads() * size)
    library.parallel("pc3d_vector_sum_grad_hidden", *tensors, *sizes, hidden_grad, scratch)
    return hidden_grad


def grad_lift(
    library: CpuLibrary, grad: Tensor, weights: Tensor, hidden: Tensor, table: Tensor
) -> Tensor | None:
    """`reference_grad_lift`; None for types other than float32."""
    if not all_float32(grad, weights, hidden):
        return None
    (num, channels), groups = grad.shape, weights.shape[2]
    lift_grad = grad.new_empty(hidden.shape[2], channels)
    library.parallel(
        "pc3d_vector_sum_grad_lift",
        *(tensor.contiguous() for tensor in (grad, weights, hidden)),
        *(int32(table), *table.shape, channels, len(lift_grad), groups, lift_grad),
        grad.new_empty(library.call("pc3d_vector_sum_chunks", num), *lift_grad.shape),
        *(_scratch(lift_grad, groups), _groups(library, channels)),
    )
    return lift_grad


def _beyond(num_sources: int) -> IndexError:
    return IndexError(f"a table names rows beyond the {num_sources} sources")


def _scratch(lift: Tensor, groups: int) -> Tensor:
    """A matrix [H, G] for every thread."""
    return lift.new_empty(num_threads(), len(lift), groups)


def _groups(library: CpuLibrary, channels: int) -> Tensor:
    return torch.empty(library.call("pc3d_group_entries", channels), dtype=torch.int32)
