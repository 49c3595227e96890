"""Which kernel serves each op on the CPU here, and why."""

from __future__ import annotations

from dataclasses import dataclass

from cuda_ops.library import CPU_KERNELS, OPS
from cuda_ops.runtime import served


@dataclass(frozen=True)
class OpInfo:
    """How one op is served.

    Attributes:
        name: the op, as in `torch.ops.pc3d.<name>`.
        schema: its signature in torch's schema language.
        kernel: what runs float32 on the CPU: `"C++ (<instruction set>)"` or `"reference"`, the
            specification in plain PyTorch, which also runs float64 and other devices.
        reason: where the kernel came from, or why there is none.
    """

    name: str
    schema: str
    kernel: str
    reason: str


def info() -> list[OpInfo]:
    """One row per op, in the order of definition."""
    now = served()
    kernel = "reference" if now.library is None else f"C++ ({now.isa})"
    return [
        OpInfo(name, schema, kernel, now.reason)
        if name in CPU_KERNELS
        else OpInfo(name, schema, "reference", "has no kernel of its own")
        for name, schema in OPS.items()
    ]
