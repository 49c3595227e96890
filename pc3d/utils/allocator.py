"""How this process gets memory from the system."""

from __future__ import annotations

import ctypes
import os
import sys

KEPT = 256 * 2**20
"""Bytes: larger blocks go back to the system at once, and so does what is free beyond this."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def keep_freed_memory() -> bool:
    """Have glibc keep freed blocks of up to `KEPT` bytes for the next ones of their size.

    Left to itself it returns every block above 32 MiB to the system, and the features of 100,000
    voxels with 96 channels are one. Each is then paid for anew, page by page: a fifth of a training
    step on the CPU (docs/benchmarks.md). A process holds more memory in exchange.

    Returns:
        Whether it does: not without glibc, nor where the environment tunes it (`MALLOC_...`,
        `GLIBC_TUNABLES`).
    """
    told = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if told or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, KEPT)) and bool(mallopt(_M_TRIM_THRESHOLD, KEPT))
