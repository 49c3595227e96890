"""Points in pcd files of the Point Cloud Library: ascii, binary and binary_compressed.

Not by pypcd4 1.5.1: it mixes up the values of fields with more than one in binary_compressed files,
reads no ascii rows with tabs or two blanks and no header without COUNT, and maps nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pc3d.io.clouds.file import CHUNK, ArrayCloud
from pc3d.io.clouds.lzf import decompress
from pc3d.io.clouds.names import SKIP, part_names, refuse_columns, split_coordinates
from pc3d.io.clouds.rows import RowFormat, only_rows, parse_rows
from pc3d.io.reading import file_size, reading

_KINDS = {"F": ("f", (4, 8)), "I": ("i", (1, 2, 4, 8)), "U": ("u", (1, 2, 4, 8))}
_PACKED = {"rgb": ("red", "green", "blue"), "rgba": ("red", "green", "blue", "alpha")}
_SHIFTS = {"red": 16, "green": 8, "blue": 0, "alpha": 24}
_MAX_LINE, _MAX_LINES = 1 << 16, 1000
_MAX_COUNT = 1 << 12


class _Field(NamedTuple):
    """A field: name, type of a value, values of a point."""

    name: str
    kind: np.dtype
    width: int


class _Header(NamedTuple):
    """What the header says, and its size in bytes."""

    fields: list[_Field]
    num_points: int
    encoding: str
    size: int

    @property
    def row(self) -> np.dtype:
        """Of a point, its fields named by their places."""
        fields = [(str(i), f.kind, (f.width,)) for i, f in enumerate(self.fields)]
        return np.dtype(fields)


def open_pcd(path: Path, columns: Sequence[str] = ()) -> ArrayCloud:
    """Open a pcd file; binary ones are mapped, others in memory.

    The packed colours rgb and rgba become red, green, blue and alpha, 0 to 255; a field of several
    values becomes numbered columns. Points without finite coordinates stay, and a remark says so.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no pcd file, a damaged or truncated one, or no coordinates.
    """
    refuse_columns(path, columns)
    header = _read_header(path)
    values = _READERS[header.encoding](path, header)
    found: list[tuple[str, NDArray[Any]]] = []
    for field, array in zip(header.fields, values, strict=True):
        if field.name in _PACKED and field.width == 1 and field.kind.itemsize == 4:
            found += _unpack(field, array[:, 0])
        elif field.name != SKIP:
            names = (field.name,) if field.width == 1 else part_names(field.name, field.width)
            found += zip(names, array.T, strict=True)
    (x, y, z), others = split_coordinates(path, [name for name, _ in found])
    xyz = (found[x][1], found[y][1], found[z][1])
    cloud = ArrayCloud(path, xyz, {name: found[i][1] for name, i in others.items()})
    return ArrayCloud(path, xyz, cloud.arrays, _remark_not_finite(cloud))


def _remark_not_finite(cloud: ArrayCloud) -> tuple[str, ...]:
    num = sum(int((~np.isfinite(chunk.xyz)).any(1).sum()) for chunk in cloud.chunks(size=CHUNK))
    return (f"{num} of {cloud.num_points} points have no finite coordinates",) if num else ()


def _unpack(field: _Field, packed: NDArray[Any]) -> list[tuple[str, NDArray[np.uint8]]]:
    bits = np.ascontiguousarray(packed).view(np.uint32)
    return [(n, (bits >> _SHIFTS[n]).astype(np.uint8)) for n in _PACKED[field.name]]


def _read_header(path: Path) -> _Header:
    entries: dict[str, list[str]] = {}
    with reading(path), path.open("rb") as file:
        for _ in range(_MAX_LINES):
            line = file.readline(_MAX_LINE).decode("utf-8", errors="replace")
            key, *words = line.partition("#")[0].split() or [""]
            entries[key.upper()] = words
            if not line or key.upper() == "DATA":
                break
        size = file.tell()
    if "FIELDS" not in entries or "DATA" not in entries:
        raise ValueError(f"{path}: not a pcd file (no FIELDS or no DATA in its header)")
    with reading(path, "damaged pcd header"):
        return _header(entries, size)


def _header(entries: dict[str, list[str]], size: int) -> _Header:
    names = entries["FIELDS"]
    counts = [int(n) for n in entries.get("COUNT", ["1"] * len(names))]
    kinds = [
        _kind(kind, int(size)) for kind, size in zip(entries["TYPE"], entries["SIZE"], strict=True)
    ]
    fields = [_Field(*field) for field in zip(names, kinds, counts, strict=True)]
    if "POINTS" in entries:
        num_points = int(entries["POINTS"][0])
    else:
        num_points = int(entries["WIDTH"][0]) * int(entries["HEIGHT"][0])
    encoding = entries["DATA"][0].lower()
    is_known = encoding in _READERS and num_points >= 0
    if not is_known or not all(1 <= count <= _MAX_COUNT for count in counts):
        raise ValueError(f"DATA {encoding}, {num_points} points, COUNT {counts}"[:300])
    if encoding == "binary_compressed":  # has no padding, whatever the fields say
        fields = [field for field in fields if field.name != SKIP]
    return _Header(fields, num_points, encoding, size)


def _kind(kind: str, size: int) -> np.dtype:
    letter, sizes = _KINDS[kind.upper()]
    if size not in sizes:
        raise ValueError(f"TYPE {kind} of SIZE {size}")
    return np.dtype(f"<{letter}{size}")


def _read_ascii(path: Path, header: _Header) -> list[NDArray[Any]]:
    with reading(path):
        file = path.open(encoding="utf-8", errors="replace", newline="\n")
    with file:
        file.seek(header.size)
        rows = [*parse_rows(path, only_rows(file), header.num_points, RowFormat(header.row))]
    table = np.concatenate([np.empty(0, header.row), *rows])
    return [table[name] for name in table.dtype.names or ()]


def _map_binary(path: Path, header: _Header) -> list[NDArray[Any]]:
    expected = header.size + header.num_points * header.row.itemsize
    _check_size(path, expected)
    table: NDArray[Any] = np.empty(0, header.row)
    if header.num_points:
        with reading(path):
            table = np.memmap(path, header.row, "r", header.size, (header.num_points,))
    return [table[name] for name in table.dtype.names or ()]


def _read_compressed(path: Path, header: _Header) -> list[NDArray[Any]]:
    _check_size(path, header.size + 8)
    with reading(path), path.open("rb") as file:
        file.seek(header.size)
        num_compressed = int.from_bytes(file.read(4), "little")
        num_bytes = int.from_bytes(file.read(4), "little")
        content = file.read(num_compressed)
    _check_size(path, header.size + 8 + num_compressed)
    if num_bytes != header.num_points * header.row.itemsize:
        raise ValueError(
            f"{path}: {num_bytes} bytes of compressed points, but {header.num_points} points of "
            f"{header.row.itemsize} bytes in its header. Copy or download the file again."
        )
    with reading(path):
        content = decompress(content, num_bytes)
    values, start = [], 0
    for field in header.fields:  # one after the other, not point by point
        num_values = header.num_points * field.width
        block: NDArray[Any] = np.frombuffer(content, field.kind, num_values, start)
        values.append(block.reshape(header.num_points, field.width))
        start += block.nbytes
    return values


def _check_size(path: Path, expected: int) -> None:
    size = file_size(path)
    if size < expected:
        raise ValueError(
            f"{path}: truncated: {size} bytes, but its header and points take {expected}. Copy or "
            "download the file again."
        )


_READERS = {
    "ascii": _read_ascii,
    "binary": _map_binary,
    "binary_compressed": _read_compressed,
}
