"""Rows of numbers in text, parsed by NumPy in blocks; a bad row is shown in the error."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_BLOCK = 50_000
COMMENT = "#"


def only_rows(lines: Iterable[str]) -> Iterator[str]:
    """Lines that are neither empty nor comments."""
    for line in lines:
        start = line.lstrip()
        if start and start[0] != COMMENT:
            yield line


class RowFormat(NamedTuple):
    """How a row of numbers is written.

    Attributes:
        dtype: of a number, or of a row with named fields.
        width: numbers that are read of a row; not needed if rows have named fields.
        delimiter: between numbers; None for any white space.
        used: columns to read; None for all, and none else may be there.
    """

    dtype: np.dtype
    width: int = 0
    delimiter: str | None = None
    used: Sequence[int] | None = None


def parse_rows(
    path: Path, lines: Iterable[str], num_rows: int, form: RowFormat, done: int = 0
) -> Iterator[NDArray[Any]]:
    """Parse lines of text, some at a time.

    Args:
        path: the file, for errors.
        lines: as `only_rows` gives them; those behind `num_rows` are not touched.
        num_rows: how many to read.
        form: how they are written.
        done: rows that were read before.

    Yields:
        [n, width] arrays, or [n] if rows have named fields.

    Raises:
        ValueError: a row is missing, is no row of numbers, or has another number of columns.
    """
    lines, end = iter(lines), done + num_rows
    while done < end:
        block = list(islice(lines, min(_BLOCK, end - done)))
        if not block:
            raise ValueError(
                f"{path}: truncated: expected {end} rows of points, found {done}. Copy or download "
                "the file again."
            )
        yield _parse(path, block, done, form)
        done += len(block)


def _parse(path: Path, block: Sequence[str], done: int, form: RowFormat) -> NDArray[Any]:
    try:
        return _load(block, form)
    except ValueError:
        first = bisect_left(range(len(block)), True, key=lambda i: _fails(block[: i + 1], form))
    try:
        return _load(block[: first + 1], form)
    except ValueError as error:
        raise ValueError(
            f"{path}: row {done + first + 1} of the points is no row of numbers like the others: "
            f"{block[first].strip()[:200]!r} ({str(error).partition(';')[0]})"
        ) from error


def _fails(block: Sequence[str], form: RowFormat) -> bool:
    try:
        _load(block, form)
    except ValueError:
        return True
    return False


def _load(block: Sequence[str], form: RowFormat) -> NDArray[Any]:
    rows: NDArray[Any] = np.loadtxt(
        block,
        form.dtype,
        comments=COMMENT,
        delimiter=form.delimiter,
        usecols=form.used,
        ndmin=1 if form.dtype.names else 2,
    )
    if rows.ndim == 2 and rows.shape[1] != form.width:
        raise ValueError(f"{rows.shape[1]} columns, expected {form.width}")
    return rows
