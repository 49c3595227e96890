"""The kernels of one GPU: found or compiled at first use, launched on torch's current stream.

In this order: a cubin in the user's cache, one compiled now by nvcc or by NVRTC. Where neither is
there, or fails, the reference serves that op and one line in the log says why.
"""

from __future__ import annotations

import ctypes
import logging
import math
import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from cuda_ops.runtime import cache, cuda_compiler
from cuda_ops.runtime.compiler import ROOT, CompileError
from cuda_ops.runtime.driver import DriverError, Module, use_context
from cuda_ops.runtime.load import REFERENCE, forced

SCALARS = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}
"""Types of features that kernels read and write; all sum in float32."""
MAX_BLOCKS = 2**31 - 1
MAX_ROWS = 65535
_WORDS = 8
_log = logging.getLogger("cuda_ops")

Argument = Tensor | int | ctypes.Array[ctypes.c_int64]


class KernelUnavailableError(RuntimeError):
    """No compiled kernel can be had; the message says why."""


class Gpu:
    """The kernels for one GPU.

    Args:
        device: with its index.
        capability: (major, minor).

    Attributes:
        made_by: for every op in use, where its kernels came from.
    """

    def __init__(self, device: torch.device, capability: tuple[int, int]) -> None:
        self.device, self.capability = device, capability
        self.made_by: dict[str, str] = {}
        self._modules: dict[tuple[str, str], Module] = {}
        self._broken: dict[str, str] = {}
        # One byte per kind of complaint, written by kernels; pinned, so that both sides see it.
        self._flags = torch.zeros(8 * _WORDS, dtype=torch.uint8, pin_memory=device.type == "cuda")
        self._words = (ctypes.c_uint64 * _WORDS).from_address(self._flags.data_ptr())
        self._errors: list[Exception] = []

    def launch(
        self,
        op: str,
        kernel: str,
        size: int | tuple[int, int],
        *arguments: Argument,
        scalar: torch.dtype | None = None,
        width: int = 1,
    ) -> None:
        """Launch one kernel; nothing waits for it. Nothing happens for a size of 0.

        Args:
            op: the folder of its `kernel.cu`.
            kernel: its name there.
            size: threads in all, or (threads in x, blocks in y).
            arguments: tensors (contiguous), integers (int64 there), or arrays of int64 (structs).
            scalar: what `PC3D_SCALAR` is; None: the kernel does not depend on it.
            width: what `PC3D_WIDTH` is.

        Raises:
            KernelUnavailableError: nothing could compile or load it.
            DriverError: the launch failed.
        """
        grid = grid_of(size)
        if 0 in grid:
            return
        defines = {}
        if scalar is not None:
            defines = {f"PC3D_SCALAR_{SCALARS[scalar]}": "1", "PC3D_WIDTH": str(width)}
        self._run(op, kernel, grid, defines, arguments)

    @property
    def name(self) -> str:
        """What the GPU is called."""
        return torch.cuda.get_device_name(self.device)

    def guard(self) -> AbstractContextManager[object]:
        """Within it, this GPU is the current one: for what launches kernels by itself."""
        return torch.cuda.device(self.device)

    def is_refused(self, op: str, reason: str | None) -> bool:
        """Whether the reference must serve an op; says so once in the log.

        Args:
            op: its folder.
            reason: why; None if its kernels serve.
        """
        if reason is None:
            self.made_by.setdefault(op, "Triton")
        elif op not in self._broken:
            self._broken[op] = reason
            _log.warning("plain PyTorch serves %s on %s, slower: %s", op, self.device, reason)
        return reason is not None

    def complaint(self, error: Exception) -> Tensor:
        """Where a kernel writes 1 to have `error` raised: later, as nothing waits for it.

        Args:
            error: its text must not depend on the input, as every text has a place of its own.
        """
        for place, known in enumerate(self._errors):
            if type(known) is type(error) and str(known) == str(error):
                return self._flags[place]
        self._errors.append(error)
        return self._flags[len(self._errors) - 1]

    def raise_complaints(self) -> None:
        """Raise what a kernel that has run complained about, once.

        Raises:
            IndexError, ValueError: bad input to an earlier op on this device.
        """
        if any(self._words):
            first = self._errors[int(self._flags.nonzero()[0])]
            self._flags.zero_()
            raise first

    def _run(
        self,
        op: str,
        kernel: str,
        grid: tuple[int, int],
        defines: dict[str, str],
        arguments: Sequence[Argument],
    ) -> None:
        index = self.device.index
        with torch.cuda.device(index):
            use_context(index)
            module = self._module(op, defines)
            stream = torch.cuda.current_stream(index).cuda_stream
            module.launch(kernel, grid, cuda_compiler.THREADS, stream, arguments)

    def _module(self, op: str, defines: dict[str, str]) -> Module:
        variant = "_".join(defines).removesuffix("_PC3D_WIDTH").removeprefix("PC3D_SCALAR_")
        variant += defines.get("PC3D_WIDTH", "")
        found = self._modules.get((op, variant))
        if found is None:
            found = self._modules[op, variant] = self._load(op, variant, defines)
        return found

    def _load(self, op: str, variant: str, defines: dict[str, str]) -> Module:
        if op in self._broken:
            raise KernelUnavailableError(self._broken[op])
        reasons = []
        source = ROOT / op / "kernel.cu"
        for target in targets(self.capability):
            name = f"pc3d_{op}_{variant}_{target}_{cuda_compiler.source_hash(source)[:16]}"
            for folder in cache.candidates():
                try:
                    file, how = _cubin(folder, name, source, target, defines)
                    module = Module(file.read_bytes())
                except (OSError, RuntimeError) as error:
                    reasons.append(str(error))
                else:
                    self.made_by[op] = how
                    return module
        reason = "; ".join(dict.fromkeys(reasons)) or no_compiler(self.capability)
        self.is_refused(op, reason)
        raise KernelUnavailableError(reason)


def targets(capability: tuple[int, int]) -> list[str]:
    """What to compile for, best first: the GPU's own code also if no compiler is here now."""
    own = f"sm_{capability[0]}{capability[1]}"
    found = [
        cuda_compiler.architecture_for(capability, compiler.architectures)
        for compiler in cuda_compiler.find_cuda_compilers()
    ]
    names = dict.fromkeys([own, *(name for name in found if name is not None)])
    return [] if 10 * capability[0] + capability[1] < cuda_compiler.OLDEST else list(names)


def no_compiler(capability: tuple[int, int]) -> str:
    """Why nothing can be compiled for a GPU."""
    if 10 * capability[0] + capability[1] < cuda_compiler.OLDEST:
        oldest = divmod(cuda_compiler.OLDEST, 10)
        return f"the GPU has compute capability {capability}; kernels need {oldest}"
    return "no nvcc, and no NVRTC (torch's CUDA wheels and PyPI's nvidia-cuda-nvrtc carry it)"


def _cubin(
    folder: Path, name: str, source: Path, target: str, defines: dict[str, str]
) -> tuple[Path, str]:
    """The compiled file, and by what it was made."""
    made = []

    def build(path: Path) -> None:
        start, errors = time.perf_counter(), []
        for compiler in cuda_compiler.find_cuda_compilers():
            try:
                compiler.compile(source, target, defines, path)
            except CompileError as error:
                errors.append(str(error))
                continue
            made.append(compiler.name)
            seconds = time.perf_counter() - start
            op = source.parent.name
            _log.info("compiled %s for %s in %.1f s with %s", op, target, seconds, compiler.name)
            return
        raise CompileError("; ".join(errors) or "no nvcc and no NVRTC")

    path = cache.cached_library(folder, f"{name}.cubin", build)
    return path, f"CUDA, compiled by {made[0]}" if made else f"CUDA, from {folder}"


def grid_of(size: int | tuple[int, int]) -> tuple[int, int]:
    """Blocks in x and y.

    Args:
        size: threads in all, or (threads in x, blocks in y).

    Raises:
        ValueError: more than a grid can hold.
    """
    threads, rows = size if isinstance(size, tuple) else (size, 1)
    blocks = -(-threads // cuda_compiler.THREADS)
    if blocks > MAX_BLOCKS or rows > MAX_ROWS:
        raise ValueError(
            f"{threads} threads in {rows} rows are more than a grid holds "
            f"({MAX_BLOCKS} blocks of {cuda_compiler.THREADS}, {MAX_ROWS} rows); split the input"
        )
    return blocks, rows


def vector_width(channels: int, features: Tensor, *others: Tensor) -> int:
    """Channels that one thread reads at once: up to 16 bytes of features.

    Args:
        channels: of a row, or of a group of them that a thread must not leave.
        features: contiguous; decides by its type.
        others: further tensors that are read in that width.
    """
    if any(tensor.data_ptr() % 16 for tensor in (features, *others)):
        return 1
    return math.gcd(channels, 16 // features.dtype.itemsize)


def gpu_of(device: torch.device) -> Gpu | None:
    """The kernels of a GPU; None where the reference is asked for or ROCm's HIP is what runs."""
    if forced("PC3D_CUDA") == REFERENCE or torch.version.cuda is None:
        return None
    index = torch.cuda.current_device() if device.index is None else device.index
    return _gpu(index)


@lru_cache
def _gpu(index: int) -> Gpu:
    device = torch.device("cuda", index)
    return Gpu(device, torch.cuda.get_device_capability(device))


def waits_for_every_launch() -> bool:
    """Whether errors are to be raised where they happen: `CUDA_LAUNCH_BLOCKING=1`."""
    return os.environ.get("CUDA_LAUNCH_BLOCKING") == "1"


def synchronize(device: torch.device | int | None = None) -> None:
    """Wait for a GPU, and raise what its kernels complained about.

    Kernels find bad rows in tables while nothing waits for them; the error is raised by the next
    op on that device, or here. With `CUDA_LAUNCH_BLOCKING=1` every op does this.

    Args:
        device: the current GPU if None.

    Raises:
        IndexError, ValueError: bad input to an earlier op.
    """
    torch.cuda.synchronize(device)
    gpu = gpu_of(torch.device("cuda", torch.cuda._utils._get_device_index(device, optional=True)))
    if gpu is not None:
        gpu.raise_complaints()


__all__ = ["DriverError", "Gpu", "KernelUnavailableError", "gpu_of", "synchronize", "vector_width"]
