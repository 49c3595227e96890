"""The smallest Triton kernel: shows whether Triton can compile and launch on a GPU at all.

It needs a C compiler, the headers of Python, and an assembler that knows the GPU.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def _store_kernel(place, value):
    tl.store(place, value)


def probe(device: torch.device) -> None:
    """Raises whatever Triton raises where it does not work."""
    _store_kernel[(1,)](torch.empty(1, dtype=torch.int32, device=device), 3)
