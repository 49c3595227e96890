"""The types that ops are checked and timed in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Precision:
    """Types of an op's inputs.

    Attributes:
        name: in the report; also the name of the matrix rate that bounds it.
        feats: type of the features.
        params: type of weights, codes and choices.
        tf32: matrix products of float32 may round their inputs to 10 bits.
    """

    name: str
    feats: torch.dtype
    params: torch.dtype
    tf32: bool = False

    @property
    def rate(self) -> str:
        """The name of the matrix rate of `floors.Ceilings` that bounds it."""
        return "tf32" if self.tf32 else str(self.feats).removeprefix("torch.")


FLOAT32 = Precision("float32", torch.float32, torch.float32)
TF32 = Precision("tf32", torch.float32, torch.float32, tf32=True)
FLOAT16 = Precision("float16", torch.float16, torch.float16)
BFLOAT16 = Precision("bfloat16", torch.bfloat16, torch.bfloat16)
MIXED = Precision("bfloat16, weights float32", torch.bfloat16, torch.float32)
CHECKED: dict[str, tuple[Precision, ...]] = {
    "cpu": (FLOAT32, FLOAT16, BFLOAT16, MIXED),
    "cuda": (FLOAT32, TF32, FLOAT16, BFLOAT16, MIXED),
}
"""What ops take on each type of device."""
TIMED: dict[str, tuple[Precision, ...]] = {
    "cpu": (FLOAT32,),
    "cuda": (BFLOAT16, FLOAT32, TF32, FLOAT16),
}
"""What is timed, the most important first."""


@contextlib.contextmanager
def allowing_tf32(allowed: bool) -> Iterator[None]:
    """Within the block, matrix products of float32 on a GPU may, or may not, use tf32."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
