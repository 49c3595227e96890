"""Compiled CUDA kernels: in the user's cache, or compiled now by nvcc, or by NVRTC."""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path

from cuda_ops.runtime import cache, cuda_compiler
from cuda_ops.runtime.compiler import ROOT, CompileError

_log = logging.getLogger("cuda_ops")


def source_of(op: str) -> Path:
    """The CUDA file of an op, by its folder; it need not exist."""
    return ROOT / op / "kernel.cu"


def targets(capability: tuple[int, int]) -> list[str]:
    """What to compile for, best first: the GPU's own code also if no compiler is here now."""
    own = f"sm_{capability[0]}{capability[1]}"
    found = [
        cuda_compiler.architecture_for(capability, compiler.architectures)
        for compiler in cuda_compiler.find_cuda_compilers()
    ]
    names = dict.fromkeys([own, *(name for name in found if name is not None)])
    return [] if 10 * capability[0] + capability[1] < cuda_compiler.OLDEST else list(names)


def why_none(capability: tuple[int, int]) -> str:
    """Why nothing can be compiled for a GPU."""
    if 10 * capability[0] + capability[1] < cuda_compiler.OLDEST:
        oldest = divmod(cuda_compiler.OLDEST, 10)
        return f"the GPU has compute capability {capability}; kernels need {oldest}"
    return "no nvcc, and no NVRTC (torch's CUDA wheels and PyPI's nvidia-cuda-nvrtc carry it)"


def find(op: str, variant: str, target: str, defines: dict[str, str]) -> tuple[bytes, str]:
    """The compiled kernels of an op.

    Args:
        op: the folder of its `kernel.cu`.
        variant: a name for `defines`.
        target: one of `targets`.
        defines: macros.

    Returns:
        The code, and by what it was made or where it was found.

    Raises:
        CompileError: no compiler, or one that failed.
        CacheRefusedError: no folder to keep code in that is safe.
        OSError: no folder that can be written.
    """
    source = source_of(op)
    name = f"pc3d_{op}_{variant}_{target}_{cuda_compiler.source_hash(source)[:16]}.cubin"
    *others, last = cache.candidates()
    for folder in others:
        with contextlib.suppress(OSError, cache.CacheRefusedError):
            return _find(folder, name, source, target, defines)
    return _find(last, name, source, target, defines)


def _find(
    folder: Path, name: str, source: Path, target: str, defines: dict[str, str]
) -> tuple[bytes, str]:
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

    path = cache.cached_library(folder, name, build)
    return path.read_bytes(), f"compiled by {made[0]}" if made else f"compiled before, in {folder}"
