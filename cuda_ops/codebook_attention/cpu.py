"""The C++ kernels of this folder, called on tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cuda_ops.runtime import CpuLibrary, all_float32, int32
from cuda_ops.runtime.threads import num_threads


class _Call:
    """What every kernel takes: the choice, the codes, their tables as addresses, and the sizes."""

    def __init__(
        self, x: Tensor, choice: Tensor | None, codes: Tensor, tables: Sequence[Tensor]
    ) -> None:
        self.kept = [int32(table) for table in tables]  # for as long as their addresses are used
        self.error = IndexError(f"a table names rows beyond the {len(x)} voxels")
        groups = 1 if choice is None else choice.shape[-1]
        self.args = (
            0 if choice is None else choice.contiguous(),
            codes.contiguous(),
            torch.tensor([table.data_ptr() for table in self.kept], dtype=torch.int64),
            torch.tensor([len(table) for table in self.kept], dtype=torch.int64),
            len(tables),
            groups,
            *x.shape,
        )


def no_such_code(chosen: Tensor, num_codes: int) -> ValueError:
    """What to raise for a chosen code that is not there."""
    return ValueError(
        f"chosen must name codes in [0, {num_codes}); got {int(chosen.min())} to "
        f"{int(chosen.max())}"
    )


def _scratch(library: CpuLibrary, channels: int) -> Tensor:
    per_thread = library.call("pc3d_attention_scratch_bytes", channels)
    return torch.empty(per_thread * num_threads(), dtype=torch.uint8)


def codebook_attention(
    library: CpuLibrary, v: Tensor, choice: Tensor | None, codes: Tensor, tables: Sequence[Tensor]
) -> Tensor | None:
    """`reference_codebook_attention`; None for types other than float32."""
    if not all_float32(v, codes, *([] if choice is None else [choice])):
        return None
    call, v = _Call(v, choice, codes, tables), v.contiguous()
    y, scratch = torch.empty_like(v), _scratch(library, v.shape[1])
    library.checked(call.error, "pc3d_attention", v, *call.args, y, scratch)
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
    call, grad = _Call(grad, choice, codes, tables), grad.contiguous()
    v_grad, scratch = torch.empty_like(grad), _scratch(library, grad.shape[1])
    library.checked(call.error, "pc3d_attention_grad_v", grad, *call.args, v_grad, scratch)
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
    call, v, grad = _Call(v, choice, codes, tables), v.contiguous(), grad.contiguous()
    chunks = library.call("pc3d_attention_chunks", len(v))
    sums = codes.new_empty(chunks, *codes.shape)
    choice_grad = v.new_empty(0 if choice is None else choice.shape)
    codes_grad, scratch = codes.new_empty(codes.shape), _scratch(library, v.shape[1])
    args = (v, *call.args, grad, choice_grad, sums, scratch)
    library.checked(call.error, "pc3d_attention_grad_codes", *args)
    library.parallel("pc3d_attention_reduce", sums, chunks, codes.numel(), codes_grad)
    return choice_grad, codes_grad


def routed(
    library: CpuLibrary, v: Tensor, chosen: Tensor, codes: Tensor, tables: Sequence[Tensor]
) -> Tensor | None:
    """`reference_routed`; None for types other than float32, or more taps than it has room for."""
    if not all_float32(v, codes) or max(map(len, tables)) > library.call("pc3d_routed_max_taps"):
        return None
    call, v = _Call(v, int32(chosen), codes, tables), v.contiguous()
    y = torch.empty_like(v)
    per_thread = library.call("pc3d_routed_scratch_bytes", len(tables))
    scratch = torch.empty(per_thread * num_threads(), dtype=torch.uint8)
    fault = library.parallel("pc3d_routed_attention", v, *call.args, y, scratch)
    if fault == 1:
        raise call.error
    if fault == 2:
        raise no_such_code(chosen, len(tables))
    return y
