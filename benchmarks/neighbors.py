"""How fast the nearest neighbours of points are found, beside scipy's k-d tree.

`python -m benchmarks.neighbors [out=FILE.json,FILE.md] [threads=1,2] [points=100000] ...` measures
in one process, interleaved; every time includes building the index:

* the 16 nearest points of every point;
* the 3 nearest of a quarter of the points for every point, as interpolation looks for them.

On points of the room and the LiDAR of `benchmarks.clouds`, and of a real scan where there is one
(`kitti=FOLDER`, as for `benchmarks.ops`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

import torch
from scipy.spatial import cKDTree
from torch import Tensor

import cuda_ops
from benchmarks.clouds import WORKLOADS
from benchmarks.measure import Case, Meter, Run
from benchmarks.options import parse
from benchmarks.report import Report, facts, wide_console
from benchmarks.scans import find_scan

SELF_NEIGHBORS, INTERPOLATED = 16, 3
PART = 4  # one point in so many is there to interpolate from
TABLE = "Nearest neighbours"


def _agree(found: Tensor, distance: Tensor) -> bool:
    """Whether squared distances are those of scipy, which computes in float64, but for rounding."""
    return torch.allclose(found.double().sqrt(), distance.double(), rtol=1e-5, atol=1e-5)


def measure(meter: Meter, name: str, points: Tensor, threads: Sequence[int]) -> None:
    """Time both searches on one cloud.

    Args:
        meter: takes the times.
        name: of the cloud.
        points: [P, 3] float32 metres, in any order.
        threads: numbers of threads.

    Raises:
        AssertionError: scipy finds other distances.
    """
    part = points[::PART].contiguous()
    for known, k in ((points, SELF_NEIGHBORS), (part, INTERPOLATED)):
        bounds, asked = torch.tensor([0, len(known)]), torch.tensor([0, len(points)])
        asked = bounds if known is points else asked

        def ours(
            known: Tensor = known, bounds: Tensor = bounds, asked: Tensor = asked, k: int = k
        ) -> tuple[Tensor, Tensor]:
            return cuda_ops.nearest_neighbors(known, bounds, points, asked, k)

        for number in threads:

            def scipy(known: Tensor = known, k: int = k, number: int = number) -> Tensor:
                tree = cKDTree(known.numpy())
                return torch.from_numpy(tree.query(points.numpy(), k, workers=number)[0])

            assert _agree(ours()[1].T, scipy())
            what = f"k = {k}, {len(points):,} queries, {len(known):,} points"
            runs: dict[str, Run] = {"kernels": ours, "scipy": scipy}
            meter.measure(Case(TABLE, name, what, number, items=len(points)), runs)


def sample(points: Tensor, number: int) -> Tensor:
    """At most `number` of the points at random, shuffled."""
    generator = torch.Generator().manual_seed(0)
    return points[torch.randperm(len(points), generator=generator)[:number]]


def main(arguments: Sequence[str]) -> int:
    """Run from a command line of `key=value` arguments; returns the exit status."""
    console = wide_console()
    try:
        options, values = parse(arguments, {"kitti": ""})
        real = find_scan(values["kitti"])
        if options.device.type != "cpu":
            raise ValueError(f"scipy searches on the CPU; got device={options.device}")
    except ValueError as error:
        console.print(str(error))
        return 2
    meter = Meter(options.warmup, options.runs, partial(console.print, soft_wrap=True))
    for threads in options.threads:
        meter.copy(threads, options.copy_mib)
    workloads = [WORKLOADS[name](options.points) for name in options.workloads]
    for workload in workloads:
        measure(meter, workload.name, sample(workload.points, options.points), options.threads)
    if real is None:
        meter.notes.append("no real scan was found; kitti=FOLDER names the one with sequences/")
    else:
        measure(meter, real.name, real.points(), options.threads)
    report = Report(facts(options, workloads), meter.ceilings(), meter.rows, notes=meter.notes)
    report.show(console)
    report.write(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
