"""How many scenes a data worker makes in a second, what takes the time, and whether memory is flat.

`python -m benchmarks.data [num_workers=1,2] [epochs=3] [warmup=1] [max_batches=0]
[out=FILE.json,FILE.md] [overrides as for train.py: dataset=... augment=... dataset.voxel_size=...]`
loads the training scenes of a dataset, the generated rooms by default, with everything that the
recipe does to them, and throws the batches away. Epochs of warm-up do not count: until every worker
has met its largest scene its heap grows, which takes more of them where scenes are few.
`max_batches` cuts epochs short; what workers have ready by then is lost, so that it should be many
times their number.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from torch.utils.data import DataLoader

from benchmarks.footprint import Footprint, spread
from benchmarks.options import count
from benchmarks.report import (
    REPOSITORY,
    Cells,
    facts_table,
    machine_facts,
    markdown,
    show,
    wide_console,
    write,
)
from benchmarks.stages import Clock, clocked
from pc3d.cli.build import build_data
from pc3d.cli.config import compose_config
from pc3d.cli.errors import USER_ERRORS, message
from pc3d.data.datamodule import SegmentationDataModule
from pc3d.utils.allocator import keep_freed_memory

DEFAULTS: Mapping[str, str] = {
    "num_workers": "1,2",
    "epochs": "3",
    "warmup": "1",
    "max_batches": "0",
    "out": "",
}
"""Keys of this program; all others are overrides of the configuration."""
FLAT = 0.01
"""Largest part by which memory may differ between epochs."""


@dataclass(frozen=True)
class Options:
    """What the program is told.

    Attributes:
        num_workers: numbers of workers to load with, besides none.
        epochs: that count.
        warmup: epochs before those.
        max_batches: of an epoch; None for all.
        out: files to write, `.json` or `.md`.
        overrides: of the configuration.
    """

    num_workers: tuple[int, ...]
    epochs: int
    warmup: int
    max_batches: int | None
    out: tuple[Path, ...]
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Epoch:
    """One pass over the training scenes, and the memory right after it."""

    num_scenes: int
    num_points: int
    seconds: float
    memory: Footprint | None

    @property
    def rate(self) -> float:
        """Scenes per second."""
        return self.num_scenes / self.seconds


@dataclass(frozen=True)
class Loading:
    """The epochs of a number of workers; 0 is the process itself."""

    num_workers: int
    epochs: tuple[Epoch, ...]

    @property
    def name(self) -> str:
        return {0: "main process", 1: "1 worker"}.get(
            self.num_workers, f"{self.num_workers} workers"
        )

    @property
    def rate(self) -> float:
        """Scenes per second, the median of the epochs."""
        return median(epoch.rate for epoch in self.epochs)

    @property
    def memory(self) -> list[Footprint]:
        """After every epoch; nothing where it is unknown."""
        return [epoch.memory for epoch in self.epochs if epoch.memory is not None]


def parse(arguments: Sequence[str]) -> Options:
    """The options of a command line; ValueError for a number that is none, or a strange file."""
    values, overrides = dict(DEFAULTS), []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals and key in values:
            values[key] = value
        else:
            overrides.append(argument)
    out = tuple(Path(name) for name in values["out"].split(",") if name)
    for path in out:
        if path.suffix not in (".json", ".md"):
            raise ValueError(f"out must name .json or .md files; got {path}")
    limit = values["max_batches"]
    return Options(
        num_workers=tuple(count("num_workers", n) for n in values["num_workers"].split(",")),
        epochs=count("epochs", values["epochs"]),
        warmup=count("warmup", values["warmup"]),
        max_batches=None if limit == "0" else count("max_batches", limit),
        out=out,
        overrides=tuple(overrides),
    )


def measure(
    data: SegmentationDataModule, num_workers: int, options: Options
) -> tuple[Loading, dict[str, float]]:
    """Load the epochs; without workers, also the seconds of every stage."""
    data.num_workers = num_workers
    loader = data.train_dataloader()
    clock = Clock() if num_workers else clocked(loader)
    for number in range(options.warmup):
        load_epoch(loader, number, options.max_batches)
    clock.seconds.clear()
    counted = range(options.warmup, options.warmup + options.epochs)
    epochs = [load_epoch(loader, number, options.max_batches) for number in counted]
    return Loading(num_workers, tuple(epochs)), clock.seconds


def load_epoch(loader: DataLoader, number: int, max_batches: int | None) -> Epoch:
    """Load the batches of an epoch."""
    loader.batch_sampler.set_epoch(number)
    num_scenes = num_points = 0
    start = time.perf_counter()
    for batch in islice(loader, max_batches):
        num_scenes += batch.points.batch_size
        num_points += batch.points.num_points
    return Epoch(num_scenes, num_points, time.perf_counter() - start, Footprint.now())


def rate_table(loadings: Sequence[Loading]) -> Cells:
    """Scenes per second."""
    rows = [
        [
            loading.name,
            f"{loading.rate:.2f}",
            f"{loading.rate / max(1, loading.num_workers):.2f}",
            f"{loading.epochs[0].num_scenes:,}",
            f"{median(e.num_points / e.num_scenes for e in loading.epochs):,.0f}",
        ]
        for loading in loadings
    ]
    header = ["loading in", "scenes/s", "per process", "scenes of an epoch", "points of a scene"]
    return Cells("Scenes per second", header, rows)


def stage_table(alone: Loading, seconds: Mapping[str, float]) -> Cells:
    """The time of a scene in the main process."""
    num_scenes = sum(epoch.num_scenes for epoch in alone.epochs)
    total = sum(epoch.seconds for epoch in alone.epochs)
    parts = {**seconds, "everything else": total - sum(seconds.values()), "together": total}
    rows = [
        [name, f"{1e3 * part / num_scenes:.2f}", f"{100 * part / total:.1f} %"]
        for name, part in parts.items()
    ]
    return Cells("A scene in the main process", ["stage", "ms", "share"], rows)


def memory_table(loadings: Sequence[Loading]) -> Cells:
    """Memory after every epoch, and peaks."""
    num_epochs = len(loadings[0].epochs)
    header = ["loading in", "of", *(f"epoch {n + 1}" for n in range(num_epochs))]
    rows = []
    for loading in loadings:
        found = loading.memory
        parts = {
            "main process": [m.main for m in found],
            "workers": [m.workers for m in found],
            "together": [m.together for m in found],
        }
        shown = parts if loading.num_workers else {"main process": parts["main process"]}
        for name, amounts in shown.items():
            peak = {"main process": found[-1].main_peak, "workers": found[-1].worker_peak}.get(name)
            row = [loading.name, name, *(f"{amount:.1f}" for amount in amounts)]
            rows.append([*row, "-" if peak is None else f"{peak:.1f}"])
    return Cells("Memory after every epoch, MiB", [*header, "peak of one, with libraries"], rows)


def verdicts(loadings: Sequence[Loading]) -> list[str]:
    """Whether memory was flat."""
    lines = []
    for loading in loadings:
        if not loading.memory:
            return ["memory is not counted here: there is no /proc"]
        grown = spread([memory.together for memory in loading.memory])
        word = "flat" if grown <= FLAT else "NOT flat"
        lines.append(
            f"{loading.name}: memory is {word}: {100 * grown:.2f} % between the epochs "
            f"(limit {100 * FLAT:.0f} %)"
        )
    return lines


def values_of(
    facts: Mapping[str, Any], loadings: Sequence[Loading], seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Everything as plain values."""
    return {
        "facts": dict(facts),
        "loadings": [
            {**asdict(loading), "scenes_per_second": loading.rate} for loading in loadings
        ],
        "stages": dict(seconds),
        "notes": verdicts(loadings),
    }


def main(arguments: Sequence[str]) -> int:
    """Run from a command line of `key=value` arguments; returns the exit status."""
    console = wide_console()
    os.environ.setdefault("PC3D_DATA", str(REPOSITORY / "data"))
    keep_freed_memory()  # as training does
    try:
        options = parse(arguments)
        data = build_data(compose_config("config", options.overrides))
        data.prepare_data()
        # Workers come first, while this process is still small.
        loadings = [measure(data, n, options)[0] for n in options.num_workers]
        alone, seconds = measure(data, 0, options)
    except USER_ERRORS as error:
        console.print(message(error), soft_wrap=True)
        return 2
    loadings.append(alone)
    facts = machine_facts(f"median of {options.epochs} epochs after {options.warmup}") | {
        "overrides": list(options.overrides),
        "transforms": [type(transform).__name__ for transform in data.augment.train],
        "voxel_size": data.voxelize.voxel_size,
        "label_space": data.spec.name,
    }
    tables = [facts_table(facts), rate_table(loadings), stage_table(alone, seconds)]
    if alone.memory:
        tables.append(memory_table(loadings))
    notes = verdicts(loadings)
    show(console, tables, notes)
    write(options.out, values_of(facts, loadings, seconds), markdown(tables, notes))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
