"""The CUDA kernels of this folder, called on tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from cuda_ops.runtime import Gpu, int32, vector_width
from cuda_ops.runtime.cuda_compiler import THREADS

OP = "codebook_attention"
MAX_TABLES = 64
"""Codes that a kernel's parameters hold (`kMaxTables`)."""
TAPS_AT_ONCE = 9
"""Of which a thread keeps sums (`kTapsAtOnce`)."""
MAX_CHUNKS, MIN_CHUNK_ROWS = 512, 256


class _Call:
    """What every kernel takes: the codes, their tables, and the sizes.

    Attributes:
        tables: `pc3d::Tables`, by value.
        kept: the tables, for as long as their addresses are used.
    """

    def __init__(self, gpu: Gpu, x: Tensor, codes: Tensor, tables: Sequence[Tensor], groups: int):
        self.gpu, self.x, self.codes = gpu, x.contiguous(), _float32(codes)
        self.kept = [int32(table) for table in tables]
        self.tables = (ctypes.c_int64 * (2 * MAX_TABLES))()
        for d, table in enumerate(self.kept):
            self.tables[d], self.tables[MAX_TABLES + d] = table.data_ptr(), len(table)
        self.num_codes, self.groups = len(tables), groups
        self.n, self.channels = x.shape
        self.beyond = gpu.complaint(IndexError("a neighbour table names rows that v does not have"))

    def launch(self, kernel: str, size: int | tuple[int, int], *args: object, width: int) -> None:
        self.gpu.launch(OP, kernel, size, *args, scalar=self.x.dtype, width=width)  # type: ignore[arg-type]

    def width(self, *others: Tensor) -> int:
        """Channels per thread, all of one group."""
        return vector_width(self.channels // self.groups, self.x, self.codes, *others)


def _float32(tensor: Tensor) -> Tensor:
    return tensor.float().contiguous()


def _groups(choice: Tensor | None) -> int:
    return 1 if choice is None else choice.shape[-1]


def codebook_attention(
    gpu: Gpu, v: Tensor, choice: Tensor | None, codes: Tensor, tables: Sequence[Tensor]
) -> Tensor | None:
    """`reference_codebook_attention`; None for more codes than a kernel's parameters hold."""
    return _attend("attention", gpu, v, choice, codes, tables)


def grad_v(
    gpu: Gpu, grad: Tensor, choice: Tensor | None, codes: Tensor, tables: Sequence[Tensor]
) -> Tensor | None:
    """`reference_grad_v`; None for more codes than a kernel's parameters hold."""
    return _attend("grad_v", gpu, grad, choice, codes, tables)


def _attend(
    kernel: str,
    gpu: Gpu,
    x: Tensor,
    choice: Tensor | None,
    codes: Tensor,
    tables: Sequence[Tensor],
) -> Tensor | None:
    if len(tables) > MAX_TABLES:
        return None
    call = _Call(gpu, x, codes, tables, _groups(choice))
    y = torch.empty_like(call.x)
    width = call.width(y)
    mixed = 0 if choice is None else _float32(choice)
    args = (call.x, mixed, call.codes, call.tables, call.num_codes, call.groups, *x.shape, y)
    call.launch(kernel, x.numel() // width, *args, call.beyond, width=width)
    return y


def grad_codes(
    gpu: Gpu,
    v: Tensor,
    choice: Tensor | None,
    codes: Tensor,
    tables: Sequence[Tensor],
    grad: Tensor,
) -> tuple[Tensor, Tensor] | None:
    """`reference_grad_codes`; None for more codes than a kernel's parameters hold."""
    if len(tables) > MAX_TABLES:
        return None
    grad = grad.to(v.dtype).contiguous()
    call = _Call(gpu, v, codes, tables, _groups(choice))
    width = call.width(grad)
    choice_grad = v.new_empty(0 if choice is None else choice.shape, dtype=torch.float32)
    sizes = (call.num_codes, call.groups, call.n, call.channels)
    if choice is not None:
        args = (call.x, call.codes, call.tables, *sizes, grad, choice_grad, call.beyond)
        call.launch("choice_grad", choice_grad.numel(), *args, width=width)
    return choice_grad, _codes_grad(call, choice, codes, grad, width)


def _codes_grad(
    call: _Call, choice: Tensor | None, codes: Tensor, grad: Tensor, width: int
) -> Tensor:
    chunks, rows_of_chunk = chunks_of(call.n)
    sums = grad.new_empty(chunks, *codes.shape, dtype=torch.float32)
    parts = sum(-(-len(table) // TAPS_AT_ONCE) for table in call.kept)
    tiles = -(-(call.channels // width) // THREADS)
    mixed = 0 if choice is None else _float32(choice)
    sizes = (call.groups, call.num_codes, call.n, call.channels)
    split = (rows_of_chunk, tiles, len(codes), sums, call.beyond)
    args = (call.x, mixed, call.tables, *sizes, grad, *split)
    call.launch("codes_grad", (chunks * THREADS, parts * tiles), *args, width=width)
    result = torch.empty_like(sums[0]) if chunks else torch.zeros_like(codes, dtype=torch.float32)
    if chunks:
        call.gpu.launch(OP, "sum_chunks", result.numel(), sums, chunks, result.numel(), result)
    return result


def chunks_of(num_rows: int) -> tuple[int, int]:
    """Into how many chunks rows are split for sums over all of them, and the rows of a chunk.

    It depends on the number of rows alone, so that the order of summation does.
    """
    chunks = min(MAX_CHUNKS, -(-num_rows // MIN_CHUNK_ROWS))
    if chunks == 0:
        return 0, 0
    rows = -(-num_rows // chunks)
    return -(-num_rows // rows), rows


def routed(
    gpu: Gpu, v: Tensor, chosen: Tensor, codes: Tensor, tables: Sequence[Tensor]
) -> Tensor | None:
    """`reference_routed`; None for more codes than a kernel's parameters hold."""
    if len(tables) > MAX_TABLES:
        return None
    call = _Call(gpu, v, codes, tables, chosen.shape[-1])
    y = torch.empty_like(call.x)
    width = call.width(y)
    no_code = gpu.complaint(ValueError("chosen must name codes in [0, D)"))
    args = (call.x, int32(chosen), call.codes, call.tables, call.num_codes, call.groups, *v.shape)
    call.launch("routed", v.numel() // width, *args, y, call.beyond, no_code, width=width)
    return y
