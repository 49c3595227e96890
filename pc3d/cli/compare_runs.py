"""`pc3d runs compare A B`: the difference of two runs, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from pc3d.cli.report import counted
from pc3d.runs.bootstrap import CONFIDENCE, RESAMPLES, Comparison, Interval, compare
from pc3d.runs.compare import find_results, pair
from pc3d.runs.results import TestResult, scene_counts
from pc3d.utils.files import write_json

FEW_SCENES = 5
SEED = 0
_MAX_SCENES = 5
_PERCENT = f"{100 * CONFIDENCE:.0f} %"


def compare_runs(runs: Sequence[str], values: Mapping[str, str], console: Console) -> None:
    """Weigh two runs and print what comes out.

    Args:
        runs: A and B.
        values: split, metric, folder, out.
        console: for the tables.

    Raises:
        ValueError: not two runs, or tests that cannot be compared; says why.
        FileNotFoundError: no such run or test.
    """
    if len(runs) != 2:
        raise ValueError(
            f"name two runs: pc3d runs compare A B; got {len(runs)}: {', '.join(runs) or 'none'}"
        )
    out = Path(values["out"]).expanduser()
    if values["out"] and out.suffix != ".json":
        raise ValueError(f"out={out} must end in .json")
    folder = Path(values["folder"]).expanduser()
    found = [find_results(run, folder, values["split"], values["metric"]) for run in runs]
    ours, theirs = pair(*found)
    a, b = scene_counts(ours), scene_counts(theirs)
    b = b[[list(theirs.content["scenes"]).index(scene) for scene in ours.content["scenes"]]]
    try:
        comparison = compare(a, b, RESAMPLES, SEED)
    except ValueError as error:
        raise ValueError(f"{ours.path} and {theirs.path}: {error}") from error
    _print(comparison, ours, theirs, console)
    if values["out"]:
        write_json(out, summary(comparison, ours, theirs))
        console.print(f"written to {out}", soft_wrap=True)


def summary(comparison: Comparison, ours: TestResult, theirs: TestResult) -> dict[str, Any]:
    """A comparison as plain values for JSON; what is undefined is None."""
    names = ours.class_names
    classes = [
        {"name": n, "a": _number(x), "b": _number(y), **_plain(interval)}
        for n, x, y, interval in zip(names, *comparison.ious, comparison.classes, strict=True)
    ]
    scenes = zip(ours.content["scenes"], comparison.scenes, strict=True)
    return {
        "a": str(ours.path),
        "b": str(theirs.path),
        "metric": ours.metric,
        "protocol": ours.content.get("protocol"),
        "miou_a": comparison.mious[0],
        "miou_b": comparison.mious[1],
        **_plain(comparison.miou),
        "above": comparison.above,
        "equal": comparison.equal,
        "resamples": RESAMPLES,
        "seed": SEED,
        "num_scenes": comparison.num_scenes,
        "classes": classes,
        "scenes": {scene: _number(value) for scene, value in scenes},
    }


def _plain(interval: Interval) -> dict[str, float | None]:
    return {key: _number(value) for key, value in asdict(interval).items()}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _print(comparison: Comparison, ours: TestResult, theirs: TestResult, console: Console) -> None:
    console.print(f"A {ours.path}\nB {theirs.path}", soft_wrap=True)
    console.print(_class_table(comparison, ours))
    for line in lines(comparison, ours, theirs):
        console.print(line, soft_wrap=True)


def lines(comparison: Comparison, ours: TestResult, theirs: TestResult) -> list[str]:
    """What a comparison found, in words."""
    a, b = comparison.mious
    found = comparison.miou
    text = [
        f"{ours.metric}: A {100 * a:.2f} %, B {100 * b:.2f} %, A - B {_points(found.difference)} "
        f"points, {_PERCENT} interval {_points(found.low)} to {_points(found.high)}",
        f"A is above B in {100 * comparison.above:.1f} % of {RESAMPLES:,} resamples of "
        f"{counted(comparison.num_scenes, 'scene')}"
        + (f", equal in {100 * comparison.equal:.1f} %" if comparison.equal else ""),
    ]
    if comparison.num_scenes < FEW_SCENES:
        text.append(
            f"an interval of {counted(comparison.num_scenes, 'scene')} means little: test on more"
        )
    text.append(
        "the interval says what other scenes would change, not what another seed of the training "
        "would"
    )
    differing = [
        f"{key} {x} and {theirs.content['settings'].get(key)}"
        for key, x in ours.content["settings"].items()
        if x != theirs.content["settings"].get(key)
    ]
    if differing:
        text.append(f"the networks see the scenes differently: {'; '.join(differing)}")
    text.append(f"protocol: {ours.content.get('protocol', ours.metric)}")
    return text + _scene_lines(comparison, ours.content["scenes"])


def _scene_lines(comparison: Comparison, scenes: Sequence[str]) -> list[str]:
    """The scenes where the mIoU differs most, each as A - B."""
    known = [i for i in range(len(scenes)) if not np.isnan(comparison.scenes[i])]
    order = sorted(known, key=lambda i: -abs(comparison.scenes[i]))[:_MAX_SCENES]
    rows = [f"  {scenes[i]} {_points(comparison.scenes[i])}" for i in order]
    return ["scenes where the mIoU differs most, A - B in points:", *rows]


def _class_table(comparison: Comparison, result: TestResult) -> Table:
    table = Table(title=f"{result.content['label_space']}, IoU in percent")
    table.add_column("class")
    for name in ("A", "B", "A - B", f"{_PERCENT} interval"):
        table.add_column(name, justify="right")
    rows = zip(result.class_names, *comparison.ious, comparison.classes, strict=True)
    for name, a, b, interval in rows:
        table.add_row(name, _percent(a), _percent(b), *_cells(interval))
    table.add_section()
    table.add_row("mean", *map(_percent, comparison.mious), *_cells(comparison.miou))
    return table


def _cells(interval: Interval) -> tuple[str, str]:
    if math.isnan(interval.difference):
        return "", ""
    ends = (interval.low, interval.high)
    spread = "" if math.isnan(interval.low) else " to ".join(map(_points, ends))
    return _points(interval.difference), spread


def _percent(value: float) -> str:
    return "absent" if math.isnan(value) else f"{100 * value:.2f}"


def _points(value: float) -> str:
    return f"{100 * value:+.2f}"
