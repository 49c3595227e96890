"""Every CUDA file compiles for every GPU: by NVRTC from PyPI, and by nvcc where there is one."""

from __future__ import annotations

import logging
import re

import pytest
import torch

from cuda_ops.runtime import cuda_compiler, gpu
from cuda_ops.runtime.compiler import ROOT, CompileError
from tests.cuda_ops.emulation.gpu import KERNEL

ARCHITECTURES = ["sm_75", "sm_80", "sm_90", "sm_100", "sm_120", "compute_90"]
COMPILERS = {c.name.split()[0]: c for c in cuda_compiler.find_cuda_compilers()}
BFLOAT16 = {"PC3D_SCALAR_bfloat16": "1", "PC3D_WIDTH": "8"}
VARIANTS = [
    BFLOAT16,
    {"PC3D_SCALAR_float16": "1", "PC3D_WIDTH": "8"},
    {"PC3D_SCALAR_float32": "1", "PC3D_WIDTH": "4"},
    {"PC3D_SCALAR_float32": "1", "PC3D_WIDTH": "1"},
]
ROOMS = [{"PC3D_SCALAR_float32": "1", "PC3D_WIDTH": str(room)} for room in (4, 16, 64)]
"""Of the neighbours that a thread of the search keeps."""
SOURCES = {path.parent.name: path for path in sorted(ROOT.glob("*/kernel.cu"))}


def compiler(name: str) -> cuda_compiler.CudaCompiler:
    if name not in COMPILERS:
        pytest.skip(f"no {name} here")
    return COMPILERS[name]


def variants(op: str) -> list[dict[str, str]]:
    if op == "nearest_neighbors":
        return ROOMS
    return VARIANTS if "scalar.cuh" in SOURCES[op].read_text() else [{}]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("op", SOURCES)
def test_nvrtc_compiles(op, architecture, tmp_path):
    found = compiler("NVRTC")
    target = tmp_path / "code"
    found.compile(SOURCES[op], architecture, variants(op)[0], target)
    code = target.read_bytes()
    for kernel in KERNEL.findall(SOURCES[op].read_text()):
        assert kernel.encode() in code
    is_ptx = architecture.startswith("compute")
    assert code.startswith(b"//" if is_ptx else b"\x7fELF")
    assert not is_ptx or code.endswith(b"\0")


@pytest.mark.parametrize("architecture", ["sm_75", "sm_90"])
@pytest.mark.parametrize("op", SOURCES)
def test_nvcc_compiles_without_spills(op, architecture, tmp_path):
    found = compiler("nvcc")
    kernels = KERNEL.findall(SOURCES[op].read_text())
    for defines in variants(op):
        said = found.compile(SOURCES[op], architecture, defines, tmp_path / "code")
        assert len(re.findall("Compiling entry function", said)) == len(kernels)
        spilled = re.findall(r"(\d+) bytes spill", said)
        assert spilled and set(spilled) == {"0"}, said


@pytest.mark.parametrize("name", ["nvcc", "NVRTC"])
def test_errors_of_the_compiler_are_told(name, tmp_path):
    source = tmp_path / "kernel.cu"
    source.write_text('#include "device.cuh"\nPC3D_KERNEL f() { nonsense; }')
    with pytest.raises(CompileError, match="nonsense"):
        compiler(name).compile(source, "sm_90", {}, tmp_path / "code")


def test_no_kernel_includes_what_nvrtc_lacks():
    """nvcc would find it, and only those without a toolkit would see an error."""
    ours = {path.name for path in cuda_compiler.INCLUDE.iterdir()}
    for path in (*SOURCES.values(), *cuda_compiler.INCLUDE.glob("*.cuh")):
        assert set(re.findall(r'#include ["<](.*?)[">]', path.read_text())) <= ours


def test_the_cache_serves_without_a_compiler(tmp_path, monkeypatch):
    """A cubin that was compiled before is used where no compiler is any more."""
    monkeypatch.setenv("PC3D_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(gpu, "Module", lambda code: code)
    compiler("NVRTC")
    first = gpu.Gpu(torch.device("cpu"), (9, 0))
    code = first._module("morton", {})
    assert first.made_by["morton"].startswith("compiled by")
    monkeypatch.setattr(cuda_compiler, "find_cuda_compilers", list)
    second = gpu.Gpu(torch.device("cpu"), (9, 0))
    assert second._module("morton", {}) == code
    assert second.made_by["morton"] == f"compiled before, in {tmp_path}"
    with pytest.raises(gpu.KernelUnavailableError, match="no nvcc"):
        second._module("voxelize", BFLOAT16)


def test_a_gpu_without_kernels_is_told_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PC3D_CACHE_DIR", str(tmp_path))
    old = gpu.Gpu(torch.device("cpu"), (7, 0))
    with caplog.at_level(logging.WARNING, "cuda_ops"):
        for _ in range(2):
            with pytest.raises(gpu.KernelUnavailableError, match="compute capability"):
                old._module("morton", {})
    assert len(caplog.records) == 1
    assert "plain PyTorch serves morton" in caplog.text


def test_code_that_the_driver_refuses_leaves_the_reference(tmp_path, monkeypatch):
    """A GPU newer than the compiler, and a driver older than the compiler, say."""
    monkeypatch.setenv("PC3D_CACHE_DIR", str(tmp_path))

    def refuse(code: bytes) -> None:
        raise gpu.DriverError("cuModuleLoadData: no kernel image is available (209)")

    monkeypatch.setattr(gpu, "Module", refuse)
    with pytest.raises(gpu.KernelUnavailableError, match="no kernel image"):
        gpu.Gpu(torch.device("cpu"), (9, 0))._module("morton", {})


def test_complaints_are_raised_once_and_apart():
    found = gpu.Gpu(torch.device("cpu"), (9, 0))
    flags = [
        found.complaint(error) for error in (IndexError("a"), ValueError("a"), IndexError("b"))
    ]
    assert len({flag.data_ptr() for flag in flags}) == 3
    assert found.complaint(IndexError("a")).data_ptr() == flags[0].data_ptr()
    found.raise_complaints()
    flags[2].fill_(1)
    with pytest.raises(IndexError, match="b"):
        found.raise_complaints()
    found.raise_complaints()


def test_what_one_compiler_made_and_the_driver_refuses_another_may_make(tmp_path, monkeypatch):
    """A toolkit newer than the driver, beside the NVRTC that torch brought along."""
    monkeypatch.setenv("PC3D_CACHE_DIR", str(tmp_path))

    def writes(name: str) -> cuda_compiler.CudaCompiler:
        return cuda_compiler.CudaCompiler(
            name, (90,), lambda source, options, target: str(target.write_text(name))
        )

    def load(code: bytes) -> bytes:
        if code == b"new toolkit":
            raise gpu.DriverError("no kernel image is available")
        return code

    compilers = [writes("new toolkit"), writes("NVRTC 12")]
    monkeypatch.setattr(cuda_compiler, "find_cuda_compilers", lambda: compilers)
    monkeypatch.setattr(gpu, "Module", load)
    found = gpu.Gpu(torch.device("cpu"), (9, 0))
    assert found._module("morton", {}) == b"NVRTC 12"
    assert "NVRTC 12" in found.made_by["morton"]
