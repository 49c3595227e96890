"""The C++ kernels of this folder, called on tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cuda_ops.neighbor_table.packed import addresses, packed
from cuda_ops.runtime import CpuLibrary, all_float32, int32
from cuda_ops.runtime.threads import num_threads


class _Call:
    """What every kernel takes: the choice, the codes, their packed tables, and the sizes.

    Attributes:
        args: arguments of a kernel, in order.
        kept: the tables, for as long as their addresses are used.
    """

    def __init__(
        self,
        library: CpuLibrary,
        x: Tensor,
        choice: Tensor | None,
        codes: Tensor,
        tables: Sequence[Tensor],
    ) -> None:
        self.kept = [packed(library, table) for table in tables]
        groups = 1 if choice is None else choice.shape[-1]
        self.args = (
            0 if choice is None else choice.contiguous(),
            codes.contiguous(),
            addresses(self.kept),
            len(tables),
            groups,
            *x.shape,
        )


def no_such_code(chosen: Tensor, num_codes: int) -> ValueError:
    """What to raise for a chosen code that is not there."""
    found = f"{int(chosen.min())} to {int(chosen.max())}" if chosen.numel() else "none"
    return ValueError(f"chosen must name codes in [0, {num_codes}); got {found}")


def _scratch(library: CpuLibrary, channels: int) -> Tensor:
    per_thread = library.call("pc3d_attention_scratch_bytes", channels)
    return torch.empty(per_thread * num_threads(), dtype=torch.uint8)


def codebook_attention(
    library: CpuLibrary, v: Tensor, choice: Tensor | None, codes: Tensor, tables: Sequence[Tensor]
) -> Tensor | None:
    """`reference_codebook_attention`; None for types other than float32."""
    if not all_float32(v, codes, *([] if choice is None else [choice])):
        return None
    call, v = _Call(library, v, choice, codes, tables), v.contiguous()
    y, scratch = torch.empty_like(v), _scratch(library, v.shape[1])
    library.parallel("pc3d_attention", v, *call.args, y, scratch)
    return y


def grad_v(
    library: CpuLibrary,
    grad: Tensor,
    choice: Tensor | None,
    codes: Tensor,
    tables: Sequence[Tensor],
) -> Tensor | None:
    """`reference_grad_v`; None for types other than float32."""
    if not all_float32(grad, codes, *([] if choice is None else [choice])):
        return None
    call, grad = _Call(library, grad, choice, codes, tables), grad.contiguous()
    v_grad, scratch = torch.empty_like(grad), _scratch(library, grad.shape[1])
    library.parallel("pc3d_attention_grad_v", grad, *call.args, v_grad, scratch)
    return v_grad


def grad_codes(
    library: CpuLibrary,
    v: Tensor,
    choice: Tensor | None,
    codes: Tensor,
    tables: Sequence[Tensor],
    grad: Tensor,
) -> tuple[Tensor, Tensor] | None:
    """`reference_grad_codes`; None for types other than float32."""
    if not all_float32(v, codes, grad, *([] if choice is None else [choice])):
        return None
    call, v, grad = (
        _Call(library, v, choice, codes, tables),
        v.contiguous(),
        grad.contiguous(),
    )
    chunks = library.call("pc3d_attention_chunks", len(v))
    sums = codes.new_empty(chunks, *codes.shape)
    choice_grad = v.new_empty(0 if choice is None else choice.shape)
    codes_grad, scratch = codes.new_empty(codes.shape), _scratch(library, v.shape[1])
    args = (v, *call.args, grad, choice_grad, sums, scratch)
    library.parallel("pc3d_attention_grad_codes", *args)
    library.parallel("pc3d_attention_reduce", sums, chunks, codes.numel(), codes_grad)
    return choice_grad, codes_grad


def routed(
    library: CpuLibrary, v: Tensor, chosen: Tensor, codes: Tensor, tables: Sequence[Tensor]
) -> Tensor | None:
    """`reference_routed`; None for types other than float32, or more values than 2^32."""
    if not all_float32(v, codes) or v.numel() >= 2**32:
        return None
    with_nothing = torch.cat([codes, codes.new_zeros(1, codes.shape[1])])
    call, v = _Call(library, v, int32(chosen), with_nothing, tables), v.contiguous()
    y, max_taps = torch.empty_like(v), max(map(len, tables))
    sizes = (len(tables), max_taps, chosen.shape[1], v.shape[1])
    per_thread = library.call("pc3d_routed_scratch_bytes", *sizes)
    scratch = torch.empty(per_thread * num_threads(), dtype=torch.uint8)
    if library.parallel("pc3d_routed_attention", v, *call.args, y, max_taps, scratch):
        raise no_such_code(chosen, len(tables))
    return y
