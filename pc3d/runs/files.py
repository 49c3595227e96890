"""Tables from files: what other programs measured."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pc3d.runs.table import Column, Table, Value, cell, plain


def read_table(path: Path) -> Table:
    """Any table from a CSV file with a header, or from a file with a JSON object in each line.

    Objects within objects become columns with dotted names.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a table; the file and the line are named.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if path.suffix not in (".csv", ".jsonl"):
        raise ValueError(f"table={path} must end in .csv or .jsonl")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    rows = _csv_rows(text, path) if path.suffix == ".csv" else _json_rows(text, path)
    if not rows:
        raise ValueError(f"{path} has no rows")
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = []
    for name in names:
        values = tuple(row.get(name) for row in rows)
        columns.append(Column(name, name, values, tuple(map(cell, values))))
    return Table(tuple(columns))


def _csv_rows(text: str, path: Path) -> list[dict[str, Value]]:
    reader = csv.DictReader(io.StringIO(text))
    rows: list[dict[str, Value]] = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(f"{path}:{reader.line_num}: other cells than the header has")
            rows.append({name: _number_or_text(value) for name, value in row.items()})
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num} is damaged: {error}") from error
    return rows


def _number_or_text(text: str) -> Value:
    if text == "":
        return None
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return None
    return int(text) if text.lstrip("+-").isdecimal() else number


def _json_rows(text: str, path: Path) -> list[dict[str, Value]]:
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}:{number} is damaged: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}:{number}: expected an object, got {line[:40]}")
        rows.append(dict(_entries(row, "")))
    return rows


def _entries(row: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Value]]:
    for key, value in row.items():
        if isinstance(value, dict):
            yield from _entries(value, f"{prefix}{key}.")
        elif isinstance(value, float) and not math.isfinite(value):
            yield f"{prefix}{key}", None
        else:
            yield f"{prefix}{key}", None if value is None else plain(value)
