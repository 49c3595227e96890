"""The C++ kernels of vector attention for every instruction set, and the CUDA kernels emulated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from cuda_ops.runtime import CpuLibrary
from cuda_ops.vector_attention import cpu, cuda, op
from tests.attack import assert_sums, strided
from tests.cuda_ops.emulation.gpu import ASCENDING, DESCENDING, EmulatedGpu
from tests.cuda_ops.kernels import ISAS, library_of
from tests.cuda_ops.vector_problems import SIZES, Attention, attention
from tests.test_waiting import NoWaiting

# Below, at and above vectors, panels, blocks, tasks and chunks; the groups of Point Transformer.
CPU_SIZES = [
    *SIZES,
    (1100, 900, 3, 16, 2, 3),
    (40, 50, 16, 64, 8, 3),
    (35, 20, 8, 32, 4, 3),
    (17, 78, 16, 512, 64, 3),
    (20, 30, 9, 104, 13, 5),
    (20, 30, 5, 96, 96, 4),
    (20, 30, 7, 100, 4, 3),
]
CUDA_SIZES = [*SIZES, (30, 20, 5, 72, 9, 3), (300, 280, 2, 16, 2, 4), (9, 12, 3, 160, 20, 3)]
NAMES = ("logits", "sum", "grad_weights", "grad_v", "grad_hidden", "grad_lift")


@pytest.fixture(params=ISAS)
def library(request: pytest.FixtureRequest) -> CpuLibrary:
    return library_of(request.param)


@pytest.fixture(params=[ASCENDING, DESCENDING], ids=["ascending", "descending"])
def gpu(request: pytest.FixtureRequest) -> EmulatedGpu:
    return EmulatedGpu(request.param)


def arguments(a: Attention) -> tuple[tuple[Any, ...], ...]:
    """Of every op, in the order of NAMES."""
    return (
        a.of_logits,
        a.of_sum,
        (a.grad, *a.of_sum[1:], a.groups),
        (a.grad, a.weights, a.table, len(a.v)),
        (a.grad, a.weights, a.lift, a.table),
        (a.grad, a.weights, a.hidden, a.table),
    )


def by_kernels(module: Any, device: object, a: Attention) -> list[Tensor]:
    """What the kernels of `cpu` or `cuda` make of it, in the order of NAMES."""
    calls: tuple[Callable[..., Tensor], ...] = (module.relation_logits, module.vector_sum)
    calls += (module.grad_weights, module.grad_v, module.grad_hidden, module.grad_lift)
    return [call(device, *args) for call, args in zip(calls, arguments(a), strict=True)]


def by_references(a: Attention) -> list[Tensor]:
    calls = (op.reference_logits, op.reference_sum, op.reference_grad_weights)
    calls += (op.reference_grad_v, op.reference_grad_hidden, op.reference_grad_lift)
    return [call(*args) for call, args in zip(calls, arguments(a), strict=True)]


def magnitudes(a: Attention) -> list[Tensor]:
    """The same sums over absolute values: what the rounding errors are measured by."""
    sizes = a.changed(Tensor.abs)
    return by_references(replace(sizes, q=-sizes.q))  # q is subtracted


def terms(a: Attention) -> list[int]:
    (taps, num), (hidden, channels) = a.table.shape, a.lift.shape
    of_position, width = hidden + 3, channels // a.groups
    counts = (channels + of_position, taps * (hidden + 2), width + hidden + 2)
    return [*counts, num * taps, channels + a.groups, (num + 2) * (taps + 2)]


def assert_rounded_once(
    result: Tensor, expected: Tensor, magnitude: Tensor, num_terms: int
) -> None:
    """`assert_sums` for sums in float32 that are rounded to half precision at the end."""
    bound = (num_terms + 1) * torch.finfo(torch.float32).eps * magnitude
    bound += torch.finfo(result.dtype).eps * expected.abs() + torch.finfo(result.dtype).tiny
    assert ((result.double() - expected).abs() <= bound).all()


@pytest.mark.parametrize("size", CPU_SIZES)
def test_cpp(library, size):
    narrow = attention(*size).changed(Tensor.float)
    wide = narrow.changed(Tensor.double)
    found = by_kernels(cpu, library, narrow)
    expected, scale, counts = by_references(wide), magnitudes(wide), terms(narrow)
    for name, *result in zip(NAMES, found, expected, scale, counts, strict=True):
        assert result[0].dtype == torch.float32, name
        assert_sums(*result)


def test_cpp_gives_the_same_bits_for_every_number_of_threads(library):
    before, problem = torch.get_num_threads(), attention(2100, 300, 5, 40, 5, 3)
    problem = problem.changed(Tensor.float)
    try:
        runs = []
        for threads in (1, 2, 3, 1):
            torch.set_num_threads(threads)
            runs.append(by_kernels(cpu, library, problem))
    finally:
        torch.set_num_threads(before)
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], run, strict=True))


def test_cpp_refuses_rows_that_are_not_there(library):
    problem = attention(*SIZES[0]).changed(Tensor.float)
    problem.table[3, 6] = 11
    for call, args in zip(
        (cpu.relation_logits, cpu.vector_sum, cpu.grad_weights, cpu.grad_v),
        arguments(problem),
        strict=False,
    ):
        with pytest.raises(IndexError, match="names rows beyond the 11"):
            call(library, *args)


def test_cpp_leaves_other_types_to_the_reference(library):
    assert by_kernels(cpu, library, attention(*SIZES[0])) == [None] * len(NAMES)


@pytest.mark.parametrize("scalar", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", CUDA_SIZES)
def test_cuda(gpu, size, scalar):
    problem = attention(*size).changed(Tensor.float)
    features = {name: getattr(problem, name).to(scalar) for name in ("q", "k", "v", "grad")}
    problem = replace(problem, **features)
    wide = problem.changed(Tensor.double)
    odd = replace(problem.changed(strided), table=strided(problem.table))
    found = by_kernels(cuda, gpu, odd)
    expected, scale, counts = by_references(wide), magnitudes(wide), terms(problem)
    for name, *result in zip(NAMES, found, expected, scale, counts, strict=True):
        rounded = name in ("sum", "grad_v")
        assert result[0].dtype == (scalar if rounded else torch.float32), name
        compare = assert_sums if result[0].dtype == torch.float32 else assert_rounded_once
        compare(*result)


def test_cuda_skips_rows_that_are_not_there_and_tells(gpu):
    problem = attention(*SIZES[0]).changed(Tensor.float)
    problem.table[3, 6] = 11
    for call, args in zip(
        (cuda.relation_logits, cuda.vector_sum, cuda.grad_weights), arguments(problem), strict=False
    ):
        with pytest.raises(IndexError, match="names rows"):
            call(gpu, *args)
    assert cuda.grad_v(gpu, *arguments(problem)[3]).isfinite().all()
    gpu.raise_complaints()


def test_cuda_waits_for_nothing(gpu):
    with NoWaiting():
        by_kernels(cuda, gpu, attention(*SIZES[0]).changed(Tensor.float))
