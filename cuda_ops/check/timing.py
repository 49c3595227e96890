"""Ceilings of the device, and what fraction of them the ops reach."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import cuda_ops
from cuda_ops.check.clouds import CELL, room, street, voxel_keys
from cuda_ops.check.parity import OFFSETS
from cuda_ops.check.rivals import spconv_triton_conv

WARMUP, RUNS = 3, 9


@dataclass(frozen=True)
class Timing:
    """Median time of one thing.

    Attributes:
        name: what ran, on what.
        milliseconds: median of 9 runs after 3.
        rate: useful work per second, in `unit`.
        unit: `"GB/s"`, `"GFLOP/s"` or `"M voxels/s"`.
        rival: median milliseconds of spconv-triton on the same input, or None.
    """

    name: str
    milliseconds: float
    rate: float
    unit: str
    rival: float | None = None


def median_seconds(run: Callable[[], object], device: torch.device) -> float:
    """Median of 9 runs after 3 of warm-up; waits for the GPU."""
    seconds = []
    for index in range(WARMUP + RUNS):
        _wait(device)
        start = time.perf_counter()
        run()
        _wait(device)
        if index >= WARMUP:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ceilings(device: torch.device) -> list[Timing]:
    """Copy bandwidth and matrix rates: what no kernel here can exceed."""
    num_bytes = 2**28 if device.type == "cpu" else 2**30
    source = torch.ones(num_bytes // 4, device=device)
    target = torch.empty_like(source)
    seconds = median_seconds(lambda: target.copy_(source), device)
    rows = [Timing("copy (read + write)", 1e3 * seconds, 2 * num_bytes / seconds / 1e9, "GB/s")]
    size = 2048 if device.type == "cpu" else 8192
    dtypes = [torch.float32]
    if device.type == "cuda":
        dtypes += [torch.float16, torch.bfloat16]
    for dtype in dtypes:
        a = torch.randn(size, size, device=device).to(dtype)
        rows.append(_matmul(f"matmul {size} {str(dtype)[6:]}", a, device))
    if device.type == "cuda":
        allowed = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = True
        rows.append(_matmul(f"matmul {size} tf32", torch.randn(size, size, device=device), device))
        torch.backends.cuda.matmul.allow_tf32 = allowed
    return rows


def _matmul(name: str, a: Tensor, device: torch.device) -> Timing:
    seconds = median_seconds(lambda: a @ a, device)
    return Timing(name, 1e3 * seconds, 2 * len(a) ** 3 / seconds / 1e9, "GFLOP/s")


def timings(device: torch.device, num_points: int) -> list[Timing]:
    """Tables and convolutions on a room at 2 cm and a street at 5 cm."""
    rows = []
    clouds = {"room": (room(num_points), CELL), "street": (street(num_points), 0.05)}
    offsets = torch.tensor(OFFSETS, dtype=torch.int32, device=device)
    for name, (points, voxel_size) in clouds.items():
        keys = voxel_keys(points, voxel_size, device)
        size = len(keys)
        label = f"{name}, {size:,} voxels"
        for op, run in (
            ("neighbor_table 3x3x3", lambda k=keys: cuda_ops.neighbor_table(k, offsets)),
            ("down_table", lambda k=keys: cuda_ops.down_table(k)),
        ):
            seconds = median_seconds(run, device)
            rows.append(Timing(f"{op}: {label}", 1e3 * seconds, size / seconds / 1e6, "M voxels/s"))
        table = cuda_ops.neighbor_table(keys, offsets)
        for channels in (32, 64, 128):
            rows += _conv_timings(label, keys, table, channels)
    return rows


def _conv_timings(label: str, keys: Tensor, table: Tensor, channels: int) -> list[Timing]:
    device = keys.device
    generator = torch.Generator(device).manual_seed(0)
    x = torch.randn(len(keys), channels, device=device, generator=generator)
    weight = torch.randn(27, channels, channels, device=device, generator=generator)
    flop = 2 * int((table >= 0).sum()) * channels**2
    leaves = (x.clone().requires_grad_(), weight.clone().requires_grad_())

    def forward() -> Tensor:
        return cuda_ops.sparse_conv(x, weight, table)

    def both() -> None:
        cuda_ops.sparse_conv(*leaves, table).sum().backward()

    rival = spconv_triton_conv(keys, x, weight)
    rows = []
    for name, run, other, work in (
        ("forward", forward, rival and rival.forward, flop),
        ("forward + backward", both, rival and rival.both, 3 * flop),
    ):
        seconds = median_seconds(run, device)
        theirs = 1e3 * median_seconds(other, device) if other else None
        rows.append(
            Timing(
                f"sparse_conv {name}, C={channels}, float32: {label}",
                1e3 * seconds,
                work / seconds / 1e9,
                "GFLOP/s",
                theirs,
            )
        )
    return rows
