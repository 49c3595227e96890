"""The kernels of one GPU: found or compiled at first use, launched on torch's current stream.

Where there are none, the reference serves that op and one line in the log says why.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import logging
import math
import os
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import lru_cache

import torch
from torch import Tensor

from cuda_ops.runtime import cubin, cuda_compiler
from cuda_ops.runtime.driver import Argument, DriverError, Module, use_context
from cuda_ops.runtime.load import REFERENCE, forced

SCALARS = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}
"""Types of features that kernels read and write; all sum in float32."""
OLDEST_FOR_TRITON = (8, 0)
"""Compute capability that its matrix products need at least: Ampere."""
MAX_BLOCKS = 2**31 - 1
MAX_ROWS = 65535
_WORDS = 8
_lock = threading.Lock()
_log = logging.getLogger("cuda_ops")


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
        pinned = device.type == "cuda"
        with torch.inference_mode(False):
            self._flags = torch.zeros(
                8 * _WORDS, dtype=torch.uint8, device="cpu", pin_memory=pinned
            )
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
        if torch.cuda.current_device() == self.device.index:
            return contextlib.nullcontext()
        return torch.cuda.device(self.device)

    def has_triton(self, op: str) -> bool:
        """Whether Triton serves an op (by its folder) here; if not, the log says why, once."""
        if op not in self.made_by and op not in self._broken:
            reason = self._why_no_triton()
            if reason is None:
                self.made_by[op] = "compiled at first use"
            else:
                self._give_up(op, reason)
        return op in self.made_by

    def _why_no_triton(self) -> str | None:
        if reason := why_no_triton(self.capability):
            return reason
        from cuda_ops.runtime.kernel_triton import probe

        try:
            with self.guard():
                probe(self.device)
        except Exception as error:  # noqa: BLE001  # whatever Triton lacks here, the reference does not
            return f"Triton does not work here: {type(error).__name__}: {error}"
        return None

    def serves(self, op: str) -> tuple[str, str]:
        """What serves an op (by its folder), and why; compiles its kernels if need be.

        Returns:
            `"CUDA"`, `"Triton"` or `"reference"`, and where it came from, or why there is none.
        """
        if not cubin.source_of(op).exists():
            if self.has_triton(op):
                return "Triton", self.made_by[op]
            return "reference", self._broken[op]
        try:
            with self.guard():
                self._module(op, {})
        except (KernelUnavailableError, DriverError) as error:
            return "reference", str(error)
        return "CUDA", self.made_by[op]

    def _give_up(self, op: str, reason: str) -> None:
        if op not in self._broken:
            self._broken[op] = reason
            _log.warning("plain PyTorch serves %s on %s, slower: %s", op, self.device, reason)

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
            first = self._errors[bytes(self._words).index(1)]
            ctypes.memset(self._words, 0, ctypes.sizeof(self._words))
            # A new one, without the traceback of the last time.
            raise type(first)(
                f"{first} (found by an earlier call on {self.device}; CUDA_LAUNCH_BLOCKING=1 "
                "raises it where it happens)"
            )

    def _run(
        self,
        op: str,
        kernel: str,
        grid: tuple[int, int],
        defines: dict[str, str],
        arguments: Sequence[Argument],
    ) -> None:
        index = self.device.index
        with self.guard():
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
        for attempt in cubin.attempts(op, variant, self.capability, defines):
            try:
                code, how = attempt()
                module = Module(code)
            except (OSError, RuntimeError) as error:
                reasons.append(str(error))
            else:
                self.made_by[op] = how
                return module
        reason = "; ".join(dict.fromkeys(reasons)) or cubin.why_none(self.capability)
        self._give_up(op, reason)
        raise KernelUnavailableError(reason)


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
    with _lock:  # gradients come from a thread of their own
        return _gpu(index)


@lru_cache
def why_no_triton(capability: tuple[int, int]) -> str | None:
    """Why Triton's matrix products cannot serve a GPU; None if they can."""
    if capability < OLDEST_FOR_TRITON:
        return (
            f"the GPU has compute capability {capability}; Triton's kernels need "
            f"{OLDEST_FOR_TRITON}"
        )
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed (torch's CUDA wheels for Linux bring it)"
    return None


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
