"""The engine that is always at hand on a GPU, spconv-triton, fed with the same input."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import cuda_ops

MODULE = "spconv_triton"


@dataclass(frozen=True)
class Rival:
    """A convolution of another engine.

    Attributes:
        forward: runs it once, map cached.
        both: runs it forward and backward.
        error: largest difference of its output to ours, relative to the largest value.
    """

    forward: Callable[[], object]
    both: Callable[[], object]
    error: float


def spconv_triton_conv(keys: Tensor, x: Tensor, weight: Tensor) -> Rival | None:
    """A 3x3x3 submanifold convolution in spconv-triton, or None without it or without a GPU.

    Args:
        keys: [N] int64 keys of one cloud.
        x: [N, C_in].
        weight: [27, C_in, C_out], taps x slowest.

    Raises:
        AssertionError: its result is not ours.
    """
    if keys.device.type != "cuda" or importlib.util.find_spec(MODULE) is None:
        return None
    spconv = importlib.import_module(f"{MODULE}.pytorch")
    indices = cuda_ops.morton_decode(keys)
    indices[:, 1:] -= indices[:, 1:].amin(dim=0)  # it needs coordinates from 0
    shape = (indices[:, 1:].amax(dim=0) + 1).tolist()
    num_in, num_out = weight.shape[1:]
    conv = spconv.SubMConv3d(num_in, num_out, 3, bias=False, indice_key="map").to(keys.device)
    with torch.no_grad():  # its layout is [C_out, x, y, z, C_in]
        conv.weight.copy_(weight.permute(2, 0, 1).reshape(num_out, 3, 3, 3, num_in))
    leaf = x.clone().requires_grad_()
    plain = spconv.SparseConvTensor(x, indices, shape, 1)
    tracked = spconv.SparseConvTensor(leaf, indices, shape, 1)

    def forward() -> Any:
        with torch.no_grad():
            return conv(plain).features

    def both() -> None:
        conv(tracked).features.sum().backward()

    offsets = torch.cartesian_prod(*[torch.arange(-1, 2)] * 3).to(keys.device, torch.int32)
    table = cuda_ops.neighbor_table(keys, offsets)
    ours = cuda_ops.sparse_conv(x, weight, table, table.flip(0))
    error = float((forward() - ours).abs().max() / ours.abs().max())
    # It may multiply in tf32, whose mantissa has 10 bits.
    assert error < 2e-2, f"spconv-triton differs from ours by {error:.1e}: not the same convolution"
    return Rival(forward, both, error)
