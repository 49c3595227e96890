"""How long a call takes: CUDA events on a GPU, the clock on a CPU. The one place that knows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

Run = Callable[[], object]
FLUSH_BYTES = 2**29
"""Written before every timed call on a GPU, so that what the second-level cache held is gone."""
LEAD_CYCLES = 2_000_000
"""For which a GPU does nothing before every timed call, about 1 ms: the host enqueues the call in
the meantime, so that kernels are timed and not the Python of autograd between their launches."""


class Lap(NamedTuple):
    """One call: seconds on the device, and seconds until it returned to the host."""

    seconds: float
    host: float


@dataclass(frozen=True)
class Times:
    """Of the laps of one thing, in milliseconds.

    Attributes:
        median: of the time on the device.
        low: first quartile.
        high: third quartile.
        host: median time until the call returned. Where it is longer than `LEAD_CYCLES` take and
            about as long as `median` or longer, Python and the launches are what takes the time.
    """

    median: float
    low: float
    high: float
    host: float

    @classmethod
    def of(cls, laps: Sequence[Lap]) -> Times:
        """The quartiles of one or more laps."""
        low, median, high = quartiles([1e3 * lap.seconds for lap in laps])
        return cls(median, low, high, 1e3 * statistics.median(lap.host for lap in laps))


def quartiles(values: Sequence[float]) -> list[float]:
    """The three quartiles of one or more values, all within their range."""
    return [values[0]] * 3 if len(values) == 1 else statistics.quantiles(values, method="inclusive")


class Stopwatch:
    """Times calls on a device.

    Args:
        device: where they run.
        warmup: calls before the clock starts; at least one of every copy of the input.
        runs: timed calls.
    """

    def __init__(self, device: torch.device, warmup: int, runs: int) -> None:
        self.device, self.warmup, self.runs = device, warmup, runs
        self._flush: Tensor | None = None

    def lap(self, run: Run) -> Lap:
        """Time one call."""
        if self.device.type != "cuda":
            start = time.perf_counter()
            run()
            seconds = time.perf_counter() - start
            return Lap(seconds, seconds)
        if self._flush is None:
            self._flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=self.device)
        with torch.cuda.device(self.device):
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            self._flush.zero_()
            torch.cuda._sleep(LEAD_CYCLES)
            first.record()
            start = time.perf_counter()
            run()
            host = time.perf_counter() - start
            last.record()
            torch.cuda.synchronize()
        return Lap(1e-3 * first.elapsed_time(last), host)

    def together(self, contestants: Mapping[str, Sequence[Run]]) -> dict[str, Times]:
        """Time contestants in turn, A/B/A/B, so that a clock that drifts meets all of them.

        Args:
            contestants: by name the calls that take turns, one for each copy of the input.
        """
        laps: dict[str, list[Lap]] = {name: [] for name in contestants}
        # What the first call builds, for every copy, is not timed.
        warmup = max([self.warmup, *map(len, contestants.values())])
        for turn in range(warmup + self.runs):
            for name, runs in contestants.items():
                lap = self.lap(runs[turn % len(runs)])
                if turn >= warmup:
                    laps[name].append(lap)
        return {name: Times.of(found) for name, found in laps.items()}

    def measure(self, runs: Sequence[Run]) -> Times:
        """Time the calls, one after another, over and over."""
        return self.together({"": runs})[""]

    def peak_mib(self, run: Run) -> float | None:
        """MiB on the GPU that one call needs beside what is there before it; None on a CPU."""
        if self.device.type != "cuda":
            return None
        torch.cuda.synchronize(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        result = run()
        torch.cuda.synchronize(self.device)
        del result
        return (torch.cuda.max_memory_allocated(self.device) - before) / 2**20
