"""The CUDA kernels of this folder, called on tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_ops.runtime import Gpu, int32, int64


def encode(gpu: Gpu, indices: Tensor) -> Tensor | None:
    """`reference_encode`; None if a row does not fit a key, which it waits to know."""
    keys = indices.new_empty(len(indices), dtype=torch.int64)
    refused = indices.new_zeros(1, dtype=torch.uint8)
    gpu.launch("morton", "encode", len(indices), int32(indices), len(indices), keys, refused)
    return None if refused.item() else keys


def decode(gpu: Gpu, keys: Tensor) -> Tensor:
    """`reference_decode`."""
    indices = keys.new_empty(len(keys), 4, dtype=torch.int32)
    gpu.launch("morton", "decode", len(keys), int64(keys), len(keys), indices)
    return indices
