"""What a training logged, epoch by epoch, from the CSV files of its run folder."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

Epochs = Mapping[int, Mapping[str, float]]
"""Of every epoch the last value of every column, NaN included; without empty cells."""

MIOU = "val/miou_point"


def current_name(column: str) -> str:
    """The name of a column today; older runs have another one (`docs/evaluation.md`)."""
    return MIOU if column == "val/miou" else column


def read_history(folder: Path) -> Epochs:
    """The epochs that a run logged, in order; empty if it logged none.

    A run that was continued has a file for each start. An epoch that was repeated counts as it was
    the last time.

    Raises:
        ValueError: a damaged file; it is named, with the line.
    """
    versions = sorted(folder.glob("csv/version_*/metrics.csv"), key=_version)
    epochs: dict[int, dict[str, float]] = {}
    for path in versions:
        found = _read(path)
        first = min(found, default=math.inf)
        epochs = {epoch: row for epoch, row in epochs.items() if epoch < first} | found
    return epochs


def best_epoch(epochs: Epochs, monitor: str, mode: str) -> int | None:
    """The epoch that `best.ckpt` is of, or None if the monitored value was never logged.

    Args:
        epochs: of `read_history`.
        monitor: the column that picks it.
        mode: `"max"` or `"min"`.
    """
    sign = -1 if mode == "min" else 1
    values = {e: sign * row[monitor] for e, row in epochs.items() if monitor in row}
    values = {epoch: value for epoch, value in values.items() if not math.isnan(value)}
    return max(values, key=lambda epoch: values[epoch], default=None)  # the first of equal ones


def num_steps(epochs: Epochs) -> int | None:
    """Steps that were made until the last line was logged."""
    steps = [row["step"] for row in epochs.values() if "step" in row]
    return int(max(steps)) + 1 if steps else None


def _version(path: Path) -> tuple[int, str]:
    number = path.parent.name.removeprefix("version_")
    return (int(number) if number.isdecimal() else -1, number)


def _read(path: Path) -> dict[int, dict[str, float]]:
    epochs: dict[int, dict[str, float]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if "epoch" not in (reader.fieldnames or ()):
                raise ValueError("line 1: there is no column epoch")
            for row in reader:
                place = f"line {reader.line_num}"
                if None in row:
                    raise ValueError(f"{place} has more cells than there are columns")
                values = {current_name(k): _number(v, k, place) for k, v in row.items() if v}
                if "epoch" in values:
                    epochs.setdefault(int(values["epoch"]), {}).update(values)
    except (csv.Error, ValueError) as error:  # UnicodeDecodeError is a ValueError
        raise ValueError(f"{path} is damaged: {error}") from error
    return epochs


def _number(text: str, column: str, place: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{place}, column {column}: {text!r} is no number") from None
