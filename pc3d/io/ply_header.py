"""Headers of ply files, checked against the size of the file before anything is read."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from pc3d.io.reading import file_size

DTYPE_OF = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1",
    "short": "<i2", "int16": "<i2", "ushort": "<u2", "uint16": "<u2",
    "int": "<i4", "int32": "<i4", "uint": "<u4", "uint32": "<u4",
    "float": "<f4", "float32": "<f4", "double": "<f8", "float64": "<f8",
}  # fmt: skip
"""NumPy types of the types of ply, in a little endian file."""

ENCODINGS = ("ascii", "binary_little_endian", "binary_big_endian")
_MAX_LINE = 1 << 16
_MAX_DIGITS = 15


class Property(NamedTuple):
    """A property of an element.

    Attributes:
        name: e.g. `"x"`.
        kind: type of a value, a key of `DTYPE_OF`.
        length_kind: of a list: type of the number of values in front of them; else None.
    """

    name: str
    kind: str
    length_kind: str | None = None


class Element(NamedTuple):
    """What a header says of an element.

    Attributes:
        name: e.g. `"vertex"`.
        num_rows: number of rows.
        properties: of every row, at least one if there are rows.
    """

    name: str
    num_rows: int
    properties: list[Property]

    @property
    def dtype(self) -> np.dtype | None:
        """Of a row in a binary little endian file; None if rows differ in size."""
        if any(p.length_kind for p in self.properties):
            return None
        return np.dtype([(p.name, DTYPE_OF[p.kind]) for p in self.properties])

    def least_bytes(self, encoding: str) -> int:
        """The fewest bytes that all rows can take."""
        if encoding == "ascii":  # a digit, and what separates it from the next
            return 2 * len(self.properties) * self.num_rows
        kinds = [p.length_kind or p.kind for p in self.properties]  # a list may have no values
        return sum(np.dtype(DTYPE_OF[kind]).itemsize for kind in kinds) * self.num_rows


class Header(NamedTuple):
    """The header of a ply file.

    Attributes:
        encoding: one of `ENCODINGS`.
        elements: in the order of the file, by name.
        size: bytes of the header.
    """

    encoding: str
    elements: dict[str, Element]
    size: int


def read_header(path: str | Path) -> Header:
    """Read the header of a ply file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a ply file, a damaged header, or a file that is too small for its rows.
    """
    size = file_size(path)
    encoding = ""
    elements: dict[str, Element] = {}
    with Path(path).open("rb") as file:
        if file.readline(16).strip() != b"ply":
            raise ValueError(f"{path}: not a ply file (the first line is not 'ply')")
        while (line := file.readline(_MAX_LINE)).strip() != b"end_header":
            if not line:
                raise ValueError(f"{path}: truncated ply header, 'end_header' is missing")
            match line.decode("ascii", errors="replace").split():
                case [] | ["comment" | "obj_info", *_]:
                    continue
                case ["format", word, "1.0"] if word in ENCODINGS:
                    encoding = word
                    continue
                case ["element", name, count] if name not in elements:
                    if count.isdecimal() and len(count) <= _MAX_DIGITS:
                        elements[name] = Element(name, int(count), [])
                        continue
                case ["property", *words] if elements:
                    properties = [*elements.values()][-1].properties
                    new = _property(words)
                    if new and new.name in [p.name for p in properties]:
                        raise ValueError(f"{path}: two properties are named {new.name!r}")
                    if new:
                        properties.append(new)
                        continue
            raise ValueError(f"{path}: damaged ply header at the line {line[:80]!r}")
        header = Header(encoding, elements, file.tell())
    _check(path, header, size)
    return header


def _property(words: list[str]) -> Property | None:
    """The property that a line of a header tells of; None if it tells of none."""
    match words:
        case [kind, name] if kind in DTYPE_OF:
            return Property(name, kind)
        case ["list", length_kind, kind, name] if kind in DTYPE_OF:
            if np.dtype(DTYPE_OF.get(length_kind, "f4")).kind in "iu":
                return Property(name, kind, length_kind)
    return None


def _check(path: str | Path, header: Header, size: int) -> None:
    if not header.encoding or any(
        e.num_rows and not e.properties for e in header.elements.values()
    ):
        raise ValueError(f"{path}: the ply header has no format, or an element without properties")
    expected = header.size - (header.encoding == "ascii")  # whose last line may have no end
    expected += sum(element.least_bytes(header.encoding) for element in header.elements.values())
    if size < expected:
        rows = " and ".join(f"{e.num_rows} x {e.name}" for e in header.elements.values())
        raise ValueError(
            f"{path}: truncated: {size} bytes, but header, {rows[:400]} take at least {expected}. "
            "Copy or download the file again."
        )
