"""Compiled CUDA kernels: in the user's cache, or compiled now by nvcc, or by NVRTC."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cuda_ops.runtime import cache, cuda_compiler
from cuda_ops.runtime.compiler import ROOT, CompileError

_log = logging.getLogger("cuda_ops")


def source_of(op: str) -> Path:
    """The CUDA file of an op, by its folder; it need not exist."""
    return ROOT / op / "kernel.cu"


def why_none(capability: tuple[int, int]) -> str:
    """Why nothing can be compiled for a GPU."""
    if 10 * capability[0] + capability[1] < cuda_compiler.OLDEST:
        oldest = divmod(cuda_compiler.OLDEST, 10)
        return f"the GPU has compute capability {capability}; kernels need {oldest}"
    return "no nvcc, and no NVRTC (torch's CUDA wheels and PyPI's nvidia-cuda-nvrtc carry it)"


def attempts(
    op: str, variant: str, capability: tuple[int, int], defines: dict[str, str]
) -> list[Callable[[], tuple[bytes, str]]]:
    """Ways to the compiled kernels of an op, the best first; the next where one fails.

    Args:
        op: the folder of its `kernel.cu`.
        variant: a name for `defines`.
        capability: of the GPU.
        defines: macros.

    Returns:
        Functions that return code, and by what it was made or where it was found. They raise
        CompileError (a compiler failed), CacheRefusedError (no folder for code is safe) or OSError
        (no folder can be written). A compiler's code is kept under its name: a driver may refuse
        what a newer toolkit made, and take what torch's own NVRTC makes.
    """
    source = source_of(op)
    if 10 * capability[0] + capability[1] < cuda_compiler.OLDEST:
        return []
    stem = f"pc3d_{op}_{variant}_{cuda_compiler.source_hash(source)[:16]}"
    compilers = cuda_compiler.find_cuda_compilers()
    found: list[Callable[[], tuple[bytes, str]]] = []
    for compiler in compilers:
        target = cuda_compiler.architecture_for(capability, compiler.architectures)
        if target is not None:
            name = f"{stem}_{target}_{compiler.name.replace(' ', '-')}.cubin"
            found.append(partial(_compiled, name, source, target, defines, compiler))
    if not compilers:
        own = f"{stem}_sm_{capability[0]}{capability[1]}_*.cubin"
        for folder in cache.candidates():
            found += [partial(_cached, path) for path in sorted(folder.glob(own))]
    return found


def _compiled(
    name: str,
    source: Path,
    target: str,
    defines: dict[str, str],
    compiler: cuda_compiler.CudaCompiler,
) -> tuple[bytes, str]:
    seconds = []

    def build(path: Path) -> None:
        start = time.perf_counter()
        compiler.compile(source, target, defines, path)
        seconds.append(time.perf_counter() - start)
        op = source.parent.name
        _log.info("compiled %s for %s in %.1f s with %s", op, target, seconds[0], compiler.name)

    *others, last = cache.candidates()
    for folder in others:
        with contextlib.suppress(OSError, cache.CacheRefusedError):
            path = cache.cached_library(folder, name, build)
            break
    else:
        path = cache.cached_library(last, name, build)
    when = "compiled" if seconds else "compiled before"
    return path.read_bytes(), f"{when} by {compiler.name}, in {path.parent}"


def _cached(path: Path) -> tuple[bytes, str]:
    def no_compiler(target: Path) -> None:
        raise CompileError(f"{path} is damaged, and there is no nvcc and no NVRTC")

    found = cache.cached_library(path.parent, path.name, no_compiler)
    return found.read_bytes(), f"compiled before, in {path.parent}"
