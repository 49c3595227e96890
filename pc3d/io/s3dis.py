"""Text files of S3DIS: points as `x y z r g b`, with the damage that the release is known for."""

from __future__ import annotations

import re
import warnings
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pc3d.io.reading import read_bytes, read_text, reading

_COLUMNS = 6
_PLAIN = b"0123456789.+-eE \t\n"
_CONTROL = re.compile(rb"[^\x20-\x7e]")
_LOST_BIT = 0x20
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class Repair(NamedTuple):
    """A line that held bytes which no number has.

    Attributes:
        path: the file.
        line: number of the line, from 1.
        old: the line as it stands in the file, its odd bytes escaped.
        new: as it was read.
    """

    path: Path
    line: int
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.old} -> {self.new}"


def read_points(path: str | Path) -> tuple[NDArray[np.float64], list[Repair]]:
    """Read a file of points.

    The damage that is known of the release are bytes that lost one bit, 0x20: a digit or a blank
    became a control byte. It is given back: `103.0\\x100000` is 103.000000, `-9.1\\x160` is -9.160,
    `185\\x00187` is 185 187. Where that does not make six numbers, such bytes are dropped, or else
    read as blanks.

    Returns:
        [P, 6] float64, x, y, z in metres and r, g, b in 0..255; and the lines that were repaired.

    Raises:
        ValueError: a line that is not six numbers even so, colours outside 0..255, no points.
    """
    path = Path(path)
    content = read_bytes(path).replace(b"\r\n", b"\n")
    repairs: list[Repair] = []
    if content.translate(None, _PLAIN):
        content, repairs = _repaired(path, content)
    points = _parsed(path, content)
    wrong = ~np.isfinite(points).all(axis=1)
    wrong |= ((points[:, 3:] < 0) | (points[:, 3:] > 255)).any(axis=1)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"{path}: point {row + 1} is {points[row].tolist()}; expected x y z in metres and "
            "colours 0..255. Is a blank missing between two numbers?"
        )
    return points, repairs


def count_points(path: str | Path) -> int:
    """Number of lines that are not blank."""
    with reading(path), Path(path).open("rb") as file:
        return sum(1 for line in file if line.strip())


def _repaired(path: Path, content: bytes) -> tuple[bytes, list[Repair]]:
    lines = content.split(b"\n")
    repairs = []
    for index, line in enumerate(lines):
        if not _CONTROL.search(line.rstrip(b"\r").replace(b"\t", b" ")):
            continue
        candidates = (
            _CONTROL.sub(lambda match: bytes([match[0][0] | _LOST_BIT]), line),
            _CONTROL.sub(b"", line),
            _CONTROL.sub(b" ", line),
        )
        new = next((c for c in candidates if _is_point(c)), None)
        if new is not None:
            lines[index] = new
            repairs.append(Repair(path, index + 1, _shown(line), _shown(new)))
    return b"\n".join(lines), repairs


def _parsed(path: Path, content: bytes) -> NDArray[np.float64]:
    """[P, 6] numbers; every line holds six, or is blank."""
    counts = _words_per_line(content)
    if not counts.any():
        raise ValueError(f"{path}: the file has no points")
    if np.isin(counts, (0, _COLUMNS)).all():
        with warnings.catch_warnings(), suppress(ValueError, DeprecationWarning):
            warnings.simplefilter("error", DeprecationWarning)  # NumPy's word for what is no number
            return np.fromstring(content, sep=" ").reshape(-1, _COLUMNS)
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip() and not _is_point(line):
            raise ValueError(
                f"{path}:{number}: expected six numbers, x y z r g b; got {_shown(line)!r}. Is the "
                "file cut off? Copy or download it again."
            )
    raise ValueError(f"{path}: not lines of six numbers, x y z r g b")


def _words_per_line(content: bytes) -> NDArray[np.int64]:
    characters = np.frombuffer(content, dtype=np.uint8)
    word = characters > ord(" ")
    starts = np.flatnonzero(word[1:] & ~word[:-1]) + 1
    if len(word) and word[0]:
        starts = np.insert(starts, 0, 0)
    ends = np.append(np.flatnonzero(characters == ord("\n")), len(characters))
    return np.diff(np.searchsorted(starts, ends), prepend=0)


def _is_point(line: bytes) -> bool:
    words = line.split()
    return len(words) == _COLUMNS and all(_NUMBER.fullmatch(word) for word in words)


def _shown(line: bytes) -> str:
    return line[:120].decode("ascii", errors="backslashreplace").encode("unicode_escape").decode()


def read_alignment_angles(path: str | Path) -> dict[str, float]:
    """Angle of every room in degrees, from `Area_1_alignmentAngle.txt`.

    Raises:
        ValueError: a line that is neither a comment nor a room and a number.
    """
    angles = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            room, angle = words
            angles[room] = float(angle)
            if not isfinite(angles[room]):
                raise ValueError
        except ValueError:
            raise ValueError(
                f"{path}:{number}: expected a room and its angle in degrees; got {line[:120]!r}"
            ) from None
    return angles
