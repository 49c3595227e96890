"""Points in text: a row of numbers for each, with or without a line of names before them.

Numbers stand between white space, commas or semicolons. Names stand in the first line, also in one
that starts with # or //; a line with nothing but a number is the number of points, as in .pts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from pc3d.io.clouds.file import CHUNK, Chunk, check_names
from pc3d.io.clouds.names import SKIP, name_columns, split_coordinates
from pc3d.io.clouds.rows import RowFormat, only_rows, parse_rows
from pc3d.io.reading import reading

_COMMENT = re.compile(r"#|//")
_MAX_LINE = 1 << 16
_MAX_PREAMBLE = 1000


@dataclass(frozen=True)
class TextCloud:
    """An open file of text.

    Attributes:
        path: the file.
        num_points: P.
        xyz: which of the columns are the coordinates.
        places: which are the others, by name.
        start: lines before the first point.
        form: how a point is written.
        remarks: as of `CloudFile`.
    """

    path: Path
    num_points: int
    xyz: tuple[int, int, int]
    places: dict[str, int]
    start: int
    form: RowFormat
    remarks: tuple[str, ...]

    @property
    def columns(self) -> dict[str, np.dtype]:
        return dict.fromkeys(self.places, np.dtype(np.float64))

    def chunks(self, names: Sequence[str] = (), size: int = CHUNK) -> Iterator[Chunk]:
        check_names(self, names)
        with _open(self.path) as file:
            lines = only_rows(islice(file, self.start, None))
            for start in range(0, self.num_points, size):
                num = min(size, self.num_points - start)
                rows = np.concatenate([*parse_rows(self.path, lines, num, self.form, start)])
                columns = {name: rows[:, self.places[name]].copy() for name in names}
                yield Chunk(rows[:, self.xyz], columns)


class _Preamble(NamedTuple):
    """What stands before the points.

    Attributes:
        num_lines: lines of it.
        names: of the columns; () if there are none.
        num_points: what the file says; None if it says nothing.
        first_row: the first point.
    """

    num_lines: int
    names: list[str]
    num_points: int | None
    first_row: str


def open_text(path: Path, columns: Sequence[str] = ()) -> TextCloud:
    """Open a file of text.

    Args:
        path: the file.
        columns: names of the columns, in place of those in the file; `_` leaves one out, and only
            such a column may hold text.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no text, no rows of numbers, no coordinates, columns that nobody named, or
            another number of points than the file says.
    """
    with _open(path) as file:
        preamble = _read_preamble(path, file, columns)
    row = preamble.first_row
    values = _split(row)
    names = tuple(columns or preamble.names)
    remarks: tuple[str, ...] = ()
    if not preamble.names or columns:
        names, remarks = name_columns(path, len(values), columns, row)
    elif len(names) != len(values):
        raise ValueError(
            f"{path}: {len(names)} names ({', '.join(names)[:200]}), but {len(values)} columns in "
            f"the first row: {row[:200]!r}. Say what the columns are: names=[x,y,z,...]."
        )
    kept = tuple(i for i, name in enumerate(names) if not columns or name != SKIP)
    xyz, places = split_coordinates(path, [names[i] for i in kept])
    has_all = len(kept) == len(values) and not row.endswith((",", ";"))
    form = RowFormat(np.dtype(np.float64), len(kept), _delimiter(row), None if has_all else kept)
    num_points = _count_rows(path, preamble)
    return TextCloud(path, num_points, xyz, places, preamble.num_lines, form, remarks)


def _open(path: Path) -> IO[str]:
    with reading(path):
        return path.open(encoding="utf-8-sig", errors="replace", newline="\n")


def _read_preamble(path: Path, file: IO[str], columns: Sequence[str]) -> _Preamble:
    head = comment = ""
    num_points = None
    for number in range(_MAX_PREAMBLE):
        with reading(path):
            line = file.readline(_MAX_LINE)
        text = line.strip()
        if not line:
            break
        if "\0" in line or len(line) == _MAX_LINE:
            raise ValueError(f"{path}: no text of short lines (UTF-8); export the file again")
        if not text:
            continue
        if mark := _COMMENT.match(text):
            comment = text[mark.end() :].strip()
        elif text.isdecimal() and num_points is None:
            num_points = int(text)
        elif _is_row(values := _split(text), columns):
            names = _split_names(head or comment, len(values))
            if not head and (len(names) != len(values) or any(map(_is_number, names))):
                names = []  # a comment of another kind
            return _Preamble(number, names, num_points, text)
        elif not head:
            head = text
        else:
            raise ValueError(
                f"{path}: expected numbers in line {number + 1}, between white space, commas or "
                f"semicolons; got {text[:200]!r}. A column of text is left out by naming it "
                "_: names=[x,y,z,_]."
            )
    raise ValueError(f"{path}: no row of numbers; expected x, y, z and more for each point")


def _delimiter(text: str) -> str | None:
    return next((mark for mark in ";," if mark in text), None)


def _split(text: str) -> list[str]:
    return text.rstrip(",;").split(_delimiter(text))


def _split_names(text: str, width: int) -> list[str]:
    """Names at the marks between which there are so many, or else at the first of the marks."""
    marks = [*(mark for mark in ";,\t" if mark in text), None]
    splits = [text.rstrip(",;").split(mark) for mark in marks]
    names = next((names for names in splits if len(names) == width), splits[0])
    return [name.strip().strip("\"'").strip() for name in names]


def _is_row(values: Sequence[str], columns: Sequence[str]) -> bool:
    named = columns if len(columns) == len(values) else [""] * len(values)
    return all(_is_number(value) for value, name in zip(values, named, strict=True) if name != SKIP)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _count_rows(path: Path, preamble: _Preamble) -> int:
    with reading(path), _open(path) as file:
        found = sum(1 for _ in only_rows(islice(file, preamble.num_lines, None)))
    if preamble.num_points not in (None, found):
        raise ValueError(
            f"{path}: the file says {preamble.num_points} points, but has {found} rows. Copy or "
            "download it again, or take the number out."
        )
    return found
