"""How fast farthest point sampling is, beside PyPI's fpsample.

`python -m benchmarks.sampling [sizes=100000,400000] [out=FILE.json,FILE.md] [runs=5] ...` picks a
quarter of the points of a room of each size, of a LiDAR sweep, and of a real scan where one is
found (`kitti=FOLDER` as in `benchmarks.ops`), on one thread, as fpsample has no more. What takes
fpsample seconds, without buckets and by its approximation `npdu`, is timed once, on clouds of at
most 200,000 points; `once=0` leaves it out.

Rows are compared with ours from the same first point. fpsample's functions with buckets take
`start_idx` as a place in their tree, so they begin elsewhere than they are told; and distances that
tie, or that are rounded otherwise there, part the exact ones.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

import cuda_ops
from benchmarks.clouds import AZIMUTHS, room_points, sweep_points
from benchmarks.measure import Case, Meter, Run
from benchmarks.options import count, values_of
from benchmarks.report import facts_table, machine_facts, markdown, pivot, show, wide_console, write
from benchmarks.scans import find_scan
from pc3d.utils.environment import package_version

DEFAULTS: Mapping[str, str] = MappingProxyType(
    {"sizes": "100000,400000", "kitti": "", "warmup": "1", "runs": "5", "once": "1", "out": ""}
)
SHARE = 4  # points for each sample
MOST_ONCE = 200_000  # points
HEIGHTS = (7, 9)  # of fpsample's trees: its author's advice for medium and large clouds
TABLE, ONCE = "Farthest points", "Farthest points, one run"


def clouds(sizes: Sequence[int], kitti: str) -> dict[str, Tensor]:
    """Points [P, 3] in metres, by the name of the cloud."""
    found = {}
    for size in sizes:
        points = room_points(max(1, size // 4))  # ten times as many, of which some are drawn
        order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))
        found[f"indoor {size:,}"] = points[order[:size]].contiguous()
    found["lidar"] = sweep_points(max(1, round(AZIMUTHS * sizes[0] / 100_000)))
    scan = find_scan(kitti)
    if scan is not None:
        found[scan.name] = scan.points()
    return found


def rivals(points: Tensor, num_samples: int) -> tuple[dict[str, Run], dict[str, Run]]:
    """fpsample's exact functions that use buckets, and the others."""
    fpsample = importlib.import_module("fpsample")
    array = points.numpy()

    def run(name: str, **options: int) -> Run:
        return partial(getattr(fpsample, name), array, num_samples, start_idx=0, **options)

    heights = [h for h in HEIGHTS if 2**h <= len(points)]
    fast = {f"kdline {h}": run("bucket_fps_kdline_sampling", h=h) for h in heights}
    fast["kdtree"] = run("bucket_fps_kdtree_sampling")
    return fast, {"plain": run("fps_sampling"), "npdu": run("fps_npdu_sampling")}


def compared(contestant: str, cloud: str, points: Tensor, theirs: Tensor) -> str:
    """In words, how many rows are those that our kernels pick from the same first point on."""
    first = theirs[:1]
    order = torch.arange(len(points))
    order = torch.cat([first, order[order != first]])
    picks = cuda_ops.farthest_points(points[order], torch.tensor([0, len(points)]), [len(theirs)])
    ours = order[picks]
    differ = (ours != theirs).nonzero()
    if not len(differ):
        return f"{contestant}, {cloud}: the same {len(ours):,} rows in the same order"
    common = int(torch.isin(theirs, ours).sum())
    return (
        f"{contestant}, {cloud}: the same rows up to pick {int(differ[0]):,}; of all "
        f"{len(ours):,}, {common:,} are common"
    )


def measure(meter: Meter, single: Meter | None, name: str, points: Tensor) -> None:
    """Time all contestants on a cloud, and compare their rows.

    Args:
        meter: takes the times.
        single: takes those of contestants that run once; None: they are left out.
        name: of the cloud.
        points: [P, 3] metres.
    """
    num_samples = len(points) // SHARE
    offsets = torch.tensor([0, len(points)])
    what = f"{len(points):,} -> {num_samples:,}"

    def kernels() -> Tensor:
        return cuda_ops.farthest_points(points, offsets, [num_samples])

    fast: dict[str, Run] = {}
    slow: dict[str, Run] = {}
    if importlib.util.find_spec("fpsample") is not None:
        fast, slow = rivals(points, num_samples)
    meter.measure(Case(TABLE, name, what, 1, items=len(points)), {"kernels": kernels, **fast})
    results: dict[str, object] = {}
    if single is not None and slow and len(points) <= MOST_ONCE:

        def keeping(contestant: str, run: Run) -> Run:
            return lambda: results.update({contestant: run()})

        single.measure(Case(ONCE, name, what, 1), {c: keeping(c, run) for c, run in slow.items()})
    results |= {contestant: run() for contestant, run in fast.items()}
    for contestant, result in results.items():
        theirs = torch.from_numpy(np.asarray(result).astype(np.int64))
        meter.notes.append(compared(contestant, name, points, theirs))


def main(arguments: Sequence[str]) -> int:
    """Run from a command line of `key=value` arguments; returns the exit status."""
    console = wide_console()
    try:
        values = values_of(arguments, DEFAULTS)
        sizes = [count("sizes", size) for size in values["sizes"].split(",")]
        warmup, runs = count("warmup", values["warmup"]), count("runs", values["runs"])
        found = clouds(sizes, values["kitti"])
    except ValueError as error:
        console.print(str(error))
        return 2
    tell = partial(console.print, soft_wrap=True)
    meter, single = Meter(warmup, runs, tell), Meter(0, 1, tell)
    if importlib.util.find_spec("fpsample") is None:
        meter.notes.append("fpsample is left out: not installed; pip install pc3d[peers]")
    for name, points in found.items():
        measure(meter, single if values["once"] == "1" else None, name, points)
    facts = machine_facts(f"median of {runs} after {warmup}, interleaved")
    facts["packages"] |= {"fpsample": package_version("fpsample")}
    tables = [facts_table(facts), pivot(TABLE, meter.rows, {})]
    if single.rows:
        tables.append(pivot(ONCE, single.rows, {}))
    show(console, tables, meter.notes)
    rows = [asdict(row) for row in (*meter.rows, *single.rows)]
    report = {
        "facts": facts,
        "rows": [{**row.pop("case"), **row} for row in rows],
        "notes": meter.notes,
    }
    paths = [Path(path) for path in values["out"].split(",") if path]
    write(paths, report, markdown(tables, meter.notes))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
