"""How long networks take beside each other on the CPU, run after run in turns.

`python -m benchmarks.turns [networks=minkunet_cr1p0,spvcnn_cr1p0] [points=20000] [threads=1]
[warmup=1] [runs=9] [out=FILE.json]`: the phases of `benchmarks.networks` for networks of
`conf/model`, in float32 on three rooms of about so many voxels. All networks run once before any
of them runs again, so that a busy machine slows all alike; `ratio` is the median, over the rounds,
of a network's time by that of the first.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch
from rich.table import Table

from benchmarks.measure import using_threads
from benchmarks.networks import KNOWN, our_network, phases, rooms
from benchmarks.options import count, parse_names, values_of
from benchmarks.report import machine_facts, wide_console
from pc3d.utils.allocator import keep_freed_memory
from pc3d.utils.files import write_json

KEYS = {
    "networks": "minkunet_cr1p0,spvcnn_cr1p0",
    "points": "20000",
    "threads": "1",
    "warmup": "1",
    "runs": "9",
    "out": "",
}


def in_turns(calls: Sequence[Sequence[Callable[[], object]]], rounds: int) -> list[list[float]]:
    """Milliseconds of every contestant in every round; its calls follow each other round by round.

    Args:
        calls: of each contestant, what it can be timed with.
        rounds: how often each is timed.
    """
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(rounds):
        for own, found in zip(calls, times, strict=True):
            begin = time.perf_counter()
            own[turn % len(own)]()
            found.append(1e3 * (time.perf_counter() - begin))
    return times


def measure(names: Sequence[str], points: int, warmup: int, runs: int) -> list[dict[str, object]]:
    """A row for every phase and network."""
    device = torch.device("cpu")
    problems = rooms(points, device)
    contestants = [our_network(name, device) for name in names]
    rows: list[dict[str, object]] = []
    for same in zip(*(phases(own, problems, "float32") for own in contestants), strict=True):
        calls = [own for _, own in same]
        in_turns(calls, warmup * len(problems))
        times = in_turns(calls, runs)
        for name, (phase, _), found in zip(names, same, times, strict=True):
            ratio = median(own / first for own, first in zip(found, times[0], strict=True))
            rows.append({"network": name, "phase": phase, "ms": median(found), "ratio": ratio})
    return rows


def main(arguments: Sequence[str]) -> int:
    """Run from a command line of `key=value` arguments; returns the exit status."""
    console = wide_console()
    try:
        values = values_of(arguments, KEYS)
        names = parse_names("networks", values["networks"], KNOWN)
        points, threads, warmup, runs = (
            count(key, values[key]) for key in ("points", "threads", "warmup", "runs")
        )
    except ValueError as error:
        console.print(str(error))
        return 2
    keep_freed_memory()  # as training does
    with using_threads(threads):
        rows = measure(names, points, warmup, runs)
    table = Table("network", "phase", "ms", "ratio")
    for row in rows:
        table.add_row(
            str(row["network"]), str(row["phase"]), f"{row['ms']:.0f}", f"{row['ratio']:.2f}"
        )
    console.print(table)
    if values["out"]:
        facts = machine_facts(f"median of {runs} in turns after {warmup}, {threads} threads")
        write_json(Path(values["out"]), {"facts": facts, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
