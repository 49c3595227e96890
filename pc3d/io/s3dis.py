"""Text files of S3DIS: points as `x y z r g b`, with the damage that the release is known for."""

from __future__ import annotations

import re
import warnings
from codecs import BOM_UTF8
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pc3d.io.reading import read_bytes, read_text, reading

_COLUMNS = 6
_PLAIN = b"0123456789.+-eE \t\n"
_WITH_LOST_BIT = bytes(b | 0x20 if b < 0x20 and b != ord("\t") else b for b in range(256))
_NUMBER = re.compile(rb"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


class Repair(NamedTuple):
    """A line with bytes that had lost a bit.

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

    In a few lines of the release a byte has lost one bit, 0x20, which makes digits and blanks
    control bytes. It is given back: `103.0\\x100000` is 103.000000, `-9.1\\x160` is -9.160 (as in
    the lines around it), `185\\x00187` is 185 187. No other damage is guessed at.

    Returns:
        [P, 6] float64, x, y, z in metres and r, g, b in 0..255; and the lines that were repaired.

    Raises:
        ValueError: a line that is not six numbers even so, colours outside 0..255, no points.
    """
    path = Path(path)
    content = read_bytes(path).removeprefix(BOM_UTF8).replace(b"\r\n", b"\n")
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
        new = line.rstrip(b"\r").translate(_WITH_LOST_BIT)
        if new != line.rstrip(b"\r") and _is_point(new):
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
                "file cut off? Mend the line, or copy or download the file again."
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
