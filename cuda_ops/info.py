"""Which kernel serves each op, on the CPU and on the GPUs here, and why."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cuda_ops.library import CPU_KERNELS, CUDA_KERNELS, OPS
from cuda_ops.runtime import Gpu, gpu_of, served

NO_KERNEL = "has no kernel of its own"


@dataclass(frozen=True)
class OpInfo:
    """How one op is served.

    Attributes:
        name: the op, as in `torch.ops.pc3d.<name>`.
        schema: its signature in torch's schema language.
        device: `"cpu"`, `"cuda:0"` and so on.
        kernel: what runs there: `"C++ (<instruction set>)"`, `"CUDA"`, `"Triton"`, or
            `"reference"`, the specification in plain PyTorch, which also runs float64.
        reason: where the kernel came from, or why there is none.
    """

    name: str
    schema: str
    device: str
    kernel: str
    reason: str


def info() -> list[OpInfo]:
    """One row per op, in the order of definition; then the same for every GPU."""
    devices = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    rows = [OpInfo(name, schema, "cpu", *_on_cpu(name)) for name, schema in OPS.items()]
    for device in devices:
        gpu = gpu_of(device)
        for name, schema in OPS.items():
            rows.append(OpInfo(name, schema, str(device), *on_gpu(name, gpu)))
    return rows


def _on_cpu(name: str) -> tuple[str, str]:
    now = served()
    if name not in CPU_KERNELS:
        return "reference", NO_KERNEL
    return "reference" if now.library is None else f"C++ ({now.isa})", now.reason


def on_gpu(name: str, gpu: Gpu | None) -> tuple[str, str]:
    """What serves an op on a GPU, and why; compiles its kernels, unless the cache has them.

    Args:
        name: of the op.
        gpu: its kernels; None if they are not to be used.
    """
    if gpu is None:
        return "reference", "asked for by PC3D_CUDA, or torch runs on ROCm"
    if name not in CUDA_KERNELS:
        return "reference", NO_KERNEL
    folder = CUDA_KERNELS[name].__module__.split(".")[1]
    return gpu.serves(folder)
