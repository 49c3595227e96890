"""Compiling the CUDA kernels: nvcc, or NVRTC, the compiler that torch's CUDA wheels carry.

Imports nothing beyond the standard library. A kernel file becomes a cubin for one architecture; no
GPU is needed for that. Where a GPU is newer than the compiler, it becomes PTX for the newest
architecture that the compiler knows, and the driver does the rest.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cuda_ops.runtime.compiler import ROOT, TIMEOUT, CompileError

INCLUDE = ROOT / "runtime" / "include"
OLDEST = 75
"""Architecture (10 * major + minor) that the kernels need at least: Turing."""
THREADS = 256
"""Threads per block of every kernel."""
FLAGS = ("-std=c++17", f"-DPC3D_THREADS={THREADS}")


@dataclass(frozen=True)
class CudaCompiler:
    """A compiler of CUDA C++.

    Attributes:
        name: `"nvcc"` or `"NVRTC"`, with its version.
        architectures: what it compiles for, as 10 * major + minor, ascending.
        run: given source file, options and target file, writes a cubin or PTX; returns what the
            compiler said. Raises CompileError.
    """

    name: str
    architectures: tuple[int, ...]
    run: Callable[[Path, Sequence[str], Path], str]

    def compile(
        self, source: Path, architecture: str, defines: Mapping[str, str], target: Path
    ) -> str:
        """Compile a kernel file.

        Args:
            source: the .cu file.
            architecture: from `architecture_for`.
            defines: macros.
            target: file to write: a cubin for `sm_*`, PTX for `compute_*`.

        Returns:
            What the compiler said; with resources per kernel if it is nvcc.

        Raises:
            CompileError: with the first error.
        """
        options = [f"-arch={architecture}", *FLAGS, f"-I{INCLUDE}"]
        options += [f"-D{key}={value}" for key, value in defines.items()]
        return self.run(source, options, target)


def architecture_for(capability: tuple[int, int], known: Sequence[int]) -> str | None:
    """What to compile for on a GPU: its own architecture, or one whose code it runs.

    Code for sm_86 runs on sm_89, as the major number is the same; across major numbers only PTX
    (`compute_*`) does.

    Args:
        capability: (major, minor) of the GPU.
        known: architectures of the compiler.

    Returns:
        `"sm_90"` and the like; `"compute_120"` for a GPU newer than the compiler; None for a GPU
        that is older than `OLDEST` or than everything that the compiler knows.
    """
    wanted = 10 * capability[0] + capability[1]
    usable = [number for number in known if OLDEST <= number <= wanted]
    if wanted < OLDEST or not usable:
        return None
    best = max(usable)
    return f"sm_{best}" if best // 10 == capability[0] else f"compute_{best}"


def source_hash(source: Path) -> str:
    """Hex digest of a kernel file, the headers and the flags."""
    digest = hashlib.sha256(repr(FLAGS).encode())
    for path in [source, *sorted(INCLUDE.iterdir())]:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def find_cuda_compilers() -> list[CudaCompiler]:
    """All that are here: nvcc first, which is a toolkit somebody chose, then NVRTC."""
    return [found for found in (_nvcc(), _nvrtc()) if found is not None]


def _nvcc_program() -> str | None:
    for name in ("CUDA_HOME", "CUDA_PATH"):
        if home := os.environ.get(name):
            program = Path(home) / "bin" / "nvcc"
            if program.exists():
                return str(program)
    return shutil.which("nvcc")


@lru_cache
def _nvcc() -> CudaCompiler | None:
    program = _nvcc_program()
    if program is None:
        return None
    try:
        listed = _output([program, "--list-gpu-code"])
        version = re.search(r"release ([\d.]+)", _output([program, "--version"]))
    except CompileError:
        return None

    def run(source: Path, options: Sequence[str], target: Path) -> str:
        kind = "-ptx" if "-arch=compute_" in options[0] else "-cubin"
        more = [kind, "-O3", "-Xptxas=-v", "-o", str(target), str(source)]
        return _output([program, *options, *more])

    numbers = sorted({int(n) for n in re.findall(r"sm_(\d+)\b", listed)})
    return CudaCompiler(f"nvcc {version[1] if version else ''}".strip(), tuple(numbers), run)


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompileError(f"{command[0]} did not run: {error}") from error
    if done.returncode:
        raise CompileError(f"{command[0]} failed: {_first_error(done.stderr or done.stdout)}")
    return done.stdout + done.stderr


def _first_error(text: str) -> str:
    lines = text.strip().splitlines()
    return next((line for line in lines if "error" in line.lower()), "; ".join(lines[:2]))


def _nvrtc_files() -> list[str]:
    """Where NVRTC may be: in the wheels that torch's CUDA build needs, then wherever ld looks."""
    spec = importlib.util.find_spec("nvidia")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = sorted(
        {str(p) for folder in folders for p in Path(folder).glob("*/lib/libnvrtc.so.*")},
        reverse=True,
    )
    return [*found, "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"]


@lru_cache
def _nvrtc() -> CudaCompiler | None:
    for file in _nvrtc_files():
        try:
            library = ctypes.CDLL(file)
        except OSError:
            continue
        major, minor, count = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        if library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)):
            continue
        library.nvrtcGetNumSupportedArchs(ctypes.byref(count))
        numbers = (ctypes.c_int * count.value)()
        library.nvrtcGetSupportedArchs(numbers)
        name = f"NVRTC {major.value}.{minor.value}"
        return CudaCompiler(name, tuple(sorted(numbers)), _NvrtcRun(library))
    return None


class _NvrtcRun:
    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library

    def __call__(self, source: Path, options: Sequence[str], target: Path) -> str:
        program = ctypes.c_void_p()
        text, name = source.read_bytes(), source.name.encode()
        self._checked("nvrtcCreateProgram", ctypes.byref(program), text, name, 0, None, None)
        try:
            array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
            status = self.library.nvrtcCompileProgram(program, len(options), array)
            log = self._bytes(program, "nvrtcGetProgramLog").decode(errors="replace")
            if status:
                raise CompileError(f"NVRTC failed: {_first_error(log) or self._error(status)}")
            kind = "PTX" if "-arch=compute_" in options[0] else "CUBIN"
            code = self._bytes(program, f"nvrtcGet{kind}")
            # PTX is text, and the driver reads it up to its terminating zero.
            target.write_bytes(code)
            return log
        finally:
            self.library.nvrtcDestroyProgram(ctypes.byref(program))

    def _bytes(self, program: ctypes.c_void_p, getter: str) -> bytes:
        size = ctypes.c_size_t()
        self._checked(f"{getter}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._checked(getter, program, buffer)
        return buffer.raw

    def _checked(self, function: str, *args: object) -> None:
        if status := self.library[function](*args):
            raise CompileError(f"{function}: {self._error(status)}")

    def _error(self, status: int) -> str:
        self.library.nvrtcGetErrorString.restype = ctypes.c_char_p
        text: bytes = self.library.nvrtcGetErrorString(status)
        return text.decode()
