"""How fast the operators are, beside other engines and what the processor can do at most.

`python -m benchmarks.ops [out=FILE.json,FILE.md] [threads=1,2] [workloads=indoor,lidar] ...`
measures in one process, interleaved:

* convolution: every phase of a 3x3x3 layer, as `channels=32x32,...` (C_in x C_out);
* neighbour table: the kernel map at dilations 1, 2 and 3;
* unique: the voxel of every point, with inverse and counts;
* scan: from a SemanticKITTI file to a batch with all maps of a 4-level U-Net. `kitti=FOLDER` holds
  `sequences/`; by default it is sought in `$PC3D_SHARED_DATA` and `../shared/data`.

`tables=` chooses among them. Contestants: the kernels, the reference in plain PyTorch, an
instruction set by name, spconv on the CPU, and numba for one case. With `device=cuda`: the kernels,
the reference and spconv-triton, without the scan, which is read by the CPU.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import cuda_ops
from benchmarks.clouds import WORKLOADS, Workload
from benchmarks.layers import BOTH, FORWARD, NUM_CHECKS, WORK, Layer, check_equal, count_wrong
from benchmarks.measure import Case, Meter, Run, ours, using_threads
from benchmarks.options import Options, parse, parse_names
from benchmarks.peers import PEERS, SPCONV, Grid, available, numba_conv, spconv_pairs
from benchmarks.report import Report, facts, wide_console
from benchmarks.scans import Scan, find_scan, write_scan
from pc3d.sparse import KernelSpec

TABLES = ("convolution", "table", "unique", "scan")
FURTHER = {
    "channels": "32x32,64x64,128x128,72x72,96x96,192x96,96x8,6x32",
    "tables": ",".join(TABLES),
    "kitti": "",
}
"""Keys of this program beside those of `benchmarks.options`."""
DILATIONS = (1, 2, 3)
NUMBA_CASE = ("indoor", 64, 64, 1)
"""The one case that numba takes part in: workload, C_in, C_out, threads."""
UNIQUE_CELL = 0.05  # metres


def measure_convolution(
    meter: Meter,
    workload: Workload,
    channels: tuple[int, int],
    threads: Sequence[int],
    contestants: Sequence[str],
) -> None:
    """Time every phase of one layer."""
    layer = Layer.random(workload.coords, *channels)
    name = f"{channels[0]} -> {channels[1]}"
    with using_threads(1):
        phases = {c: layer.phases(c) for c in contestants if c != "numba"}
        expected = layer.phases("reference")[BOTH]()
        for contestant, runs in phases.items():
            check_equal(f"{contestant}, {workload.name} {name}", runs[BOTH](), expected)
    for number in threads:
        # On several threads spconv's scatter shares its pointers between them: no error, a note.
        if number > 1 and "spconv" in phases:
            wrong = count_wrong(phases["spconv"][BOTH], expected, number)
            if wrong:
                meter.notes.append(
                    f"spconv gave wrong values in {wrong} of {NUM_CHECKS} runs of {name}, "
                    f"{workload.name}, threads {number}; its times stand as they are"
                )
        for phase, work in WORK.items():
            runs = {c: found[phase] for c, found in phases.items() if phase in found}
            wanted = "numba" in contestants and phase == FORWARD
            if wanted and (workload.name, *channels, number) == NUMBA_CASE:
                runs["numba"] = numba_conv(layer.coords, layer.x, layer.weight)
                assert isinstance(expected, tuple)
                check_equal("numba", runs["numba"](), expected[0])
            if runs:
                title, gflop = f"Convolution 3^3: {phase}", work * layer.gflop
                meter.measure(Case(title, workload.name, name, number, gflop), runs)


def measure_tables(
    meter: Meter, workload: Workload, threads: Sequence[int], contestants: Sequence[str]
) -> None:
    """Time the kernel maps of dilated 3x3x3 kernels, and of the 2x2x2 kernel with stride 2."""
    coords, grid = workload.coords, Grid.of(workload.coords.indices)
    for dilation in DILATIONS:
        spec = KernelSpec(3, dilation=dilation)

        def build(spec: KernelSpec = spec) -> None:
            coords.clear()
            coords.neighbors(spec)

        runs: dict[str, Run] = {c: ours(c, build) for c in contestants if c not in PEERS}
        runs |= {c: spconv_pairs(grid, spec) for c in contestants if c in SPCONV}
        for number in threads:
            name = f"3^3, dilation {dilation}"
            case = Case("Neighbour table", workload.name, name, number, items=len(coords))
            meter.measure(case, runs)

    def down() -> None:
        coords.clear()
        coords.down()

    runs = {c: ours(c, down) for c in contestants if c not in PEERS}
    for number in threads:
        case = Case("Neighbour table", workload.name, "2^3, stride 2", number, items=len(coords))
        meter.measure(case, runs)


def measure_unique(
    meter: Meter,
    name: str,
    points: Tensor,
    threads: Sequence[int],
    contestants: Sequence[str],
) -> None:
    """Time the voxels of points: unique keys, inverse, counts.

    Args:
        meter: takes the times.
        name: of the cloud.
        points: [P, 3] metres.
        threads: numbers of threads.
        contestants: those of ours are timed beside `torch.unique` and `numpy.unique`.
    """
    cells = (points / UNIQUE_CELL).floor().to(torch.int32)
    keys = cuda_ops.morton_encode(torch.nn.functional.pad(cells, (1, 0)).to(meter.watch.device))
    # The reference is torch.unique, and stands in the table under that name.
    runs: dict[str, Run] = {
        c: ours(c, lambda: cuda_ops.voxelize(keys))
        for c in contestants
        if c not in (*PEERS, "reference")
    }
    runs["torch.unique"] = lambda: torch.unique(keys, return_inverse=True, return_counts=True)
    if not meter.on_gpu:
        array = keys.numpy()
        runs["numpy.unique"] = lambda: np.unique(array, return_inverse=True, return_counts=True)
    what = f"{len(keys):,} points, {len(cuda_ops.voxelize(keys)[0]):,} voxels"
    for number in threads:
        meter.measure(Case("Unique with inverse", name, what, number, items=len(keys)), runs)


def measure_scan(
    meter: Meter, scan: Scan, threads: Sequence[int], contestants: Sequence[str]
) -> None:
    """Time the steps from a file to a batch with all maps, and all of them together."""
    size = scan.num_points()
    for step, run in scan.steps().items():
        runs: dict[str, Run] = {c: ours(c, run) for c in contestants if c not in PEERS}
        for number in threads:
            meter.measure(Case("Scan to batch", scan.name, step, number, items=size), runs)


def measure(
    meter: Meter, options: Options, tables: Sequence[str], channels: Sequence[tuple[int, int]]
) -> list[Workload]:
    """Measure the tables on the workloads; returns those."""
    threads, contestants = options.threads, options.contestants
    made = [WORKLOADS[name](options.points) for name in options.workloads]
    workloads = [workload.to(options.device) for workload in made]
    for workload in workloads:
        if "convolution" in tables:
            for pair in channels:
                measure_convolution(meter, workload, pair, threads, contestants)
        if "table" in tables:
            measure_tables(meter, workload, threads, contestants)
        if "unique" in tables:
            points = _sample(workload.points, options.points)
            measure_unique(meter, workload.name, points, threads, contestants)
    return workloads


def measure_scans(
    meter: Meter,
    options: Options,
    tables: Sequence[str],
    workloads: Sequence[Workload],
    real: Scan | None,
) -> None:
    """Measure what starts from a file: the real scan if there is one, and the LiDAR workload."""
    with tempfile.TemporaryDirectory() as folder:
        scans = [] if real is None else [real]
        scans += [write_scan(Path(folder), w.points) for w in workloads if w.name == "lidar"]
        for scan in scans:
            if "unique" in tables and scan is real:
                name, points = scan.name, scan.points()
                measure_unique(meter, name, points, options.threads, options.contestants)
            if "scan" in tables:
                measure_scan(meter, scan, options.threads, options.contestants)


def _channels(text: str) -> tuple[int, int]:
    num_in, _, num_out = text.partition("x")
    if not (num_in.isdigit() and num_out.isdigit() and int(num_in) and int(num_out)):
        raise ValueError(f"channels must be C_in x C_out such as 64x64; got {text!r}")
    return int(num_in), int(num_out)


def _sample(points: Tensor, number: int) -> Tensor:
    """At most `number` of the points, at random, in their order."""
    if len(points) <= number:
        return points
    generator = torch.Generator().manual_seed(0)
    return points[torch.randperm(len(points), generator=generator)[:number].sort().values]


def main(arguments: Sequence[str]) -> int:
    """Run from a command line of `key=value` arguments; returns the exit status."""
    console = wide_console()
    try:
        options, values = parse(arguments, FURTHER)
        tables = parse_names("tables", values["tables"], TABLES)
        if options.device.type == "cuda":
            tables = tuple(table for table in tables if table != "scan")
        channels = [_channels(text) for text in values["channels"].split(",")]
        real = find_scan(values["kitti"])
    except ValueError as error:
        console.print(str(error))
        return 2
    options, notes = available(options)
    if real is None:
        notes.append("no real scan was found; kitti=FOLDER names the one that holds sequences/")
    tell = partial(console.print, soft_wrap=True)
    meter = Meter(options.warmup, options.runs, tell, options.device)
    meter.notes += notes
    for threads in options.threads:
        meter.copy(threads, options.copy_mib)
    workloads = measure(meter, options, tables, channels)
    measure_scans(meter, options, tables, workloads, real)
    for threads in options.threads:
        meter.copy(threads, options.copy_mib)
    report = Report(facts(options, workloads), meter.ceilings(), meter.rows, notes=meter.notes)
    report.show(console)
    report.write(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
