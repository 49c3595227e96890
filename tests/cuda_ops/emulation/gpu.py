"""A `Gpu` whose kernels run on the CPU, thread by thread, from the same source."""

from __future__ import annotations

import contextlib
import ctypes
import re
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch

from cuda_ops.runtime import compiler, cuda_compiler
from cuda_ops.runtime.driver import Argument, pack
from cuda_ops.runtime.gpu import Gpu, why_no_triton

HERE = Path(__file__).parent
ASCENDING, DESCENDING = 0, 1
KERNEL = re.compile(r"^PC3D_KERNEL (\w+)\(", re.MULTILINE)


class EmulatedGpu(Gpu):
    """Runs `kernel.cu` compiled by a C++ compiler; complaints are raised at once.

    Args:
        order: in which the threads of a block take turns.
        flags: further flags for the compiler.
    """

    def __init__(self, order: int = ASCENDING, flags: Sequence[str] = ()) -> None:
        super().__init__(torch.device("cpu"), (9, 0))
        self.order, self.flags = order, tuple(flags)

    name = "emulated"

    def guard(self) -> contextlib.nullcontext[None]:
        return contextlib.nullcontext()

    def _why_no_triton(self) -> str | None:
        return why_no_triton(self.capability)

    def _run(
        self,
        op: str,
        kernel: str,
        grid: tuple[int, int],
        defines: dict[str, str],
        arguments: Sequence[Argument],
    ) -> None:
        library = emulated(op, tuple(defines.items()), self.flags)
        values, addresses = pack(arguments)
        size = (*grid, cuda_compiler.THREADS, self.order)
        launch = library[f"launch_{kernel}"]
        stuck = launch(*map(ctypes.c_int64, size), addresses)
        del values
        assert not stuck, f"{op}: threads of {kernel} ended before a barrier of their block"
        self.raise_complaints()


@lru_cache
def emulated(op: str, defines: tuple[tuple[str, str], ...], flags: tuple[str, ...]) -> ctypes.CDLL:
    """The kernels of an op as a library with a function `launch_<kernel>` for each."""
    cxx = compiler.find_compiler()
    if cxx is None or cxx.is_zig:
        pytest.skip("the emulation needs a system's C++ compiler")
    folder = Path(mkdtemp())
    source = compiler.ROOT / op / "kernel.cu"
    launchers = [
        f'extern "C" int64_t launch_{name}(int64_t x, int64_t y, int64_t threads, int64_t order, '
        f"void** args) {{ return emulation::launch({name}, x, y, threads, order, args); }}"
        for name in KERNEL.findall(source.read_text())
    ]
    main = folder / "main.cpp"
    main.write_text("\n".join([f'#include "{source}"', *launchers]))
    target = folder / "emulated.so"
    command = [*cxx.command, "-std=c++17", "-O1", "-fPIC", "-shared", *flags]
    command += [f"-DPC3D_THREADS={cuda_compiler.THREADS}", f"-I{cuda_compiler.INCLUDE}"]
    command += [f"-D{key}={value}" for key, value in defines]
    command += ["-include", str(HERE / "emulation.h"), str(main), "-o", str(target)]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(target))
