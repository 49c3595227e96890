"""The whole check: options, sections in their order, exit status."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

import cuda_ops
from cuda_ops.check import report
from cuda_ops.check.cases import SCENES, SMALL_SCENES
from cuda_ops.check.determinism import determinism_section
from cuda_ops.check.devices import device_of
from cuda_ops.check.errors import errors_section
from cuda_ops.check.facts import facts
from cuda_ops.check.far import check_far, fits
from cuda_ops.check.floors import Ceilings, measure_ceilings
from cuda_ops.check.networks import TITLE as NETWORKS
from cuda_ops.check.networks import missing, network_rows, network_section
from cuda_ops.check.parity import check_parity, parity_section
from cuda_ops.check.progress import tell
from cuda_ops.check.sanitizer import TITLE as SANITIZER
from cuda_ops.check.sanitizer import sanitizer_section
from cuda_ops.check.section import Section, Table, guarded
from cuda_ops.check.targets import Results, target_section
from cuda_ops.check.timings import Found, Plan, rival_section, time_all, timing_section

KEYS = ("device", "out", "points", "minutes")
FLAGS = ("--quick", "--small")
DEFAULT_POINTS = {"cuda": 100_000, "cpu": 20_000}
MINUTES, QUICK_MINUTES = 4, 1
"""For timings alone: kernels, rivals, networks. The rest takes as long as it takes."""
SANITIZER_SECONDS = 60.0
"""For each of its tools."""
NETWORK_SHARE = 0.35
"""Of the time that is left when kernels are timed, what is kept for networks."""


@dataclass(frozen=True)
class Options:
    """What is asked for.

    Attributes:
        device: where.
        out: folder of the files; None: none are written.
        points: voxels of the smaller room, about.
        minutes: from the first kernel on, after which no more is timed.
        quick: less of everything.
        small: parity on small scenes and nothing else, for tools that make everything slow.
    """

    device: torch.device
    out: Path | None
    points: int
    minutes: int
    quick: bool
    small: bool


def parse(arguments: Sequence[str]) -> Options:
    """The options of a command line.

    Raises:
        ValueError: one clear line.
    """
    flags = {argument for argument in arguments if argument.startswith("--")}
    if flags - set(FLAGS):
        raise ValueError(f"unknown flag {min(flags - set(FLAGS))!r}; known: --quick")
    values: dict[str, str] = {}
    for argument in (a for a in arguments if a not in flags):
        key, equals, value = argument.partition("=")
        if not equals or key not in KEYS:
            raise ValueError(f"unknown argument {argument!r}; known: {', '.join(KEYS)}, --quick")
        values[key] = value
    device = device_of(values.get("device", ""))
    defaults = {"points": DEFAULT_POINTS[device.type], "minutes": MINUTES}
    if "--quick" in flags:
        defaults["minutes"] = QUICK_MINUTES
    numbers = {key: values.get(key, str(default)) for key, default in defaults.items()}
    for key, text in numbers.items():
        if not (text.isascii() and text.isdigit() and int(text)):
            raise ValueError(f"{key} must be a positive whole number; got {text!r}")
    out = Path(values["out"]) if values.get("out") else None
    if out is None and device.type == "cuda" and "out" not in values:
        out = report.default_folder()
    if out is not None and out.exists() and not out.is_dir():
        raise ValueError(f"out must be a folder; {out} is a file")
    points, minutes = int(numbers["points"]), int(numbers["minutes"])
    return Options(device, out, points, minutes, "--quick" in flags, "--small" in flags)


@dataclass
class Check:
    """The sections of a full check, which share what they measure.

    Attributes:
        options: what is asked for.
        start: when timings began, of `time.monotonic`.
        top: ceilings of the device, once they are measured.
        found: what was timed.
        networks: rows of `benchmarks.networks`.
    """

    options: Options
    start: float = field(default_factory=time.monotonic)
    top: Ceilings | None = None
    found: Found = field(default_factory=Found)
    networks: list[dict[str, Any]] = field(default_factory=list)

    def left(self) -> float:
        """Seconds that are left for timings."""
        return max(0.0, self.start + 60.0 * self.options.minutes - time.monotonic())

    def parts(self) -> Iterator[tuple[str, Callable[[], Section]]]:
        """Titles and makers in order. What can break the device comes last of what is tested."""
        device = self.options.device
        if self.options.small:
            yield "Parity with float64", lambda: parity_section(check_parity(device, SMALL_SCENES))
            return
        repeated = 5000 if device.type == "cpu" else self.options.points
        yield "Served by", served_section
        yield "Parity with float64", lambda: parity_section(check_parity(device, SCENES))
        yield "Beyond 2^31", self.far
        yield "Determinism", lambda: determinism_section(device, repeated)
        yield "Ceilings", self.ceilings
        yield "Kernels", self.kernels
        yield "Rivals", lambda: rival_section(self.found.duels)
        yield NETWORKS, self.whole_networks
        yield "Targets", self.targets
        yield SANITIZER, self.sanitizer
        yield "Errors", lambda: errors_section(device)

    def far(self) -> Section:
        """Features of more than 2^31 numbers, where they fit."""
        if self.options.quick or not fits(self.options.device):
            why = "left out by --quick" if self.options.quick else "needs a GPU with 60 GB free"
            return Section("Beyond 2^31", {"why": why}, notes=(f"Not run: {why}.",))
        section = parity_section(check_far(self.options.device))
        return Section("Beyond 2^31", section.values, section.passed, section.tables)

    def ceilings(self) -> Section:
        """Copy bandwidth and matrix rates."""
        top = self.top = measure_ceilings(self.options.device, self.options.quick)
        rows = [["copy, read + write", f"{top.copy:,.0f} GB/s"]]
        rows += [[f"matmul {name}", f"{rate:,.0f} GFLOP/s"] for name, rate in top.matmul.items()]
        values = {"copy": top.copy, "matmul": dict(top.matmul)}
        return Section("Ceilings", values, None, (Table("", ["what", "rate"], rows),))

    def kernels(self) -> Section:
        """Everything on rooms and a street."""
        if self.top is None:
            raise RuntimeError("there are no ceilings to hold kernels against")
        self.start = time.monotonic()  # what came before, and compiled, is not a timing
        plan = Plan.of(self.options.points, self.options.quick)
        if self.options.device.type == "cpu":
            plan = plan.on_cpu()
        share = 1 if missing() else 1 - NETWORK_SHARE
        deadline = time.monotonic() + share * self.left()
        time_all(plan, self.options.device, self.top, deadline, self.found)
        watch = plan.watch(self.options.device)
        clock = "CUDA events" if watch.device.type == "cuda" else "wall clock"
        protocol = (
            f"{clock}: median and quartiles of {watch.runs} runs after {watch.warmup}, three "
            "clouds in turn. A floor is the larger of useful work / measured matrix rate of the "
            "type and least bytes / measured copy rate."
        )
        return timing_section(self.found, protocol)

    def whole_networks(self) -> Section:
        """Measured by a program of the checkout."""
        options, seconds = self.options, max(20.0, 0.8 * self.left())
        if options.quick and options.device.type == "cpu":
            return network_section([], ["Left out by --quick on a CPU."])
        rows, notes = network_rows(options.device, options.points, options.quick, seconds)
        self.networks += rows
        return network_section(rows, notes)

    def targets(self) -> Section:
        """From what was measured before."""
        results = Results(self.found.rows, self.found.duels, self.networks)
        return target_section(results, self.options.device.type == "cuda")

    def sanitizer(self) -> Section:
        """In processes of their own."""
        return sanitizer_section(self.options.device, SANITIZER_SECONDS, not self.options.quick)


def served_section() -> Section:
    """What `cuda_ops.info` says."""
    header = [item.name for item in fields(cuda_ops.OpInfo) if item.name != "schema"]
    rows = [[str(getattr(row, name)) for name in header] for row in cuda_ops.info()]
    values = [dict(zip(header, row, strict=True)) for row in rows]
    return Section("Served by", values, None, (Table("", header, rows),))


def main(arguments: Sequence[str]) -> int:
    """Check the device, print the report, write it if there is somewhere to.

    Returns:
        0 if parity, determinism and errors are as they should be, whatever the times are; 1 if
        not; 2 for wrong arguments.
    """
    try:
        options = parse(arguments)
        if options.out is not None:
            options.out.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    about, sections = facts(options.device), list[Section]()
    sys.stdout.write(report.markdown(about, []))
    for title, make in Check(options).parts():
        tell(title)
        sections.append(guarded(title, make))
        sys.stdout.write("\n" + "\n".join(sections[-1].lines()))
        sys.stdout.flush()
        if options.out is not None and not options.small:
            # After each part, so that one that ends the process leaves the others.
            path = report.write(options.out, about, sections)
    tell("done")
    if options.out is not None and not options.small:
        sys.stdout.write(f"\nwritten to {path} and {path.with_suffix('.json').name}\n")
    return 0 if report.passed(sections) else 1
