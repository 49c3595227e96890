"""What stands around the points of a LAS file, byte for byte, and checked before it is used.

laspy reads and writes the points. It parses these parts and writes them anew, which loses bytes
(names of classes, "no data" values, dates), and damaged ones make it or its decompressor take all
memory. Source: LAS 1.4 R15 (ASPRS, 2019) and the LASzip specification.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from pc3d.io.clouds.las_chunks import check_chunks
from pc3d.io.reading import file_size, reading

_LEAST_HEADER = {0: 227, 1: 227, 2: 227, 3: 235, 4: 375, 5: 393}
_HAS_WAVEFORMS = 1 << 1
LASZIP = (b"laszip encoded", 22204)
COPC = b"copc"
"""User ids of what holds for the compressed points of one file only."""

HEAD, EXTENDED_HEAD = 54, 60
"""Bytes in front of the data of a record, and of one behind the points."""


class Record(NamedTuple):
    """A variable length record.

    Attributes:
        head: what stands in front of the data.
        start: where the data start in the file.
        num_bytes: of the data.
    """

    head: bytes
    start: int
    num_bytes: int

    @property
    def key(self) -> tuple[bytes, int]:
        """User id and record id."""
        return self.head[2:18].partition(b"\0")[0], int.from_bytes(self.head[18:20], "little")


class Parts(NamedTuple):
    """The parts around the points.

    Attributes:
        header: the header.
        records: those in front of the points.
        extended: those behind them.
    """

    header: bytes
    records: list[Record]
    extended: list[Record]

    def number(self, start: int, num_bytes: int) -> int:
        """A number of the header."""
        return int.from_bytes(self.header[start : start + num_bytes], "little")

    @property
    def minor(self) -> int:
        """The version is 1.this."""
        return self.header[25]

    @property
    def num_points(self) -> int:
        return self.number(247, 8) if self.minor >= 4 else self.number(107, 4)

    @property
    def is_compressed(self) -> bool:
        return bool(self.header[104] & 0xC0)

    @property
    def points_start(self) -> int:
        return self.number(96, 4)

    @property
    def point_size(self) -> int:
        return self.number(105, 2)

    @property
    def waveforms_start(self) -> int:
        """Where the record of waveforms starts; 0 if the file has none."""
        has_them = self.minor >= 3 and self.number(6, 2) & _HAS_WAVEFORMS
        return self.number(227, 8) if has_them else 0


def read_parts(path: Path) -> Parts:
    """Read the parts around the points.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a LAS file, a version that is not known, or a damaged or truncated file.
    """
    size = file_size(path)
    with reading(path), path.open("rb") as file:
        header = file.read(_LEAST_HEADER[5])
    if header[:4] != b"LASF":
        raise ValueError(f"{path}: not a LAS or LAZ file (it does not start with 'LASF')")
    with reading(path), path.open("rb") as file:
        least = _LEAST_HEADER.get(header[25]) if header[24] == 1 else None
        if least is None:
            raise ValueError(f"version {header[24]}.{header[25]} is not known; expected 1.0 to 1.5")
        header = file.read(max(least, int.from_bytes(header[94:96], "little")))
        parts = Parts(header, [], [])
        if not len(header) <= parts.points_start <= size:
            raise ValueError(f"points at byte {parts.points_start} of {size}")
        _read_records(file, parts, size)
        _check_coordinates(parts)
        ends = [record.start - len(record.head) for record in parts.extended]
        end = min([size, *(place for place in ends if place > parts.points_start)])
        num_bytes = parts.num_points * parts.point_size
        if not parts.is_compressed and parts.points_start + num_bytes > end:
            raise ValueError(
                f"{parts.num_points} points of {parts.point_size} bytes between the bytes "
                f"{parts.points_start} and {end}"
            )
    if parts.is_compressed:
        with reading(path), path.open("rb") as file:
            laszip = b"".join(copy_record(file, r) for r in parts.records if r.key == LASZIP)
        check_chunks(path, laszip, parts.points_start, parts.num_points, parts.point_size)
    return parts


def copy_record(file: IO[bytes], record: Record) -> bytes:
    """The data of a record."""
    file.seek(record.start)
    return file.read(record.num_bytes)


def _read_records(file: IO[bytes], parts: Parts, size: int) -> None:
    place = len(parts.header)
    for _ in range(parts.number(100, 4)):
        parts.records.append(_read_record(file, place, HEAD, parts.points_start))
        place += HEAD + parts.records[-1].num_bytes
    place = parts.number(235, 8) if parts.minor >= 4 else 0
    for _ in range(parts.number(243, 4) if parts.minor >= 4 else 0):
        parts.extended.append(_read_record(file, place, EXTENDED_HEAD, size))
        place += EXTENDED_HEAD + parts.extended[-1].num_bytes
    if parts.minor == 3 and parts.waveforms_start:
        parts.extended.append(_read_record(file, parts.waveforms_start, EXTENDED_HEAD, size))


def _read_record(file: IO[bytes], place: int, num_head: int, end: int) -> Record:
    head = b""
    if place < end:
        file.seek(place)
        head = file.read(num_head)
    num_bytes = int.from_bytes(head[20 : num_head - 32], "little")
    if len(head) < num_head or place + num_head + num_bytes > end:
        raise ValueError(f"a record at byte {place} does not end before byte {end}")
    return Record(head, place + num_head, num_bytes)


def _check_coordinates(parts: Parts) -> None:
    numbers = np.frombuffer(parts.header, "<f8", 6, 131)
    if not np.isfinite(numbers).all() or not numbers[:3].all():
        raise ValueError(f"scales and offsets {numbers.tolist()}")
