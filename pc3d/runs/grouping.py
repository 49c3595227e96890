"""Runs that differ in nothing but the seed, and what they score."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from pc3d.runs.config import differing, identities
from pc3d.runs.reading import Run
from pc3d.runs.results import TestResult

VALIDATION = (
    "validation: whole scenes, every original point, one pass, at the epoch that best.ckpt is of"
)


@dataclass(frozen=True)
class Score:
    """The value of a metric of one run, None where it has none.

    Attributes:
        value: finite.
        protocol: what it was measured with, in words.
        key: the same for scores that may be averaged; empty where there is no value.
    """

    value: float | None = None
    protocol: str = ""
    key: str = ""


@dataclass(frozen=True)
class Row:
    """One run, or several that differ in nothing but the seed.

    Attributes:
        runs: at least one.
        names: of the runs.
        config: what is other than in other rows, by dotted key.
        scores: of the metric, for each run; all have a value, or none has.
    """

    runs: tuple[Run, ...]
    names: tuple[str, ...]
    config: Mapping[str, Any]
    scores: tuple[Score, ...]

    @property
    def values(self) -> list[float]:
        return [score.value for score in self.scores if score.value is not None]

    @property
    def mean(self) -> float | None:
        return fmean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """The sample standard deviation of at least two values."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def protocol(self) -> str:
        return self.scores[0].protocol

    def known(self, value: Callable[[Run], float | None]) -> list[float]:
        """The values of the runs that have one."""
        found = [value(run) for run in self.runs]
        return [number for number in found if number is not None]


def short_names(folders: Sequence[Path]) -> list[str]:
    """Of every folder the shortest end of its path that no other one has."""
    parts = [folder.absolute().parts for folder in folders]
    names = []
    for own in parts:
        length = 1
        while length < len(own) and sum(other[-length:] == own[-length:] for other in parts) > 1:
            length += 1
        names.append("/".join(own[-length:]))
    return names


def known_metrics(runs: Sequence[Run]) -> list[str]:
    """Names of all numbers that runs logged or were tested for."""
    logged = {column for run in runs for row in run.history.values() for column in row}
    tested = {test.metric for run in runs for test in run.tests}
    return sorted(logged - {"epoch", "step"} | tested)


def measure(runs: Sequence[Run], metric: str) -> tuple[list[Score], list[str]]:
    """The value of a metric for each run, and what should be known about them.

    What was logged is taken from the epoch of `best.ckpt`; what no run logged, from its tests.

    Raises:
        ValueError: no run has the metric; the message lists what there is.
    """
    if any(metric in row for run in runs for row in run.history.values()):
        return [_logged(run, metric) for run in runs], []
    if not any(test.metric == metric for run in runs for test in run.tests):
        known = ", ".join(known_metrics(runs)) or "nothing: no training came to its first value"
        raise ValueError(f"no run has metric={metric}; there is {known}")
    notes: list[str] = []
    return [_tested(run, metric, notes) for run in runs], notes


def _logged(run: Run, metric: str) -> Score:
    value = None if run.best_epoch is None else run.history[run.best_epoch].get(metric)
    if value is None or not math.isfinite(value):
        return Score()
    return Score(value, VALIDATION if metric.startswith("val/") else "", "logged")


def _tested(run: Run, metric: str, notes: list[str]) -> Score:
    tests = [test for test in run.tests if test.metric == metric and test.miou is not None]
    if not tests:
        return Score()
    best = [test for test in tests if Path(str(test.content.get("checkpoint"))).name == "best.ckpt"]
    test = (best or tests)[-1]
    if len(tests) > 1:
        notes.append(
            f"{run.folder} has {len(tests)} tests of {metric}; the newest of best.ckpt is shown: "
            f"{os.path.relpath(test.path, run.folder)}"
        )
    deviations = test.deviations(run.config)
    key = json.dumps([test.protocol, deviations], sort_keys=True, default=str)
    return Score(test.miou, protocol_words(test, deviations), key)


def protocol_words(test: TestResult, deviations: Mapping[str, Any]) -> str:
    """Views, scenes and label space of a test, and what was other than in training."""
    content = test.content
    scenes = content["scenes"]
    named = f"{scenes[0]} to {scenes[-1]}" if len(scenes) > 1 else "".join(scenes)
    others = "".join(f"; {key} {value}" for key, value in deviations.items())
    return (
        f"{content.get('protocol', test.metric)}; split {test.split} with {len(scenes)} scenes "
        f"({named}), {content['label_space']}{others}"
    )


def group_runs(
    runs: Sequence[Run], scores: Sequence[Score], by_seed: bool
) -> tuple[list[Row], list[str]]:
    """The rows of a table, in the order of the runs, and what should be known about them.

    One row holds finished runs of the same configuration but for the seed, that were continued in
    the same way and have a score under the same protocol, or all none.

    Args:
        runs: of `read_runs`.
        scores: of `measure`.
        by_seed: False for a row per run.
    """
    names = short_names([run.folder for run in runs])
    same = identities([run.config for run in runs])
    configs = differing([run.config for run in runs], [run.choices for run in runs])
    members: dict[tuple[Any, ...], list[int]] = {}
    for i, (run, score) in enumerate(zip(runs, scores, strict=True)):
        alone = not by_seed or run.training.state != "finished" or run.seed is None
        key = (same[i], run.changes, score.key, names[i] if alone else "")
        members.setdefault(key, []).append(i)
    rows = [
        Row(
            tuple(runs[i] for i in found),
            tuple(names[i] for i in found),
            configs[found[0]],
            tuple(scores[i] for i in found),
        )
        for found in members.values()
    ]
    return rows, [note for row in rows for note in _doubts(row)]


def _doubts(row: Row) -> list[str]:
    """What speaks against the mean of a row."""
    found = []
    name = f"{row.names[0]} and {len(row.names) - 1} more"
    twice = [str(seed) for seed, n in Counter(run.seed for run in row.runs).items() if n > 1]
    if twice:
        found.append(
            f"{name}: seed {', '.join(twice)} stands there more than once; a repetition is no "
            "further seed, and the deviation is too small"
        )
    commits = sorted({run.commit for run in row.runs})
    if len(commits) > 1:
        found.append(f"{name}: of different commits, {', '.join(c or 'unknown' for c in commits)}")
    return found
