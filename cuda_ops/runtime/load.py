"""Which compiled library serves the CPU: prebuilt, compiled here, or none.

In this order: a library in the wheel, one in the user's cache, one compiled now by the system's
compiler or PyPI's `ziglang`. If all fail, the reference serves and one line in the log says why.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from cuda_ops.runtime import cache, compiler
from cuda_ops.runtime.threads import num_threads, openmp_parallel

REFERENCE = "reference"
PREBUILT = compiler.ROOT / "prebuilt"
_log = logging.getLogger("cuda_ops")
_forced: list[
    str
] = []  # of `serving`; all threads see it: a GPU's gradients run in one of their own


class CpuLibrary:
    """The kernels of one instruction set: functions of pointers and int64 that return int64."""

    def __init__(self, path: Path) -> None:
        self._functions = ctypes.CDLL(str(path))
        self.call("pc3d_set_parallel", openmp_parallel() or 0)

    def call(self, name: str, *args: torch.Tensor | int) -> int:
        """Call `name`; a tensor is passed as its address and must be contiguous."""
        function = self._functions[name]
        function.restype = ctypes.c_int64
        passed: list[Any] = []
        for arg in args:
            if isinstance(arg, torch.Tensor):
                assert arg.is_contiguous(), name
                passed.append(ctypes.c_void_p(arg.data_ptr()))
            else:
                passed.append(ctypes.c_int64(arg))
        result: int = function(*passed)
        return result

    def parallel(self, name: str, *args: torch.Tensor | int) -> int:
        """`call` with the number of threads as the last argument."""
        return self.call(name, *args, num_threads())

    def checked(self, error: Exception, name: str, *args: torch.Tensor | int) -> None:
        """`parallel`, for a function that returns 1 for input that it refuses with `error`."""
        if self.parallel(name, *args):
            raise error


def int32(tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` as kernels read indices of 32 bits; itself where it is so already."""
    return tensor.to(torch.int32).contiguous()


def int64(tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` as kernels read keys and indices of 64 bits; itself where it is so already."""
    return tensor.to(torch.int64).contiguous()


def all_float32(*tensors: torch.Tensor) -> bool:
    """Whether kernels can read these as features and weights."""
    return all(tensor.dtype == torch.float32 for tensor in tensors)


@dataclass(frozen=True)
class Served:
    """What serves the CPU, and why.

    Attributes:
        isa: instruction set of the library, or "reference".
        library: the kernels; None where the reference serves.
        reason: where the library came from, or why there is none.
    """

    isa: str
    library: CpuLibrary | None
    reason: str


def supported_isas() -> tuple[str, ...]:
    """Instruction sets that this processor can run and kernels exist for, the smallest first."""
    capability = torch.backends.cpu.get_cpu_capability()
    has = {"AVX2": {"avx2"}, "AVX512": {"avx2", "avx512"}}.get(capability, set())
    return tuple(isa for isa in compiler.instruction_sets() if isa == "baseline" or isa in has)


def forced(variable: str) -> str | None:
    """What `serving` asks for, else the environment variable, else None."""
    return _forced[-1] if _forced else os.environ.get(variable) or None


def chosen_isa() -> str:
    """`$PC3D_CPU_ISA` if set, else the largest instruction set of this processor.

    Raises:
        ValueError: the variable names something that this processor cannot run.
    """
    wanted = forced("PC3D_CPU_ISA")
    supported = supported_isas()
    if not wanted:
        return supported[-1]
    if wanted not in (*supported, REFERENCE):
        raise ValueError(
            f"PC3D_CPU_ISA={wanted} cannot run here; this processor ({compiler.machine()}) runs "
            f"{', '.join((REFERENCE, *supported))}. Unset it to get {supported[-1]}."
        )
    return wanted


@contextlib.contextmanager
def serving(isa: str) -> Iterator[None]:
    """Within the block, `isa` serves ops on the CPU, or "reference" on all devices."""
    _forced.append(isa)
    try:
        yield
    finally:
        _forced.pop()


def served() -> Served:
    """What serves the CPU; found, and compiled if need be, at the first call."""
    return _load(chosen_isa())


def cpu_library() -> CpuLibrary | None:
    """The kernels for the CPU, or None where the reference serves."""
    return served().library


@lru_cache
def _load(isa: str) -> Served:
    if isa == REFERENCE:
        return Served(REFERENCE, None, "asked for by PC3D_CPU_ISA")
    prebuilt = PREBUILT / compiler.library_name(isa, compiler.source_hash())
    if prebuilt.exists():
        with contextlib.suppress(OSError):
            return Served(isa, CpuLibrary(prebuilt), "prebuilt, from the package")
    reasons = []
    found = compiler.find_compiler()
    if found is None:
        reasons.append(
            "no C++ compiler ($CXX, c++, g++, clang++); install one, or pip install pc3d[compiler]"
        )
    for folder in cache.candidates():
        if found is None:
            break
        try:
            return Served(isa, *_compiled(folder, found, isa))
        except (OSError, RuntimeError) as error:
            reasons.append(f"{folder}: {error}" if isinstance(error, OSError) else str(error))
    reason = "; ".join(dict.fromkeys(reasons))
    _log.warning("plain PyTorch serves the sparse operators, slower: %s", reason)
    return Served(REFERENCE, None, reason)


def _compiled(folder: Path, found: compiler.Compiler, isa: str) -> tuple[CpuLibrary, str]:
    key = hashlib.sha256(f"{compiler.source_hash()} {found.identity}".encode()).hexdigest()
    seconds = []

    def build(target: Path) -> None:
        start = time.perf_counter()
        compiler.compile_library(found, isa, target)
        seconds.append(time.perf_counter() - start)

    path = cache.cached_library(folder, compiler.library_name(isa, key), build)
    library = CpuLibrary(path)
    if seconds:
        _log.info("compiled the kernels for %s in %.1f s with %s", isa, seconds[0], found)
    return library, f"compiled by {found}, in {folder}"
