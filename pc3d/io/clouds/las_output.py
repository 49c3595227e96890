"""Writing a LAS file: laspy writes the points, then the bytes that it cannot keep are put back."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import IO, Any, NamedTuple

import laspy

from pc3d.io.clouds.las_parts import COPC, HEAD, Parts


class Raw(NamedTuple):
    """A variable length record to write: what stands in front of its data, and they."""

    head: bytes
    data: bytes


class Origin(NamedTuple):
    """The file that a file is a copy of."""

    path: Path
    parts: Parts


class Output(NamedTuple):
    """What is to be written.

    Attributes:
        header: scales, offsets, version and point format count; records in it do not.
        records: in front of the points, without that of LASzip.
        points: all of them, in blocks.
        remarks: what is not as in the source.
        origin: whose header and records behind the points are kept.
    """

    header: laspy.LasHeader
    records: Sequence[Raw]
    points: Iterator[laspy.PackedPointRecord]
    remarks: Sequence[str]
    origin: Origin | None = None


def write_output(path: Path, output: Output, compress: bool) -> None:
    """Write a file.

    Raises:
        OSError: as the disk says.
    """
    header = deepcopy(output.header)
    header.point_format = point_format = _with_plain_names(header.point_format)
    header.vlrs.clear()
    header.vlrs.extend(laspy.VLR("", 0, "", record.data) for record in output.records)
    with _open(path) as file:
        with laspy.LasWriter(file, header, do_compress=compress, closefd=False) as writer:
            for points in output.points:
                rows = points.array.view(point_format.dtype())
                writer.write_points(laspy.PackedPointRecord(rows, point_format))
        _restore_heads(file, output.records)
        if output.origin is not None:
            _restore_header(file, output.origin.parts)
            _append_records(file, output.origin)


def new_record(key: tuple[bytes, int], data: bytes, description: bytes) -> Raw:
    """A record of a user id and record id."""
    user_id, record_id = key
    head = struct.pack("<2x16sHH32s", user_id, record_id, len(data), description)
    return Raw(head, data)


def _with_plain_names(point_format: laspy.PointFormat) -> laspy.PointFormat:
    """The same dimensions; laspy fails at some names, such as those with colons."""
    plain = laspy.PointFormat(point_format.id)
    extra = enumerate(point_format.extra_dimensions)
    plain.dimensions.extend(dimension._replace(name=f"extra_{i}") for i, dimension in extra)
    return plain


class _File(io.BufferedRandom):
    """A file that remembers what was wrong with its disk: LASzip does not pass it on."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            raise


@contextmanager
def _open(path: Path) -> Iterator[_File]:
    file = _File(io.FileIO(path, "w+"))
    try:
        with file:
            yield file
    except RuntimeError as error:
        raise file.error or error from error


def _restore_heads(file: IO[bytes], records: Sequence[Raw]) -> None:
    file.seek(94)
    place = int.from_bytes(file.read(2), "little")
    for record in records:
        file.seek(place)
        file.write(record.head)
        place += HEAD + len(record.data)


def _restore_header(file: IO[bytes], parts: Parts) -> None:
    """Put the header of the source back, except where the copy differs."""
    file.seek(0)
    written = file.read(len(parts.header))
    kept = [(4, 24), (26, 94), (131, 227)]
    if written[25] == parts.minor:
        kept.append((247, len(parts.header)))
        if written[104] & 0x3F == parts.header[104] & 0x3F:
            kept.append((107, 131))
    for start, stop in kept:
        file.seek(start)
        file.write(parts.header[start:stop])


def _append_records(file: IO[bytes], origin: Origin) -> None:
    """Copy the records behind the points."""
    records = [record for record in origin.parts.extended if record.key[0] != COPC]
    if not records:
        return
    first = file.seek(0, io.SEEK_END)
    waveforms = 0
    with origin.path.open("rb") as source:
        for record in records:
            if record.start - len(record.head) == origin.parts.waveforms_start:
                waveforms = file.tell()
            file.write(record.head)
            source.seek(record.start)
            _copy(source, file, record.num_bytes)
    file.seek(25)
    if file.read(1)[0] >= 4:
        file.seek(235)
        file.write(first.to_bytes(8, "little") + len(records).to_bytes(4, "little"))
    if waveforms:
        file.seek(227)
        file.write(waveforms.to_bytes(8, "little"))


def _copy(source: IO[bytes], file: IO[bytes], num_bytes: int) -> None:
    while num_bytes > 0:
        block = source.read(min(num_bytes, 1 << 20))
        if not block:
            break
        file.write(block)
        num_bytes -= len(block)
