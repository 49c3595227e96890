"""How this process gets memory from the system."""

from __future__ import annotations

import ctypes
import os
import sys

KEPT = 2**30
"""Bytes: larger blocks go back to the system at once."""
_NEVER = -1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def keep_freed_memory() -> bool:
    """Have glibc keep freed blocks of up to `KEPT` bytes for the next ones.

    Left to itself it returns every block above 32 MiB to the system, and the features of 100,000
    voxels with 96 channels are one, and much of the rest at the end of a training step. All is then
    paid for anew, page by page: a fifth to a third of a training step on the CPU
    (docs/benchmarks.md). In exchange a process holds what it once needed.

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
    return bool(mallopt(_M_MMAP_THRESHOLD, KEPT)) and bool(mallopt(_M_TRIM_THRESHOLD, _NEVER))
