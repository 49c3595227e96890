"""The C++ kernels of this folder, called on tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_ops.runtime import CpuLibrary, int32, int64


def encode(library: CpuLibrary, indices: Tensor) -> Tensor | None:
    """`reference_encode`; None if a row does not fit a key."""
    keys = torch.empty(len(indices), dtype=torch.int64)
    failed = library.parallel("pc3d_morton_encode", int32(indices), len(indices), keys)
    return None if failed else keys


def decode(library: CpuLibrary, keys: Tensor) -> Tensor:
    """`reference_decode`."""
    indices = torch.empty(len(keys), 4, dtype=torch.int32)
    library.parallel("pc3d_morton_decode", int64(keys), len(keys), indices)
    return indices
