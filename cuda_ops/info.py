"""Which kernel serves each op here, and why."""

from __future__ import annotations

from dataclasses import dataclass

from cuda_ops.library import OPS


@dataclass(frozen=True)
class OpInfo:
    """How one op is served.

    Attributes:
        name: the op, as in `torch.ops.pc3d.<name>`.
        schema: its signature in torch's schema language.
        kernel: what runs: `"reference"` is the specification in plain PyTorch.
        reason: why this and nothing faster.
    """

    name: str
    schema: str
    kernel: str
    reason: str


def info() -> list[OpInfo]:
    """One row per op, in the order of definition."""
    reason = "this version ships no compiled kernels; the reference runs on every device"
    return [OpInfo(name, schema, "reference", reason) for name, schema in OPS.items()]
