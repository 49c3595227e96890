"""The C++ kernels for the tests: every instruction set of this processor, and one that it lacks."""

from __future__ import annotations

import subprocess
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from cuda_ops.runtime import CpuLibrary, cpu_library, serving, supported_isas
from cuda_ops.runtime import compiler as compilers

WIDE_VECTORS = "16 lanes, emulated"
"""The blocking of AVX-512, compiled for whatever this processor has."""
ISAS = [*supported_isas(), *([] if "avx512" in supported_isas() else [WIDE_VECTORS])]


@lru_cache
def library_of(isa: str) -> CpuLibrary:
    """The kernels of an instruction set; skips the test where nothing can compile them."""
    if compilers.find_compiler() is None:
        pytest.skip("no C++ compiler")
    if isa == WIDE_VECTORS:
        return _emulated()
    with serving(isa):
        library = cpu_library()
    assert library is not None
    return library


def _emulated() -> CpuLibrary:
    target = Path(mkdtemp()) / "emulated.so"
    compiler = compilers.find_compiler()
    assert compiler is not None
    flags = [flag for flag in compilers.FLAGS if flag != "-O3"]  # slow to compile
    command = [*compiler.command, *flags, "-O1", "-DPC3D_LANES=16", "-w"]
    subprocess.run([*command, *map(str, compilers.sources()), "-o", str(target)], check=True)
    return CpuLibrary(target)
