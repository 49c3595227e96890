"""Runs as a web page: their table, their training curves, and a Pareto plot of two columns.

The page is one file without references to anything outside it, like that of a scene.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from pc3d.runs.grouping import Row
from pc3d.runs.pareto import front
from pc3d.runs.table import Table
from pc3d.utils.colors import distinct_colors
from pc3d.utils.files import write_text

_LOSS = "train/loss_epoch"
_MAX_POINTS = 500
"""Of a curve; of more epochs evenly spaced ones are drawn, and the last."""


@dataclass(frozen=True)
class Curves:
    """What runs logged, epoch by epoch.

    Attributes:
        runs: of each its `name`, the position of its `row`, and `columns`: of every logged number
            the epochs and the values.
        shown: the columns that are drawn first, left and right.
    """

    runs: list[dict[str, Any]]
    shown: tuple[str, str]

    @property
    def names(self) -> list[str]:
        """The columns of all runs."""
        return sorted({name for run in self.runs for name in run["columns"]})


@dataclass(frozen=True)
class Plot:
    """A Pareto plot.

    Attributes:
        x, y: names of the columns.
        points: of each its `label`, `row`, `x`, `y` and `std` of y, which may be None.
        front: positions of points that no other one beats, by rising x.
        left_out: rows that are not drawn.
    """

    x: str
    y: str
    points: list[dict[str, Any]]
    front: list[int]
    left_out: int


def curves_of(rows: Sequence[Row], metric: str) -> Curves:
    """The curves of all runs of a table, in the order of its rows.

    Args:
        rows: of the table.
        metric: drawn on the left, if it was logged; else the first logged score is.
    """
    runs: list[dict[str, Any]] = []
    for position, row in enumerate(rows):
        for name, run in zip(row.names, row.runs, strict=True):
            columns: dict[str, tuple[list[int], list[float | None]]] = {}
            for epoch, values in run.history.items():
                for column, value in values.items():
                    # What is logged at every step has too many values for a page.
                    if column in ("epoch", "step") or column.endswith("_step"):
                        continue
                    epochs, drawn = columns.setdefault(column, ([], []))
                    epochs.append(epoch)
                    drawn.append(value if math.isfinite(value) else None)
            thin = {key: (_thinned(x), _thinned(y)) for key, (x, y) in columns.items()}
            runs.append({"name": name, "row": position, "columns": thin})
    known = {name for run in runs for name in run["columns"]}
    scores = [metric, "val/miou_point", *sorted(known - {_LOSS})]
    left = next((name for name in scores if name in known), _LOSS)
    return Curves(runs, (left, _LOSS if _LOSS in known else left))


def _thinned(values: list[Any]) -> list[Any]:
    step = max(1, math.ceil(len(values) / _MAX_POINTS))
    return values[::step] + (values[-1:] if (len(values) - 1) % step else [])


def plot_of(table: Table, x: str, y: str, labels: Sequence[str], usable: Sequence[bool]) -> Plot:
    """The Pareto plot of two columns of a table.

    Args:
        table: of runs, or of a file.
        x: name of the column of costs, which should be low.
        y: of what should be high. A column with the standard deviation of it is drawn, too.
        labels: names of the rows.
        usable: for each row, whether it may be drawn: what has not ended has not cost all yet.

    Raises:
        ValueError: no such columns, or columns without numbers.
    """
    costs, gains = table.column(x, numbers=True), table.column(y, numbers=True)
    spread = [column.values for column in table.columns if column.name == f"{gains.name} std"]
    points: list[dict[str, Any]] = []
    for i in range(len(table)):
        cost, gain = costs.values[i], gains.values[i]
        if usable[i] and cost is not None and gain is not None:
            std = spread[0][i] if spread else None
            points.append({"label": labels[i], "row": i, "x": cost, "y": gain, "std": std})
    found = front([p["x"] for p in points], [p["y"] for p in points])
    return Plot(costs.name, gains.name, points, found, len(table) - len(points))


def write_runs_page(
    path: str | Path,
    title: str,
    table: Table,
    *,
    curves: Curves | None = None,
    plot: Plot | None = None,
    labels: Sequence[str] = (),
    problems: Sequence[str] = (),
) -> None:
    """Write a self-contained page with the table and, where they are given, curves and a plot.

    Args:
        path: the file to write (`.html`), atomically.
        title: heading.
        table: sorted by a click on a heading.
        curves: of the runs of the table.
        plot: of its rows.
        labels: of its rows; those with the same have one colour. None: all have their own.
        problems: what could not be read, said above the table.
    """
    shown = [column for column in table.columns if column.shown]
    page = {
        "title": title,
        "problems": list(problems),
        "notes": list(table.notes),
        "columns": [
            {
                "title": column.title,
                "cells": column.cells,
                "values": column.values,
                "number": column.is_number,
            }
            for column in shown
        ],
        "colors": _colors(labels or range(len(table))),
        "curves": None if curves is None else {**vars(curves), "names": curves.names},
        "plot": None if plot is None else vars(plot),
    }
    template = files("visualize").joinpath("runs.html").read_text(encoding="utf-8")
    before, rest = template.split("/*PLOTLY*/")
    between, after = rest.split("/*PAGE*/null")
    # "<" would allow a name to close the script element.
    data = json.dumps(page, allow_nan=False).replace("<", "\\u003c")
    write_text(Path(path).expanduser(), "".join((before, get_plotlyjs(), between, data, after)))


def _colors(labels: Sequence[object]) -> list[str]:
    """A colour for each row, as CSS."""
    bright = (240, 228, 66)  # yellow, which is lost on white
    usable = (rgb for rgb in distinct_colors() if rgb != bright)
    colors = dict(zip(dict.fromkeys(labels), usable, strict=False))
    return ["#{:02x}{:02x}{:02x}".format(*colors[label]) for label in labels]
