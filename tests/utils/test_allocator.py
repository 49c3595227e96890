"""Memory that is freed and taken again is not paid for twice."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource, sys
from pc3d.utils.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    print(keep_freed_memory())
c = ctypes.CDLL(None)
c.malloc.restype = ctypes.c_void_p
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    block = ctypes.c_void_p(c.malloc(ctypes.c_size_t(48 << 20)))
    ctypes.memset(block, 1, 48 << 20)
    c.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 48 * 2**20 // os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0


def run(mode: str, **variables: str) -> list[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    command = [sys.executable, "-c", PROGRAM, mode]
    done = subprocess.run(
        command, env=environment | variables, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_blocks_are_used_again():
    (alone,) = run("leave")
    if int(alone) < 5 * PAGES:
        pytest.skip("this allocator keeps what is freed by itself, or has huge pages")
    kept, faults = run("keep")
    assert kept == "True" and int(faults) < 2 * PAGES


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_what_the_environment_says_counts():
    assert run("keep", MALLOC_MMAP_THRESHOLD_="100000")[0] == "False"
    assert run("keep", GLIBC_TUNABLES="glibc.malloc.arena_max=4")[0] == "False"
