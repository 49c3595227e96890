"""Memory of this process and of its data workers, as Linux counts it."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from pathlib import Path

from pc3d.utils.peak_memory import peak_mib


@dataclass(frozen=True)
class Footprint:
    """Memory at one moment, in MiB.

    What several processes share counts in equal parts for each of them (PSS), so that the sum is
    what the system has given. Pages of files are left out: those of libraries count less as soon as
    any other program uses them. Where the system does not count like that, resident sets stand in.

    Attributes:
        main: of this process.
        workers: of its children together.
        main_peak: largest resident set of this process so far.
        worker_peak: largest resident set of any child that is alive; 0 without children.
    """

    main: float
    workers: float
    main_peak: float
    worker_peak: float

    @property
    def together(self) -> float:
        return self.main + self.workers

    @staticmethod
    def now() -> Footprint | None:
        """The present moment; None where there is no /proc."""
        main = memory_mib("self")
        if main is None:
            return None
        children = [p.pid for p in multiprocessing.active_children() if p.pid is not None]
        return Footprint(
            main=main,
            workers=sum(memory_mib(pid) or 0.0 for pid in children),
            main_peak=peak_mib(),
            worker_peak=max(map(peak_mib, children), default=0.0),
        )


def memory_mib(process: int | str, proc: Path = Path("/proc")) -> float | None:
    """Proportional set size of a process without files, or else its resident set, in MiB."""
    for name, keys in (("smaps_rollup", ("Pss_Anon", "Pss_Shmem")), ("status", ("VmRSS",))):
        try:
            lines = (proc / str(process) / name).read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        amounts = dict(line.split(":", 1) for line in lines if ":" in line)
        if all(key in amounts for key in keys):
            return sum(int(amounts[key].split()[0]) for key in keys) / 1024
    return None


def spread(amounts: list[float]) -> float:
    """How much more the largest amount is than the smallest, as a part of the latter."""
    return max(amounts) / min(amounts) - 1
