"""The other engines: spconv on the CPU, spconv-triton on a GPU, and the loop one writes in numba.

Those for the CPU come with `pip install pc3d[peers]`, the other with `pip install spconv-triton`;
nothing of pc3d needs them.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.options import Options
from cuda_ops.runtime import served
from pc3d.sparse import CoordSet, KernelSpec

SPCONV = {"spconv": "spconv", "spconv-triton": "spconv_triton"}
"""Modules of the engines with the interface of spconv, by contestant."""
PEERS = (*SPCONV, "numba")
NUMBA_TILE = 256  # output voxels whose sums stay in the cache over all taps
Arrays = NDArray[Any]


def available(options: Options) -> tuple[Options, list[str]]:
    """The options with those contestants that can run here, and why the others cannot."""
    reasons = {}
    for name in PEERS:
        if importlib.util.find_spec(SPCONV.get(name, name)) is None:
            where = name if name == "spconv-triton" else "pc3d[peers]"
            reasons[name] = f"not installed; pip install {where}"
    if options.device.type == "cpu" and served().library is None:
        reasons["kernels"] = f"no C++ kernels: {served().reason}"
    found = tuple(name for name in options.contestants if name not in reasons)
    notes = [
        f"{name} is left out: {reasons[name]}" for name in options.contestants if name in reasons
    ]
    return replace(options, contestants=found), notes


@dataclass(frozen=True)
class Spconv:
    """The parts of spconv that are used.

    Attributes:
        pytorch: the module `spconv.pytorch`.
        ops: the module `spconv.pytorch.ops`.
        algo: the algorithm that runs on the CPU; None on a GPU, where layers choose.
    """

    pytorch: Any
    ops: Any
    algo: Any


@lru_cache
def spconv(device_type: str = "cpu") -> Spconv:
    """Import the engine for a type of device; make the CPU's run backward without a GPU.

    Version 2.3.8 is right on the CPU with one thread only: its `scatter_add` keeps two pointers
    outside the loop that it shares out (spconv/csrc/sparse/gather.py), so that threads overwrite
    each other's.
    """
    if device_type == "cuda":
        parts = (importlib.import_module(f"spconv_triton.{p}") for p in ("pytorch", "pytorch.ops"))
        return Spconv(*parts, algo=None)
    ops: Any = importlib.import_module("spconv.pytorch.ops")
    # Its backward asks for a CUDA stream that the CPU code never uses.
    ops.get_current_stream = lambda: 0
    core = importlib.import_module("spconv.core")
    return Spconv(importlib.import_module("spconv.pytorch"), ops, core.ConvAlgo.Native)


@dataclass(frozen=True)
class Grid:
    """Voxels as spconv wants them.

    Attributes:
        indices: [N, 4] int32 (batch, x, y, z), coordinates from 0.
        shape: cells per axis, a multiple of `2**num_down`: spconv drops what a strided kernel
            finds beyond the last whole cell.
    """

    indices: Tensor
    shape: list[int]

    @classmethod
    def of(cls, indices: Tensor, num_down: int = 0) -> Grid:
        """Shift `indices` ([N, 4] int32) so that `num_down` halvings meet the same cells."""
        cell = 2**num_down
        low = indices[:, 1:].amin(dim=0).div(cell, rounding_mode="floor") * cell
        shifted = indices.clone()
        shifted[:, 1:] -= low
        high = shifted[:, 1:].amax(dim=0) // cell + 1
        return cls(shifted, (high * cell).tolist())

    def tensor(self, feats: Tensor, batch_size: int = 1) -> Any:
        """A `SparseConvTensor` without any map; spconv wants indices of its own."""
        engine = spconv(self.indices.device.type)
        return engine.pytorch.SparseConvTensor(feats, self.indices, self.shape, batch_size)


def spconv_weight(weight: Tensor, size: int) -> Tensor:
    """[K, C_in, C_out] with x slowest, as spconv keeps it: [C_out, size, size, size, C_in]."""
    _, num_in, num_out = weight.shape
    return weight.permute(2, 0, 1).reshape(num_out, size, size, size, num_in).contiguous()


def from_spconv_weight(weight: Tensor) -> Tensor:
    """The inverse of `spconv_weight`."""
    num_out, *_, num_in = weight.shape
    return weight.reshape(num_out, -1, num_in).permute(1, 2, 0)


def spconv_submanifold(weight: Tensor, size: int, key: str) -> Any:
    """A submanifold layer of spconv with the given weight ([K, C_in, C_out])."""
    engine = spconv(weight.device.type)
    layer = engine.pytorch.SubMConv3d(
        *weight.shape[1:], size, bias=False, indice_key=key, algo=engine.algo
    )
    return with_weight(layer, weight, size)


def with_weight(layer: Any, weight: Tensor, size: int) -> Any:
    """The spconv layer, given our weight ([K, C_in, C_out]) and its device."""
    layer = layer.to(weight.device)
    with torch.no_grad():
        layer.weight.copy_(spconv_weight(weight, size))
    return layer


def spconv_pairs(grid: Grid, spec: KernelSpec) -> Callable[[], object]:
    """A call that builds spconv's kernel map of a submanifold cube kernel anew."""
    engine = spconv(grid.indices.device.type)
    size, ones = [spec.size] * 3, [1] * 3
    reach = [spec.dilation * (spec.size // 2)] * 3
    dilation = [spec.dilation] * 3

    pairs, algo = engine.ops.get_indice_pairs, engine.algo
    if algo is None:
        pairs = engine.ops.get_indice_pairs_implicit_gemm
        algo = engine.ops.ConvAlgo.MaskImplicitGemm

    def build() -> object:
        return pairs(
            *(grid.indices, 1, grid.shape, algo), *(size, ones, reach, dilation, [0] * 3), subm=True
        )

    return build


def numba_conv(coords: CoordSet, x: Tensor, weight: Tensor) -> Callable[[], Tensor]:
    """A call that convolves with a 3x3x3 kernel in numba, compiled for one thread.

    Args:
        coords: the N voxels.
        x: [N, C_in] float32.
        weight: [27, C_in, C_out] float32.
    """
    numba = importlib.import_module("numba")
    compiled = numba.njit(parallel=False, fastmath=True)(_tile_loop)
    table = coords.neighbors(KernelSpec(3)).table.numpy()
    y = torch.empty(len(x), weight.shape[2])
    arrays = (x.numpy(), weight.numpy(), table, y.numpy())

    def forward() -> Tensor:
        compiled(*arrays)
        return y

    return forward


def _tile_loop(x: Arrays, weight: Arrays, table: Arrays, y: Arrays) -> None:
    num_taps, num_out = table.shape
    num_in, channels = weight.shape[1:]
    for start in range(0, num_out, NUMBA_TILE):
        end = min(start + NUMBA_TILE, num_out)
        y[start:end] = 0.0
        for tap in range(num_taps):
            for out in range(start, end):
                row = table[tap, out]
                if row >= 0:
                    for i in range(num_in):
                        value = x[row, i]
                        for c in range(channels):
                            y[out, c] += value * weight[tap, i, c]
