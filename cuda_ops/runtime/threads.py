"""How many threads a kernel may use, and whose."""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache
from pathlib import Path

import torch

_PROCESS = os.getpid()


def num_threads() -> int:
    """`torch.get_num_threads()`, which is 1 in DataLoader workers; 1 in any forked process.

    The threads of an OpenMP runtime do not survive a fork: a parallel region in the child waits for
    them for ever.
    """
    return torch.get_num_threads() if os.getpid() == _PROCESS else 1


@lru_cache
def openmp_parallel() -> int | None:
    """Address of `GOMP_parallel` in the OpenMP runtime that torch uses; None if there is none.

    Both libgomp and LLVM's libomp export it. Kernels call it through this address, so that they run
    on torch's own pool of threads and need no OpenMP to be compiled.
    """
    for path in _loaded_openmp_runtimes():
        try:
            function = ctypes.CDLL(path).GOMP_parallel
        except (OSError, AttributeError):
            continue
        return ctypes.cast(function, ctypes.c_void_p).value
    return None


def _loaded_openmp_runtimes() -> list[str]:
    names = ("libgomp", "libomp", "libiomp5")
    beside_torch = Path(torch.__file__).resolve().parent / "lib"
    maps = Path("/proc/self/maps")
    if maps.exists():
        lines = maps.read_text(errors="replace").splitlines()
        mapped = {line[line.index("/") :] for line in lines if "/" in line}
        loaded = sorted(p for p in mapped if Path(p).name.startswith(names))
    else:
        loaded = sorted(str(p) for p in beside_torch.glob("lib*omp*") if p.name.startswith(names))
    # Other packages bring runtimes of their own; torch's comes first.
    return sorted(loaded, key=lambda path: Path(path).parent != beside_torch)
