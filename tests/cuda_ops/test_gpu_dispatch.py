"""What is done with a call on a GPU before a kernel sees it, shown with a GPU that is none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cuda_ops import library
from cuda_ops.info import on_gpu
from cuda_ops.runtime import KernelUnavailableError, gpu_of, serving
from cuda_ops.runtime import gpu as gpus
from tests.cuda_ops.emulation.gpu import EmulatedGpu


@pytest.fixture
def gpu(monkeypatch) -> EmulatedGpu:
    found = EmulatedGpu()
    monkeypatch.setattr(library, "gpu_of", lambda device: found)
    return found


def served(kernel: object) -> object:
    """A call of an op whose reference says so."""
    return library._served_by_cuda("an_op", kernel, lambda *args: "reference")


def test_kernels_serve_what_they_can(gpu):
    x = torch.ones(2)
    assert served(lambda g, *args: (g, *args))(x, None, [x], 3) == (gpu, x, None, [x], 3)
    assert served(lambda g, *args: None)(x) == "reference"
    assert served(lambda g, *args: "kernel")(x.double()) == "reference"
    assert served(lambda g, *args: "kernel")(None, [x.double()]) == "reference"


def test_without_a_kernel_the_reference_serves(gpu, monkeypatch):
    def unavailable(g: object, x: Tensor) -> None:
        raise KernelUnavailableError("no compiler")

    assert served(unavailable)(torch.ones(2)) == "reference"
    monkeypatch.setattr(library, "gpu_of", lambda device: None)
    assert served(lambda g, x: "kernel")(torch.ones(2)) == "reference"


def test_tensors_on_two_devices_are_refused(gpu):
    with pytest.raises(ValueError, match=r"an_op needs all tensors on one device; got cpu, meta"):
        served(lambda g, *args: "kernel")(torch.ones(2), [torch.ones(2, device="meta")])


def test_a_complaint_is_raised_by_the_next_call(gpu):
    flag = gpu.complaint(IndexError("rows"))

    def kernel(g: EmulatedGpu, x: Tensor) -> str:
        flag.fill_(1)
        return "kernel"

    assert served(kernel)(torch.ones(2)) == "kernel"
    with pytest.raises(IndexError, match="rows"):
        served(lambda g, x: "kernel")(torch.ones(2))
    assert served(lambda g, x: "kernel")(torch.ones(2)) == "kernel"


def test_launch_blocking_raises_it_at_once(gpu, monkeypatch):
    flag = gpu.complaint(IndexError("rows"))
    waited: list[object] = []
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    with pytest.raises(IndexError, match="rows"):
        served(lambda g, x: flag.fill_(1))(torch.ones(2))
    assert waited == [gpu.device]


def test_gpu_of(monkeypatch):
    device = torch.device("cuda", 0)
    monkeypatch.setattr(torch.version, "cuda", None)  # a build for CPUs or ROCm
    assert gpu_of(device) is None
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(gpus, "_gpu", lambda index: f"gpu {index}")
    assert gpu_of(device) == "gpu 0"
    with serving("reference"):
        assert gpu_of(device) is None
    monkeypatch.setenv("PC3D_CUDA", "reference")
    assert gpu_of(device) is None


def test_what_serves_each_op(gpu, tmp_path, monkeypatch):
    monkeypatch.setenv("PC3D_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(gpus, "Module", lambda code: code)
    kernel, reason = on_gpu("morton_encode", gpu)
    if kernel == "reference":
        assert "no nvcc" in reason
    else:
        assert kernel == "CUDA" and reason.startswith("compiled by")
    assert on_gpu("sparse_conv", gpu)[0] in ("Triton", "reference")
    assert on_gpu("sparse_conv", None)[0] == "reference"
    turing = EmulatedGpu()
    turing.capability = (7, 5)
    kernel, reason = on_gpu("sparse_conv_weight_grad", turing)
    assert kernel == "reference" and "(8, 0)" in reason
    assert library.CUDA_KERNELS["sparse_conv"](turing, *[torch.ones(1)] * 3, None) is None


def test_triton_that_cannot_work_leaves_the_reference(monkeypatch, caplog):
    """Without a C compiler, say, or with an assembler that is older than the GPU."""
    kernels = pytest.importorskip("cuda_ops.runtime.kernel_triton")
    calls = []

    def probe(device: torch.device) -> None:
        calls.append(device)
        raise RuntimeError("Failed to find C compiler")

    class Real(EmulatedGpu):
        _why_no_triton = gpus.Gpu._why_no_triton

    monkeypatch.setattr(kernels, "probe", probe)
    gpu = Real()
    x = torch.ones(3, 2)
    table = torch.zeros(1, 3, dtype=torch.int32)
    for _ in range(2):
        assert library.CUDA_KERNELS["sparse_conv"](gpu, x, torch.ones(1, 2, 2), table, None) is None
    assert len(calls) == len(caplog.records) == 1
    kernel, reason = on_gpu("sparse_conv", gpu)
    assert kernel == "reference" and "C compiler" in reason
    monkeypatch.setattr(kernels, "probe", lambda device: None)
    assert Real().has_triton("sparse_conv")


def test_complaints_work_whatever_mode_they_were_made_in():
    with torch.inference_mode(), torch.device("meta"):
        gpu = EmulatedGpu()
    flag = gpu.complaint(IndexError("rows"))
    for _ in range(2):
        flag.fill_(1)
        with pytest.raises(IndexError, match="rows"), torch.inference_mode():
            gpu.raise_complaints()
    gpu.raise_complaints()
