"""Times of the kernels beside reference, floor and rivals."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby, product
from typing import Any, NamedTuple

import torch

from cuda_ops.check.floors import Ceilings, geometric_mean
from cuda_ops.check.kernels import (
    ATTENTION,
    BACKWARD,
    CONV,
    KNOWN_MAPS,
    MAPS,
    WEIGHT,
    Kernel,
    attention_kernels,
    conv_kernels,
    devoxelize_kernels,
    map_kernels,
    stride_kernels,
)
from cuda_ops.check.kernels import FORWARD as KERNEL_FORWARD
from cuda_ops.check.precision import BFLOAT16, FLOAT32, TIMED, Precision, allowing_tf32
from cuda_ops.check.progress import tell
from cuda_ops.check.rivals import BOTH, FORWARD, MAP, OURS, Duel, duel, installed
from cuda_ops.check.rooms import Place
from cuda_ops.check.section import Section, Table, in_one_line
from cuda_ops.check.timing import Stopwatch, Times
from cuda_ops.runtime.load import REFERENCE, serving

REFERENCE_RUNS = (1, 5)
"""Warm-up and timed runs of the reference, which is slow."""
NEEDED = {
    *product((f"{CONV} {KERNEL_FORWARD}", f"{CONV} {WEIGHT}"), (64, 128)),
    *product((f"{ATTENTION} {KERNEL_FORWARD}", f"{ATTENTION} {BACKWARD}"), (128,)),
    *product((MAPS, KNOWN_MAPS), (0,)),
}
"""Ops and channels of the targets, which are set for bfloat16 on rooms; and what explains them."""
STAGES = ("what targets need", "the rest of bfloat16 on rooms", "other types and clouds")
"""The order in which kernels are timed."""


@dataclass(frozen=True)
class Row:
    """What one kernel took.

    Attributes:
        op: what was done.
        place: on which clouds.
        voxels: of the first cloud.
        channels: 0 where there are none.
        precision: name of the types.
        times: in milliseconds.
        floor: milliseconds that the measured ceilings leave.
        rate: useful work per second: GFLOP/s where arithmetic is the nearer bound, else GB/s.
        unit: of `rate`.
        peak: MiB that one call needs, result included; None on a CPU.
    """

    op: str
    place: str
    voxels: int
    channels: int
    precision: str
    times: Times
    floor: float
    rate: float
    unit: str
    peak: float | None

    @property
    def of_floor(self) -> float:
        """The fraction of the nearer ceiling that is reached."""
        return self.floor / self.times.median


@dataclass(frozen=True)
class Plan:
    """What is timed.

    Attributes:
        places: kind and size of the clouds, the most important first.
        channels: of convolutions, the most important first.
        attention_channels: of codebook attention.
        quick: float32 and bfloat16 only, fewer runs.
    """

    places: tuple[tuple[str, int], ...]
    channels: tuple[int, ...]
    attention_channels: tuple[int, ...]
    quick: bool

    @classmethod
    def of(cls, points: int, quick: bool) -> Plan:
        """Of rooms of `points` and four times as many voxels, and a street."""
        places = (("room", points), ("room", 4 * points), ("street", points))
        if quick:
            return cls(places[:2], (64, 128), (128,), True)
        return cls(places, (64, 128, 32, 256), (128, 64), False)

    def on_cpu(self) -> Plan:
        """What a CPU does in a minute: one room and a street."""
        places = tuple(place for place in self.places[:1] + self.places[2:])
        return Plan(places, self.channels[:2], self.attention_channels[:1], self.quick)

    def watch(self, device: torch.device) -> Stopwatch:
        """20 runs after which 50 count; fewer if quick, and on a CPU."""
        if device.type != "cuda":
            return Stopwatch(device, 1, 3 if self.quick else 9)
        return Stopwatch(device, 5, 15) if self.quick else Stopwatch(device, 20, 50)


def kernels_of(place: Place, plan: Plan, device: torch.device) -> Iterator[Kernel]:
    """All that is timed on a place, the most important first."""
    precisions = [p for p in TIMED[device.type] if not plan.quick or p in (BFLOAT16, FLOAT32)]
    yield from map_kernels(place)
    for precision in precisions:
        for channels in plan.channels:
            yield from conv_kernels(place, channels, precision)
        if precision.tf32:
            continue  # only matrix products know it
        for channels in plan.attention_channels:
            yield from attention_kernels(place, channels, precision)
        yield from stride_kernels(place, 64, precision)
        yield from devoxelize_kernels(place, 64, precision)


def time_kernel(kernel: Kernel, watch: Stopwatch, top: Ceilings) -> tuple[Row, Times]:
    """The row of a kernel, and the times of its reference."""
    slow = Stopwatch(watch.device, *REFERENCE_RUNS)
    with allowing_tf32(kernel.precision.tf32):
        work, runs = kernel.runs()
        times = watch.measure(runs)
        peak = watch.peak_mib(runs[0])
        with serving(REFERENCE):
            reference = slow.measure(runs)
    arithmetic = top.bound(work) == "arithmetic"
    amount = work.flop if arithmetic else work.num_bytes
    row = Row(
        *(kernel.op, kernel.place.name, len(kernel.place.clouds[0])),
        *(kernel.channels, kernel.precision.name, times),
        floor=top.floor_ms(work),
        rate=amount / (1e6 * times.median),
        unit="GFLOP/s" if arithmetic else "GB/s",
        peak=peak,
    )
    return row, reference


@dataclass(frozen=True)
class Found:
    """All that was timed.

    Attributes:
        rows: of the kernels.
        references: times of plain PyTorch for each row.
        duels: with other engines.
        failed: kernels that threw, and what.
        notes: what was left out, and why.
    """

    rows: list[Row] = field(default_factory=list)
    references: list[Times] = field(default_factory=list)
    duels: list[Duel] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def rank(kernel: Kernel) -> int:
    """When it is timed, a place in `STAGES`: what matters most is there if time runs out."""
    is_room = kernel.place.name.startswith("room")
    if not is_room or (kernel.channels and kernel.precision != BFLOAT16):
        return 2
    return 0 if (kernel.op, kernel.channels) in NEEDED else 1


def time_all(
    plan: Plan, device: torch.device, top: Ceilings, deadline: float, found: Found
) -> None:
    """Time the kernels, stage after stage, and beside rivals, until the deadline.

    Rivals come after the first stage, in bfloat16 on rooms, for half of the time that is left then;
    all that remains of them comes last.

    Args:
        plan: what is timed.
        device: where.
        top: ceilings of the device.
        deadline: of `time.monotonic`, after which nothing new is started.
        found: gets everything as soon as it is there, so that an error leaves what came before it.
    """
    watch = plan.watch(device)
    rivals = installed() if device.type == "cuda" else {}
    tell("Kernels: clouds")
    places = [Place.make(kind, size, device) for kind, size in plan.places]
    jobs = rival_jobs(places, plan, device) if rivals else []
    kernels = sorted((k for place in places for k in kernels_of(place, plan, device)), key=rank)
    for stage, group in groupby(kernels, rank):
        tell(f"Kernels: {STAGES[stage]}")
        for kernel in group:
            if time.monotonic() > deadline:
                found.notes.append(f"Out of time: {kernel} and all after it.")
                return
            try:
                row, reference = time_kernel(kernel, watch, top)
            except Exception as error:  # noqa: BLE001  one that throws is named, others go on
                found.failed.append(f"{kernel}: {in_one_line(error)}")
                continue
            found.rows.append(row)
            found.references.append(reference)
        if stage == 0 and jobs:
            tell("Kernels: rivals, bfloat16 on rooms")
            early = [job for job in jobs if job.is_early]
            half = (time.monotonic() + deadline) / 2
            done = time_rivals(early, found, watch, rivals, half)
            jobs = early[done:] + [job for job in jobs if not job.is_early]
    if jobs:
        tell("Kernels: the remaining rivals")
        done = time_rivals(jobs, found, watch, rivals, deadline)
        if jobs[done:]:
            found.notes.append(f"Out of time: rivals on {jobs[done]} and all after it.")


class RivalJob(NamedTuple):
    """What engines are timed on together."""

    place: Place
    channels: int
    precision: Precision

    def __str__(self) -> str:
        return f"{self.place.name}, C={self.channels}, {self.precision.name}"

    @property
    def is_early(self) -> bool:
        """Whether it comes before the bulk of our own kernels."""
        return self.place.name.startswith("room") and self.precision == BFLOAT16


def rival_jobs(places: Sequence[Place], plan: Plan, device: torch.device) -> list[RivalJob]:
    """All that rivals are timed on, place after place."""
    precisions = [p for p in TIMED[device.type] if not plan.quick or p == BFLOAT16]
    return [RivalJob(*job) for job in product(places, sorted(plan.channels), precisions)]


def time_rivals(
    jobs: Sequence[RivalJob],
    found: Found,
    watch: Stopwatch,
    rivals: dict[str, str],
    deadline: float,
) -> int:
    """Add what rivals take, until the deadline; returns how many of the jobs are done."""
    for done, (place, channels, precision) in enumerate(jobs):
        if time.monotonic() > deadline:
            return done
        has_map = any(d.op == MAP and d.place == place.name for d in found.duels)
        ops = (FORWARD, BOTH) if has_map else (FORWARD, BOTH, MAP)
        try:
            duels, notes = duel(place, channels, precision, watch, rivals, ops)
        except Exception as error:  # noqa: BLE001  one that throws is named, others go on
            about = f"{place.name}, C={channels}, {precision.name}"
            found.failed.append(f"rivals on {about}: {in_one_line(error)}")
            continue
        found.duels.extend(duels)
        found.notes.extend(notes)
    return len(jobs)


def timing_section(found: Found, protocol: str) -> Section:
    """The kernels beside reference and floor."""
    header = ["op", "cloud", "voxels", "C", "types", "ms", "quartiles", "host ms", "floor ms"]
    header += ["of floor", "rate", "peak MiB", "reference ms", "reference / ours"]
    rows = [_cells(*pair) for pair in zip(found.rows, found.references, strict=True)]
    values = [
        row_values(row) | {"reference_ms": reference.median}
        for row, reference in zip(found.rows, found.references, strict=True)
    ]
    notes = (protocol, *found.notes, *(f"**Failed**: {line}" for line in found.failed))
    passed = False if found.failed else None
    return Section("Kernels", values, passed, (Table("", header, rows),), notes)


def row_values(row: Row) -> dict[str, Any]:
    """A row as plain values."""
    return asdict(row) | {"of_floor": row.of_floor}


def _cells(row: Row, reference: Times) -> list[str]:
    times = row.times
    cells = [row.op, row.place, f"{row.voxels:,}", str(row.channels or "-"), row.precision]
    cells += [number(times.median), f"{number(times.low)} .. {number(times.high)}"]
    cells += [number(times.host), number(row.floor), f"{100 * row.of_floor:.0f} %"]
    cells += [f"{number(row.rate)} {row.unit}", "-" if row.peak is None else f"{row.peak:.0f}"]
    return [*cells, number(reference.median), f"{reference.median / times.median:.1f}"]


def number(value: float) -> str:
    """Three digits that count, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def rival_section(duels: Sequence[Duel]) -> Section:
    """Ratios, their geometric means, and the losses."""
    names = list(dict.fromkeys(name for d in duels for name in d.ratios()))
    if not names:
        return Section("Rivals", [], notes=("No other engine was timed.",))
    header = ["op", "cloud", "C", "types", "ours ms"]
    header += [cell for name in names for cell in (f"{name} ms", f"{name} / ours")]
    rows, losses = [], []
    for d in duels:
        about, ratios = [d.op, d.place, str(d.channels or "-"), d.precision], d.ratios()
        cells = [number(d.times[OURS].median)]
        for name in names:
            given = name in ratios
            cells += [number(d.times[name].median), f"{ratios[name]:.2f}"] if given else ["-", "-"]
        rows.append([*about, *cells])
        losses += [[*about, name, f"{ratio:.2f}"] for name, ratio in ratios.items() if ratio < 1]
    means = [[*key, f"{mean:.2f}", str(count)] for key, (mean, count) in means_of(duels).items()]
    tables = (
        Table("", header, rows),
        Table("Geometric means", ["op", "types", "engine", "rival / ours", "rows"], means),
        Table("Losses", ["op", "cloud", "C", "types", "engine", "rival / ours"], losses),
    )
    values = [asdict(d) | {"ratios": d.ratios()} for d in duels]
    note = "In turn with ours in one process, maps built before; above 1 we are faster."
    return Section("Rivals", values, None, tables, (note,))


def means_of(duels: Sequence[Duel]) -> dict[tuple[str, str, str], tuple[float, int]]:
    """The geometric mean of ratios and their number, by op, types and rival."""
    groups: dict[tuple[str, str, str], list[float]] = {}
    for d in duels:
        for name, ratio in d.ratios().items():
            groups.setdefault((d.op, d.precision, name), []).append(ratio)
    return {key: (geometric_mean(ratios), len(ratios)) for key, ratios in groups.items()}
