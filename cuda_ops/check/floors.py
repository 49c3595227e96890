"""What no kernel can beat: measured ceilings of the device, and the floor they set for work."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cuda_ops.check.precision import TIMED, Precision, allowing_tf32
from cuda_ops.check.timing import Stopwatch


@dataclass(frozen=True)
class Work:
    """Work of one call.

    Attributes:
        flop: additions and multiplications that are needed: 2 for each pair and pair of channels.
        num_bytes: what has to be read and written at least once.
        rate: name of the matrix rate that bounds the additions and multiplications.
    """

    flop: float
    num_bytes: float
    rate: str = "float32"

    @classmethod
    def touching(cls, *tensors: Tensor, flop: float = 0.0, rate: str = "float32") -> Work:
        """Work that reads or writes each of the tensors once."""
        return cls(flop, sum(tensor.nbytes for tensor in tensors), rate)


@dataclass(frozen=True)
class Ceilings:
    """What the device reached.

    Attributes:
        copy: GB/s of a copy, bytes read plus bytes written.
        matmul: GFLOP/s of a square matrix product, by the name of the type.
    """

    copy: float
    matmul: Mapping[str, float]

    def floor_ms(self, work: Work) -> float:
        """Milliseconds that the nearer of the two bounds leaves: the larger of both times."""
        flop_rate = self.matmul.get(work.rate, self.matmul["float32"])
        return 1e3 * max(work.flop / (1e9 * flop_rate), work.num_bytes / (1e9 * self.copy))

    def bound(self, work: Work) -> str:
        """Which bound is nearer: `"memory"` or `"arithmetic"`."""
        flop_rate = self.matmul.get(work.rate, self.matmul["float32"])
        return "arithmetic" if work.flop / flop_rate > work.num_bytes / self.copy else "memory"


def measure_ceilings(device: torch.device, quick: bool = False) -> Ceilings:
    """Copy bandwidth and matrix rates of the device."""
    on_gpu = device.type == "cuda"
    num_bytes = 2**30 if on_gpu else 2**26 if quick else 2**28
    size = 8192 if on_gpu else 512 if quick else 2048
    watch = Stopwatch(device, warmup=3, runs=9)
    rates = {p.name: _matmul_rate(p, size, watch) for p in TIMED[device.type]}
    return Ceilings(_copy_rate(num_bytes, watch), rates)


def _copy_rate(num_bytes: int, watch: Stopwatch) -> float:
    source = torch.ones(num_bytes // 4, device=watch.device)
    target = torch.empty_like(source)
    milliseconds = watch.measure([lambda: target.copy_(source)]).median
    return 2 * num_bytes / (1e-3 * milliseconds) / 1e9


def _matmul_rate(precision: Precision, size: int, watch: Stopwatch) -> float:
    a = torch.randn(size, size, device=watch.device).to(precision.feats)
    with allowing_tf32(precision.tf32):
        milliseconds = watch.measure([lambda: a @ a]).median
    return 2 * size**3 / (1e-3 * milliseconds) / 1e9


def geometric_mean(ratios: list[float]) -> float:
    """Of one or more positive numbers."""
    return statistics.geometric_mean(ratios)
