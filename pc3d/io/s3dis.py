"""Text files of S3DIS: points as `x y z r g b`, with the damage that the release is known for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_COLUMNS = 6
_PLAIN = b"0123456789.+-eE \t\r\n"
_CONTROL = re.compile(rb"[^\x20-\x7e]")
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

    Control bytes inside a number are dropped (`103.0\\x100000` is 103.00000); where that leaves too
    few numbers on a line, they are read as blanks (`185\\x00187` is 185 187).

    Returns:
        [P, 6] float64, x, y, z in metres and r, g, b in 0..255; and the lines that were repaired.

    Raises:
        ValueError: a line that is not six numbers even so, colours outside 0..255, no points.
    """
    path = Path(path)
    content = path.read_bytes()
    repairs: list[Repair] = []
    if content.translate(None, _PLAIN):
        content, repairs = _repaired(path, content)
    counts = _words_per_line(content)
    if not counts.any():
        raise ValueError(f"{path}: the file has no points")
    values = np.fromstring(content, sep=" ")
    if not np.isin(counts, (0, _COLUMNS)).all() or values.size != counts.sum():
        _check_lines(path, content)
    points: NDArray[np.float64] = values.reshape(-1, _COLUMNS)
    wrong = ((points[:, 3:] < 0) | (points[:, 3:] > 255)).any(axis=1)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"{path}: point {row + 1} has the colour {points[row, 3:].tolist()}; expected 0..255. "
            "Is a blank missing between two numbers?"
        )
    return points, repairs


def count_points(path: str | Path) -> int:
    """Number of lines that are not blank."""
    with Path(path).open("rb") as file:
        return sum(1 for line in file if line.strip())


def _repaired(path: Path, content: bytes) -> tuple[bytes, list[Repair]]:
    lines = content.split(b"\n")
    repairs = []
    for index, line in enumerate(lines):
        line = line.rstrip(b"\r")
        if not _CONTROL.search(line.replace(b"\t", b" ")):
            continue
        candidates = (_CONTROL.sub(b"", line), _CONTROL.sub(b" ", line))
        new = next((c for c in candidates if _is_point(c)), line)
        if new is not line:
            lines[index] = new
            repairs.append(Repair(path, index + 1, _shown(line), _shown(new)))
    return b"\n".join(lines), repairs


def _words_per_line(content: bytes) -> NDArray[np.int64]:
    characters = np.frombuffer(content, dtype=np.uint8)
    blank = characters <= ord(" ")
    starts = ~blank & np.concatenate([[True], blank[:-1]])
    line = np.cumsum(characters == ord("\n"))
    return np.bincount(line[starts], minlength=1)


def _check_lines(path: Path, content: bytes) -> None:
    """Raise `ValueError` for the first line that is not six numbers."""
    for index, line in enumerate(content.split(b"\n")):
        if line.strip() and not _is_point(line):
            raise ValueError(
                f"{path}:{index + 1}: expected six numbers, x y z r g b; got {_shown(line)!r}. "
                "Is the file cut off? Copy or download it again."
            )


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
    for number, line in enumerate(Path(path).read_text(errors="replace").splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            room, angle = words
            angles[room] = float(angle)
        except ValueError:
            raise ValueError(
                f"{path}:{number}: expected a room and its angle in degrees; got {line!r}"
            ) from None
    return angles
