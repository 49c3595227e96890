"""Compiling, caching, loading: what may go wrong on a user's machine, and what then serves."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

import cuda_ops
from cuda_ops.runtime import Served, cache, compiler, load, supported_isas, threads

REPOSITORY = Path(__file__).resolve().parents[2]
needs_compiler = pytest.mark.skipif(compiler.find_compiler() is None, reason="no C++ compiler")


@pytest.fixture(autouse=True)
def nothing_is_prebuilt(monkeypatch, tmp_path):
    """An own cache, and no library in the package."""
    monkeypatch.setattr(load, "PREBUILT", tmp_path / "none")
    monkeypatch.setenv("PC3D_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("PC3D_CPU_ISA", raising=False)


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Compile one small file instead of all kernels."""
    source = tmp_path / "runtime" / "tiny.cpp"
    source.parent.mkdir()
    source.write_text(
        'extern "C" __attribute__((visibility("default"))) void pc3d_set_parallel(void*) {}'
    )
    monkeypatch.setattr(compiler, "sources", lambda: [source])
    monkeypatch.setattr(compiler, "ROOT", tmp_path)
    return source


def served_now(isa: str = "baseline") -> Served:
    return load._load.__wrapped__(isa)


def libraries(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.suffix == ".so")


def assert_reference_with_one_line(caplog, *words: str) -> None:
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="cuda_ops"):
        now = served_now()
    assert now.library is None and now.isa == "reference"
    assert len(caplog.records) == 1 and "\n" not in caplog.records[0].getMessage()
    for word in words:
        assert word in now.reason and word in caplog.text


@needs_compiler
def test_compiles_once_and_loads_from_the_cache(quick, tmp_path, monkeypatch):
    first = served_now()
    assert first.library is not None and "compiled by" in first.reason
    assert len(libraries(tmp_path / "cache")) == 1
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(compiler, "compile_library", None)  # a second compilation would fail
    assert served_now().library is not None


@needs_compiler
def test_the_name_depends_on_source_flags_compiler_and_set(quick, tmp_path, monkeypatch):
    def count() -> int:
        served_now()
        return len(libraries(tmp_path / "cache"))

    assert count() == 1
    quick.write_text(quick.read_text() + "// changed")
    assert count() == 2
    monkeypatch.setattr(compiler, "FLAGS", (*compiler.FLAGS, "-DX"))
    assert count() == 3
    script = tmp_path / "other-compiler"
    found = compiler.find_compiler()
    script.write_text(f'#!/bin/sh\nexec {" ".join(found.command)} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    assert count() == 4
    if len(supported_isas()) > 1:
        served_now(supported_isas()[1])
        assert len(libraries(tmp_path / "cache")) == 5


@needs_compiler
@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "no checksum"])
def test_a_damaged_library_is_built_again(quick, tmp_path, damage):
    served_now()
    (library,) = (tmp_path / "cache").glob("*.so")
    whole = library.read_bytes()
    library.unlink()  # this process has the old file mapped
    if damage == "no checksum":
        library.write_bytes(whole)
        library.with_name(library.name + ".sha256").unlink()
    else:
        cases = {"cut": whole[: len(whole) // 2], "changed": whole[:-1] + b"x", "empty": b""}
        library.write_bytes(cases[damage])
    library.chmod(0o700)
    assert served_now().library is not None
    assert library.read_bytes() == whole


@needs_compiler
def test_a_folder_that_others_can_write_is_refused(quick, tmp_path, caplog):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    assert_reference_with_one_line(caplog, "others can write", "chmod go-w")
    assert libraries(tmp_path / "cache") == []


@needs_compiler
def test_a_library_that_others_can_write_is_refused(quick, tmp_path, caplog):
    served_now()
    (library,) = (tmp_path / "cache").glob("*.so")
    library.chmod(0o722)
    assert_reference_with_one_line(caplog, "others can write")


@needs_compiler
@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can chown")
def test_a_foreign_folder_is_refused(quick, tmp_path, caplog):
    (tmp_path / "cache").mkdir(mode=0o700)
    os.chown(tmp_path / "cache", 12345, -1)
    assert_reference_with_one_line(caplog, "belongs to user 12345")


@needs_compiler
def test_a_read_only_home_leads_to_the_temporary_folder(quick, tmp_path, monkeypatch):
    monkeypatch.delenv("PC3D_CACHE_DIR")
    blocked = tmp_path / "a file"
    blocked.write_text("")  # a folder in it cannot be made, not even by root
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path / "temp"))
    now = served_now()
    assert now.library is not None and str(tmp_path / "temp") in now.reason


def test_no_writable_folder(tmp_path, monkeypatch, caplog, quick):
    (tmp_path / "cache").write_text("in the way")
    if compiler.find_compiler() is None:
        pytest.skip("no C++ compiler")
    assert_reference_with_one_line(caplog, str(tmp_path / "cache"))


def test_no_compiler(monkeypatch, caplog, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(compiler.importlib.util, "find_spec", lambda name: None)
    assert_reference_with_one_line(caplog, "no C++ compiler", "pc3d[compiler]")


@pytest.mark.parametrize(
    "script, words",
    [
        ("echo 'x.cpp: error: made up' >&2; exit 3", ("exit status 3", "made up")),
        ("echo 'No space left on device' >&2; exit 1", ("No space left",)),
        ("exit 0", ("exit status 0",)),
        ("sleep 60", ("timed out",)),
    ],
)
def test_a_broken_compiler(script, words, monkeypatch, caplog, tmp_path):
    program = tmp_path / "c++"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("CXX", str(program))
    monkeypatch.setattr(compiler, "TIMEOUT", 0.2)
    assert_reference_with_one_line(caplog, *words)
    assert libraries(tmp_path / "cache") == []
    assert not list((tmp_path / "cache").glob("build-*"))


def test_a_compiler_that_is_named_but_missing(monkeypatch, caplog):
    monkeypatch.setenv("CXX", "/nowhere/c++")
    assert_reference_with_one_line(caplog, "no C++ compiler")


def test_a_full_disk_leaves_nothing_behind(monkeypatch, caplog, tmp_path):
    def full(found: object, isa: str, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(compiler, "find_compiler", lambda: compiler.Compiler(("c++",), "c++"))
    monkeypatch.setattr(compiler, "compile_library", full)
    assert_reference_with_one_line(caplog, "No space left on device")
    assert all(p.suffix == ".lock" for p in (tmp_path / "cache").iterdir())


def test_a_file_that_is_no_library(monkeypatch, caplog):
    def nonsense(found: object, isa: str, target: Path) -> None:
        target.write_bytes(b"not a library")

    monkeypatch.setattr(compiler, "find_compiler", lambda: compiler.Compiler(("c++",), "c++"))
    monkeypatch.setattr(compiler, "compile_library", nonsense)
    assert_reference_with_one_line(caplog)


@needs_compiler
@pytest.mark.slow
def test_the_widest_set_compiles_without_warnings(tmp_path):
    """Also where this processor cannot run it."""
    found = compiler.find_compiler()
    quiet = ["-Wno-maybe-uninitialized"]  # GCC 12 finds some in its own AVX-512 header
    strict = compiler.Compiler((*found.command, "-Wall", "-Wextra", "-Werror", *quiet), "")
    compiler.compile_library(strict, compiler.instruction_sets()[-1], tmp_path / "library.so")


@needs_compiler
def test_many_processes_compile_once(quick, tmp_path):
    log = tmp_path / "log"
    script = tmp_path / "counting-compiler"
    found = compiler.find_compiler()
    script.write_text(f'#!/bin/sh\necho x >> {log}\nexec {" ".join(found.command)} "$@"\n')
    script.chmod(0o755)
    environment = os.environ | {"CXX": str(script), "PC3D_CPU_ISA": "baseline"}
    code = "from pathlib import Path; from cuda_ops.runtime import compiler, load;"
    code += f"compiler.ROOT = Path({str(tmp_path)!r});"
    code += f"compiler.sources = lambda: [Path({str(quick)!r})];"
    code += "load.PREBUILT = Path('none'); assert load.served().library is not None, load.served()"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=REPOSITORY)
        for _ in range(3)
    ]
    assert [p.wait() for p in processes] == [0, 0, 0]
    assert log.read_text() == "x\n"


def test_a_wanted_set_must_run_here(monkeypatch):
    monkeypatch.setenv("PC3D_CPU_ISA", "avx1024")
    with pytest.raises(ValueError, match=r"PC3D_CPU_ISA=avx1024 cannot run here.*baseline"):
        load.served()
    monkeypatch.setenv("PC3D_CPU_ISA", "reference")
    assert load.served().library is None


@pytest.mark.parametrize(
    "capability, expected",
    [
        ("AVX512", ("baseline", "avx2", "avx512")),
        ("AVX2", ("baseline", "avx2")),
        ("DEFAULT", ("baseline",)),
        ("a processor of the future", ("baseline",)),
    ],
)
def test_the_set_follows_the_processor(monkeypatch, capability, expected):
    monkeypatch.setattr(compiler, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert load.supported_isas() == expected
    assert load.chosen_isa() == expected[-1]
    monkeypatch.setattr(compiler, "machine", lambda: "riscv64")
    assert load.supported_isas() == ("baseline",)


def test_every_compiler_is_told_the_processor(monkeypatch):
    monkeypatch.setattr(compiler, "machine", lambda: "x86_64")
    gcc = compiler.Compiler(("/usr/bin/g++",), "")
    zig = compiler.Compiler((sys.executable, "-m", "ziglang", "c++"), "")
    assert [gcc.flags(isa)[-1] for isa in compiler.instruction_sets()] == [
        "-march=x86-64",
        "-march=haswell",
        "-march=skylake-avx512",
    ]
    assert [zig.flags(isa)[-1] for isa in compiler.instruction_sets()] == [
        "-mcpu=x86_64",
        "-mcpu=haswell",
        "-mcpu=skylake_avx512",
    ]
    monkeypatch.setattr(compiler, "machine", lambda: "aarch64")
    assert compiler.instruction_sets() == ("baseline",)
    assert gcc.flags("baseline") == compiler.FLAGS


def test_ziglang_serves_where_the_system_has_no_compiler(monkeypatch, tmp_path):
    package = tmp_path / "ziglang"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = compiler.find_compiler()
    assert found is not None and found.command == (sys.executable, "-m", "ziglang", "c++")
    assert str(found) == "ziglang"


def test_kernels_find_the_thread_pool_of_torch():
    assert threads.openmp_parallel() is not None
    assert "torch" in threads._loaded_openmp_runtimes()[0]


FORKED = """
    import os, signal, torch
    from cuda_ops.runtime import threads
    import cuda_ops

    torch.set_num_threads(2)
    keys = cuda_ops.voxelize(torch.randint(0, 9000, (9000,)))[0]
    offsets = torch.tensor([[0, 0, 1], [1, 0, 0], [0, 0, -1]], dtype=torch.int32)

    x, w = torch.ones(len(keys), 32), torch.ones(3, 32, 32)  # torch's own loops hang in a child

    def work():
        table = cuda_ops.neighbor_table(keys, offsets)
        return cuda_ops.sparse_conv(x, w, table)

    expected = work()
    for _ in range(50):
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            assert torch.get_num_threads() == 2 and threads.num_threads() == 1
            os._exit(0 if bytes(work().numpy()) == bytes(expected.numpy()) else 1)
        assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fifty_forked_calls_after_a_call_with_two_threads():
    """An OpenMP region in the child would wait for ever for threads that did not survive."""
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FORKED)], check=True, cwd=REPOSITORY, timeout=120
    )


class Clouds(torch.utils.data.Dataset):
    """Voxelizes and builds maps, as a data worker does."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> int:
        generator = torch.Generator().manual_seed(index)
        rows = torch.randint(0, 20, (5000, 4), generator=generator, dtype=torch.int32)
        keys, _, _ = cuda_ops.voxelize(cuda_ops.morton_encode(rows))
        offsets = torch.tensor([[0, 0, 1], [1, -1, 0]], dtype=torch.int32)
        table = cuda_ops.neighbor_table(keys, offsets)
        return int((table >= 0).sum()) + len(cuda_ops.down_table(keys)[0])


def test_four_data_workers_after_a_call_with_two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = [Clouds()[i] for i in range(16)]
        loader = torch.utils.data.DataLoader(Clouds(), num_workers=4, batch_size=None, timeout=60)
        assert list(loader) == expected
    finally:
        torch.set_num_threads(before)
