"""The few functions of the CUDA driver that launching a kernel takes, through ctypes."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from functools import lru_cache

import torch

Argument = torch.Tensor | int | ctypes.Array[ctypes.c_int64]
"""Of a kernel: a pointer, an int64, or a struct of these."""


class DriverError(RuntimeError):
    """A call of the driver failed; the message says which, and why."""


@lru_cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")


def _checked(function: str, *args: object) -> None:
    status = getattr(_library(), function)(*args)
    if status:
        text = ctypes.c_char_p()
        _library().cuGetErrorString(status, ctypes.byref(text))
        raise DriverError(f"{function}: {(text.value or b'unknown error').decode()} ({status})")


def use_context(device: int) -> None:
    """Make torch's context of a GPU current in this thread, if none is yet."""
    current = ctypes.c_void_p()
    _checked("cuCtxGetCurrent", ctypes.byref(current))
    if not current.value:  # a thread in which torch has not called CUDA so far
        context, handle = ctypes.c_void_p(), ctypes.c_int()
        _checked("cuDeviceGet", ctypes.byref(handle), device)
        _checked("cuDevicePrimaryCtxRetain", ctypes.byref(context), handle)
        _checked("cuCtxSetCurrent", context)


class Module:
    """Compiled kernels, loaded into the current context.

    Args:
        code: a cubin, or PTX with its terminating zero.

    Raises:
        DriverError: the driver refuses the code.
    """

    def __init__(self, code: bytes) -> None:
        self._handle = ctypes.c_void_p()
        self._code = code
        _checked("cuModuleLoadData", ctypes.byref(self._handle), code)
        self._functions: dict[str, ctypes.c_void_p] = {}

    def launch(
        self,
        kernel: str,
        grid: tuple[int, int],
        threads: int,
        stream: int,
        arguments: Sequence[Argument],
    ) -> None:
        """Launch a kernel whose parameters are pointers, int64, or structs of these.

        Raises:
            DriverError: the launch failed.
        """
        function = self._functions.get(kernel)
        if function is None:
            function = ctypes.c_void_p()
            _checked("cuModuleGetFunction", ctypes.byref(function), self._handle, kernel.encode())
            self._functions[kernel] = function
        values, addresses = pack(arguments)
        size = (*grid, 1, threads, 1, 1)
        _checked("cuLaunchKernel", function, *size, 0, ctypes.c_void_p(stream), addresses, None)
        del values


def pack(
    arguments: Sequence[Argument],
) -> tuple[list[object], ctypes.Array[ctypes.c_void_p]]:
    """The values of a kernel's parameters, and their addresses; a tensor is its pointer."""
    values: list[object] = []
    for argument in arguments:
        if isinstance(argument, torch.Tensor):
            assert argument.is_contiguous()
            values.append(ctypes.c_void_p(argument.data_ptr()))
        elif isinstance(argument, int):
            values.append(ctypes.c_int64(argument))
        else:
            values.append(argument)
    addresses = map(ctypes.addressof, values)  # type: ignore[arg-type]
    return values, (ctypes.c_void_p * len(values))(*addresses)
