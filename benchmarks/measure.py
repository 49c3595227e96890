"""Interleaved timing of contestants, on a CPU with the multiply-add ceiling probed in between.

Contestants run A/B/A/B in one process, so that a clock that drifts or a neighbour on the machine
meets all of them. Times are medians: of wall-clock time, on a GPU of the time between CUDA events.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch

from cuda_ops.check.timing import Run, Stopwatch
from cuda_ops.runtime import cpu_library, serving

PROBE_ITERATIONS = 1_500_000  # 10 ms at 115 GFLOP/s with AVX-512


@dataclass(frozen=True)
class Case:
    """One thing that contestants do.

    Attributes:
        table: title of the table it belongs to.
        workload: what it is done on.
        name: what is done.
        threads: threads that every contestant may use.
        gflop: useful work, 10^9 multiplications and additions, or None.
        items: voxels or points, for the time per 100,000 of them, or None.
    """

    table: str
    workload: str
    name: str
    threads: int
    gflop: float | None = None
    items: int | None = None


@dataclass(frozen=True)
class Row:
    """How long one contestant took.

    Attributes:
        case: what was done.
        contestant: by whom.
        milliseconds: median time.
        fastest: shortest time in milliseconds.
        cores: CPU time / wall-clock time of the whole process, which shows who took more threads
            than allowed or waited for the processor; 0 on a GPU.
    """

    case: Case
    contestant: str
    milliseconds: float
    fastest: float
    cores: float


@dataclass(frozen=True)
class Ceiling:
    """What the processor reached in the same run.

    Attributes:
        threads: threads that took part.
        fma: GFLOP/s of multiply-adds on registers, the best of the run; None without kernels.
        copy: GB/s of a stream copy, bytes read plus bytes written, the best of the run.
    """

    threads: int
    fma: float | None
    copy: float


class Meter:
    """Measures cases and keeps the rows and the ceilings.

    Args:
        warmup: runs before the clock starts.
        runs: timed runs, of which the median counts.
        tell: is given a line about every case that is done.
        device: where contestants run.

    Attributes:
        rows: everything measured so far.
        notes: what a reader of the rows must know; programs add to it.
    """

    def __init__(
        self,
        warmup: int,
        runs: int,
        tell: Callable[[str], None],
        device: torch.device | str = "cpu",
    ) -> None:
        self.warmup, self.runs, self.tell = warmup, runs, tell
        self.watch = Stopwatch(torch.device(device), warmup, runs)
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self._fma: dict[int, float] = {}
        self._copy: dict[int, float] = {}

    @property
    def on_gpu(self) -> bool:
        return self.watch.device.type == "cuda"

    def measure(self, case: Case, contestants: Mapping[str, Run]) -> None:
        """Time the contestants in turn, `warmup + runs` times each."""
        wall: dict[str, list[float]] = {name: [] for name in contestants}
        cpu: dict[str, list[float]] = {name: [] for name in contestants}
        with using_threads(case.threads):
            for turn in range(self.warmup + self.runs):
                for name, run in contestants.items():
                    self._probe(case.threads)
                    cpu_start = time.process_time()
                    seconds = self.watch.lap(run).seconds
                    cpu_end = time.process_time()
                    if turn >= self.warmup:
                        wall[name].append(seconds)
                        cpu[name].append(0.0 if self.on_gpu else cpu_end - cpu_start)
        for name, laps in wall.items():
            self.rows.append(
                Row(
                    case=case,
                    contestant=name,
                    milliseconds=1e3 * statistics.median(laps),
                    fastest=1e3 * min(laps),
                    cores=sum(cpu[name]) / sum(laps),
                )
            )
        times = ", ".join(f"{r.contestant} {r.milliseconds:.2f}" for r in self.rows[-len(wall) :])
        self.tell(f"{case.table}: {case.workload}, {case.name}, threads {case.threads}: {times} ms")

    def _probe(self, threads: int) -> None:
        library = cpu_library()
        if library is None or self.on_gpu:
            return
        result = torch.empty(threads)
        start = time.perf_counter()
        library.call("pc3d_multiply_add", PROBE_ITERATIONS, threads, result, threads)
        seconds = time.perf_counter() - start
        gflop = 1e-9 * PROBE_ITERATIONS * threads * library.call("pc3d_multiply_add_flop")
        self._fma[threads] = max(self._fma.get(threads, 0.0), gflop / seconds)

    def copy(self, threads: int, num_mib: int) -> None:
        """Time stream copies of `num_mib` MiB: by the kernel, and by torch."""
        source = torch.ones(num_mib * 2**18, device=self.watch.device)
        target = torch.empty_like(source)
        runs: dict[str, Run] = {"torch": lambda: target.copy_(source)}
        library = None if self.on_gpu else cpu_library()
        if library is not None:
            arguments = (source, target, source.numel(), threads)
            runs["kernels"] = lambda: library.call("pc3d_copy", *arguments)
        case = Case("Stream copy", "memory", f"copy {num_mib} MiB", threads)
        self.measure(case, runs)
        for row in self.rows[-len(runs) :]:
            rate = 1e-9 * 2 * source.nbytes / (1e-3 * row.fastest)
            self._copy[threads] = max(self._copy.get(threads, 0.0), rate)

    def ceilings(self) -> list[Ceiling]:
        """What was reached at each number of threads that `copy` was called with."""
        return [Ceiling(n, self._fma.get(n), rate) for n, rate in sorted(self._copy.items())]


def ours(contestant: str, run: Run) -> Run:
    """`run` with the operators served by "kernels", the "reference" or an instruction set."""
    if contestant == "kernels":
        return run

    def within() -> object:
        with serving(contestant):
            return run()

    return within


@contextlib.contextmanager
def using_threads(number: int) -> Iterator[None]:
    """Within the block, torch and the engines that share its OpenMP use `number` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
