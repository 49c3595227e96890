"""Scores for people and programs: plain values for JSON and CSV, and tables for the console."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import Tensor

from pc3d.metrics import ABSENT_POLICIES, DISTANCES, scores
from pc3d.utils.files import write_json, write_text

Result = dict[str, Any]


def summary(matrix: Tensor, class_names: Sequence[str]) -> Result:
    """The scores of a confusion matrix (of `pc3d.metrics.scores`) as plain values.

    What is undefined is None.
    """
    found = scores(matrix)
    rows = zip(class_names, found.iou, found.accuracy, found.num_labels, strict=True)
    return {
        "absent_classes": ABSENT_POLICIES["nan"].mean,
        "miou": _plain(found.miou),
        "macc": _plain(found.macc),
        "oa": _plain(found.oa),
        "mious": {policy: _plain(scores(matrix, policy).miou) for policy in ABSENT_POLICIES},
        "num_labelled": int(matrix.sum()),
        "classes": [
            {"name": name, "iou": _plain(iou), "accuracy": _plain(accuracy), "points": int(points)}
            for name, iou, accuracy, points in rows
        ],
        "confusion": matrix.tolist(),
    }


def distance_summary(by_distance: Tensor, class_names: Sequence[str]) -> list[Result]:
    """The same for every bin of distance ([NUM_BINS, C, C]), without the matrices."""
    bins = []
    for (low, high), matrix in zip(pairwise(DISTANCES), by_distance, strict=True):
        found = scores(matrix)
        bins.append(
            {
                "from": low,
                "to": None if math.isinf(high) else high,
                "miou": _plain(found.miou),
                "oa": _plain(found.oa),
                "num_labelled": int(matrix.sum()),
                "iou": {n: _plain(iou) for n, iou in zip(class_names, found.iou, strict=True)},
            }
        )
    return bins


def _plain(value: Tensor | float) -> float | None:
    number = float(value)
    return None if math.isnan(number) else number


def write_result(result: Result, stem: Path) -> None:
    """Write `<stem>.json`, and `<stem>.csv` with a row per class that says what it is."""
    write_json(stem.with_name(f"{stem.name}.json"), result)
    stated = {key: result[key] for key in ("metric", "protocol")}
    text = io.StringIO()
    writer = csv.DictWriter(text, ["name", "iou", "accuracy", "points", *stated])
    writer.writeheader()
    writer.writerows({**row, **stated} for row in result["classes"])
    write_text(stem.with_name(f"{stem.name}.csv"), text.getvalue())


def print_result(result: Result, console: Console) -> None:
    """The tables of a result, and beside the number what it means."""
    if not result["num_labelled"]:
        console.print(f"{result['metric']}: the split has no labels, there is nothing to score")
    else:
        console.print(_class_table(result))
        if result.get("by_distance"):
            console.print(_distance_table(result["by_distance"]))
        console.print(
            f"mIoU {_percent(result['miou'])} %  mAcc {_percent(result['macc'])} %  "
            f"OA {_percent(result['oa'])} %"
        )
        for line in policy_lines(result):
            console.print(line, soft_wrap=True)
    console.print(f"protocol: {result['protocol']}", soft_wrap=True)
    console.print(f"mIoU: {result['absent_classes']}", soft_wrap=True)
    console.print(
        f"{counted(len(result['scenes']), 'scene')}, {counted(result['num_points'], 'point')}, "
        f"{result['num_labelled']:,} of them labelled"
    )


def counted(number: int, noun: str) -> str:
    """So many of something: `"1 scene"`, `"2,000 points"`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def policy_lines(result: Mapping[str, Any]) -> list[str]:
    """mIoU under the policies of others, where it is another number."""
    ours = result["mious"]["nan"]
    return [
        f"  {policy.name} ({policy.users}): {_percent(result['mious'][key])} %"
        for key, policy in ABSENT_POLICIES.items()
        if not math.isclose(result["mious"][key], ours, rel_tol=0, abs_tol=1e-9)
    ]


def _class_table(result: Result) -> Table:
    table = Table(title=f"{result['label_space']}, {result['metric']}, in percent")
    table.add_column("class")
    for name in ("IoU", "accuracy", "points"):
        table.add_column(name, justify="right")
    for row in result["classes"]:
        values = _percent(row["iou"]), _percent(row["accuracy"]), f"{row['points']:,}"
        table.add_row(row["name"], *values)
    table.add_section()
    table.add_row("mean", _percent(result["miou"]), _percent(result["macc"]), "")
    return table


def _distance_table(bins: Sequence[Result]) -> Table:
    table = Table(title="IoU by distance from the sensor, in percent")
    table.add_column("class")
    for part in bins:
        end = "" if part["to"] is None else f"{part['to']:.0f}"
        table.add_column(f"{part['from']:.0f}-{end} m", justify="right")
    for name in bins[0]["iou"]:
        table.add_row(name, *(_percent(part["iou"][name]) for part in bins))
    table.add_section()
    table.add_row("mean", *(_percent(part["miou"]) for part in bins))
    table.add_row("points", *(f"{part['num_labelled']:,}" for part in bins))
    return table


def _percent(value: float | None) -> str:
    return "absent" if value is None else f"{100 * value:.2f}"
