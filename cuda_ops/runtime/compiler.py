"""Compiling the C++ kernels: which sources, which compiler, which flags.

Imports nothing beyond the standard library, so that the build of a wheel can use it without torch.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FLAGS = (
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-math-errno",
    "-ffp-contract=fast",
)
PROCESSORS = {"x86_64": {"baseline": "x86-64", "avx2": "haswell", "avx512": "skylake-avx512"}}
"""The oldest processor with an instruction set, per machine; others have a baseline alone."""
COMPILERS = ("c++", "g++", "clang++")
TIMEOUT = 300  # seconds


class CompileError(RuntimeError):
    """No compiler, or one that failed; the message says which and what it wrote."""


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler.

    Attributes:
        command: what to run, before the flags.
        identity: changes when the compiler does; part of the key of everything it made.
    """

    command: tuple[str, ...]
    identity: str

    @property
    def is_zig(self) -> bool:
        return "ziglang" in self.command

    def __str__(self) -> str:
        return "ziglang" if self.is_zig else self.command[0]

    def flags(self, isa: str) -> tuple[str, ...]:
        """How this compiler is told to compile for an instruction set."""
        processor = PROCESSORS.get(machine(), {}).get(isa)
        if self.is_zig:
            # The kernels use no C++ library; without this flag zig compiles its own, for minutes.
            names = () if processor is None else (f"-mcpu={processor.replace('-', '_')}",)
            return (*FLAGS, "-nostdlib++", *names)
        return FLAGS if processor is None else (*FLAGS, f"-march={processor}")


def machine() -> str:
    """The processor's family, as `ARCH_FLAGS` names it."""
    name = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)


def instruction_sets() -> tuple[str, ...]:
    """The sets that kernels can be compiled for here, from the smallest to the largest."""
    return tuple(PROCESSORS.get(machine(), {"baseline": None}))


def find_compiler() -> Compiler | None:
    """`$CXX` if set, else the system's compiler, else PyPI's `ziglang`, else None."""
    wanted = os.environ.get("CXX")
    if wanted:
        command = shlex.split(wanted)
        return _compiler(tuple(command)) if shutil.which(command[0]) else None
    for name in COMPILERS:
        if path := shutil.which(name):
            return _compiler((path,))
    if importlib.util.find_spec("ziglang") is not None:
        return _compiler((sys.executable, "-m", "ziglang", "c++"))
    return None


def _compiler(command: tuple[str, ...]) -> Compiler:
    program = Path(shutil.which(command[0]) or command[0]).resolve()
    if "ziglang" in command:
        spec = importlib.util.find_spec("ziglang")
        assert spec is not None and spec.origin is not None
        program = Path(spec.origin)
    facts = program.stat()
    return Compiler(command, f"{' '.join(command)} {program} {facts.st_size} {facts.st_mtime_ns}")


def sources() -> list[Path]:
    """The C++ files of all ops, in a fixed order."""
    return sorted(ROOT.glob("*/*.cpp"))


def source_hash() -> str:
    """Hex digest of sources, headers and flags: what a library must have been made of."""
    digest = hashlib.sha256(repr((FLAGS, PROCESSORS)).encode())
    for path in [*sources(), *sorted(ROOT.rglob("*.h"))]:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def library_name(isa: str, key: str) -> str:
    """File name of the library for an instruction set."""
    return f"pc3d_cpu_{machine()}_{isa}_{key[:16]}.so"


def compile_library(compiler: Compiler, isa: str, target: Path) -> None:
    """Compile all kernels for one instruction set into the shared library `target`.

    Raises:
        CompileError: the compiler cannot be run, fails, or does not come to an end.
    """
    command = [*compiler.command, *compiler.flags(isa), *map(str, sources()), "-o", str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompileError(f"{compiler} could not compile the kernels: {error}") from error
    if done.returncode or not target.exists():
        lines = (done.stderr or done.stdout).strip().splitlines()
        told = next((line for line in lines if "error" in line.lower()), "; ".join(lines[:2]))
        raise CompileError(f"{compiler} failed with exit status {done.returncode}: {told}")
