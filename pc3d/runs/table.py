"""A table of runs: columns of values, and of texts for people."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

Value = str | float | int | None


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        name: in files and for `sort=`, `x=`, `y=`.
        title: heading for people; may be used like the name.
        values: what files hold and what is sorted; None where there is none.
        cells: the same for people; empty where there is nothing.
        shown: False for columns that only files hold.
        is_config: a key of the configuration.
    """

    name: str
    title: str
    values: tuple[Value, ...]
    cells: tuple[str, ...]
    shown: bool = True
    is_config: bool = False

    @property
    def is_number(self) -> bool:
        """Whether there are numbers and nothing else."""
        known = [value for value in self.values if value is not None]
        return bool(known) and all(isinstance(v, int | float) for v in known)


@dataclass(frozen=True)
class Table:
    """Columns of equal length; what belongs to the table as a whole stands below it.

    Attributes:
        columns: from left to right.
        notes: sentences.
    """

    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.columns[0].values) if self.columns else 0

    def column(self, name: str, numbers: bool = False) -> Column:
        """The column of that name or title.

        Args:
            name: its name.
            numbers: whether it must hold numbers.

        Raises:
            ValueError: there is none; the message lists what there is.
        """
        usable = [column for column in self.columns if column.is_number or not numbers]
        for column in usable:
            if name in (column.name, column.title):
                return column
        kind = "column of numbers" if numbers else "column"
        names = ", ".join(column.name for column in usable) or "none"
        raise ValueError(f"there is no {kind} {name!r}; there is {names}")

    def sorted_by(self, key: str) -> tuple[Table, list[int]]:
        """The rows sorted by a column, downwards with a minus before it; what is empty comes last.

        Returns:
            The table, and the former position of every row.

        Raises:
            ValueError: no such column.
        """
        # A column may itself begin with a minus.
        down = key.startswith("-") and key not in {c.name for c in self.columns}
        values = self.column(key[1:] if down else key).values
        known = [i for i, value in enumerate(values) if value is not None]
        numbers = {i: v for i in known if isinstance(v := values[i], int | float)}
        if len(numbers) == len(known):
            order = sorted(known, key=lambda i: numbers[i], reverse=down)
        else:
            order = sorted(known, key=lambda i: str(values[i]), reverse=down)
        order += [i for i, value in enumerate(values) if value is None]
        return self.taking(order), order

    def taking(self, order: Sequence[int]) -> Table:
        """The rows at these positions."""
        columns = [
            replace(
                column,
                values=tuple(column.values[i] for i in order),
                cells=tuple(column.cells[i] for i in order),
            )
            for column in self.columns
        ]
        return replace(self, columns=tuple(columns))


def grouped(table: Table, names: Sequence[str]) -> Table:
    """One row for all rows that are alike in some columns, with the means of the numbers.

    A column `<name> std` with the sample standard deviation, for files, follows each. Seeds are
    listed.

    Raises:
        ValueError: no such column.
    """
    keys = [table.column(name) for name in names]
    members: dict[tuple[Value, ...], list[int]] = {}
    for i in range(len(table)):
        members.setdefault(tuple(key.values[i] for key in keys), []).append(i)
    groups = list(members.values())
    columns = [
        replace(
            key,
            values=tuple(key.values[found[0]] for found in groups),
            cells=tuple(key.cells[found[0]] for found in groups),
        )
        for key in keys
    ]
    sizes = tuple(len(found) for found in groups)
    columns.append(Column("n", "n", sizes, tuple(map(str, sizes))))
    for column in table.columns:
        if column.name == "seed" and "seed" not in names:
            listed = [", ".join(dict.fromkeys(column.cells[i] for i in g)) for g in groups]
            columns.append(texts("seed", listed))
        elif column.is_number and column.name not in (*names, "n"):
            columns += _means(column, groups)
    return Table(tuple(columns), table.notes)


def _means(column: Column, groups: Sequence[Sequence[int]]) -> list[Column]:
    numbers = [[v for i in g if isinstance(v := column.values[i], int | float)] for g in groups]
    means = [fmean(found) if found else None for found in numbers]
    stds = [stdev(found) if len(found) > 1 else None for found in numbers]
    endings = ["" if std is None else f" ± {cell(std)}" for std in stds]
    cells = tuple(cell(mean) + ending for mean, ending in zip(means, endings, strict=True))
    std = files_only(f"{column.name} std", stds)
    return [replace(column, values=tuple(means), cells=cells), std]


def to_csv(table: Table) -> str:
    """All columns with their values."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.name for column in table.columns])
    for i in range(len(table)):
        values = [column.values[i] for column in table.columns]
        writer.writerow(["" if value is None else value for value in values])
    return text.getvalue()


def to_records(table: Table) -> list[dict[str, Value]]:
    """The same as a mapping for each row."""
    return [{c.name: c.values[i] for c in table.columns} for i in range(len(table))]


def to_markdown(table: Table) -> str:
    """The columns that are shown, and the notes as a list."""
    shown = [column for column in table.columns if column.shown]
    heading = " | ".join(_escaped(column.title) for column in shown)
    rule = " | ".join("---:" if column.is_number else "---" for column in shown)
    rows = [" | ".join(_escaped(c.cells[i]) for c in shown) for i in range(len(table))]
    lines = [f"| {line} |" for line in (heading, rule, *rows)]
    notes = [f"* {note}" for note in table.notes]
    return "\n".join([*lines, "", *notes]) + "\n"


def files_only(name: str, values: Sequence[Value]) -> Column:
    """A column that only files hold."""
    return Column(name, name, tuple(values), tuple(map(cell, values)), shown=False)


def texts(name: str, cells: Sequence[str]) -> Column:
    """A column of texts."""
    return Column(name, name, tuple(cells), tuple(cells))


def plain(value: object) -> Value:
    """Texts and finite numbers as they are, anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value
    return json.dumps(value, default=str)


def cell(value: Value) -> str:
    """A value for people."""
    return "" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
