"""How the points of a LAZ file are compressed, checked before they are decompressed.

The decompressor makes as much room as damaged numbers say, and ends the process if there is none.
Source: the specification of LASzip 3 (Isenburg, 2019).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import lazrs

from pc3d.io.reading import file_size, reading

_ANY_SIZE = 0xFFFFFFFF
_LAYERED = 3
_LAYERS = {10: 9, 11: 1, 12: 2, 13: 1}
"""Layers of the items of point formats 6 to 10 by their types; extra bytes have one each."""


def check_chunks(path: Path, laszip: bytes, start: int, num_points: int, point_size: int) -> None:
    """Check the sizes of chunks, and of the layers in them, against each other and the file.

    Args:
        path: the file.
        laszip: the record of LASzip.
        start: where the points start in the file.
        num_points: how many there are.
        point_size: bytes of a point that is not compressed.

    Raises:
        ValueError: a truncated or damaged file.
    """
    with reading_laz(path), path.open("rb") as file:
        compressor, chunk_size, num_items = struct.unpack_from("<H10xI16xH", laszip)
        items = [struct.unpack_from("<HH", laszip, 34 + 6 * i) for i in range(num_items)]
        if sum(size for _, size in items) != point_size:
            raise ValueError(f"points of {point_size} bytes are made of the items {items}")
        table = _table_start(file, start, file_size(path))
        num_bytes = table - start - 8
        file.seek(table + 4)
        num_chunks = int.from_bytes(file.read(4), "little")
        most = num_points if chunk_size == _ANY_SIZE else num_chunks * chunk_size
        # The first point of a chunk is not compressed.
        if num_points > most or num_chunks * point_size > num_bytes:
            raise ValueError(f"{num_points} points in {num_chunks} chunks, {num_bytes} bytes")
        file.seek(start)
        sizes = [size for _, size in lazrs.read_chunk_table(file, lazrs.LazVlr(laszip))]
        if sum(sizes) > num_bytes:
            raise ValueError(f"chunks of {sum(sizes)} bytes in {num_bytes}")
        if compressor == _LAYERED:
            num_layers = sum(_LAYERS.get(kind, size) for kind, size in items)
            _check_layers(file, start + 8, sizes, point_size, num_layers, num_points)


@contextmanager
def reading_laz(path: Path) -> Iterator[None]:
    """As `pc3d.io.reading.reading`, also where the decompressor, written in Rust, panics."""
    try:
        with reading(path):
            yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError(
            f"{path}: damaged or truncated ({error}). Copy or download the file again."
        ) from error


def _table_start(file: IO[bytes], start: int, size: int) -> int:
    file.seek(start)
    table = int.from_bytes(file.read(8), "little", signed=True)
    if table == -1:  # written in one go, so it stands at the end
        file.seek(size - 8)
        table = int.from_bytes(file.read(8), "little", signed=True)
    if not start + 8 <= table <= size - 8:
        raise ValueError("the table of compressed chunks is missing")
    return table


def _check_layers(
    file: IO[bytes], place: int, sizes: list[int], point_size: int, num_layers: int, num: int
) -> None:
    """Behind the first point of a chunk stand its number of points and the sizes of its layers."""
    head = 4 + 4 * num_layers
    for size in sizes:
        file.seek(place + point_size)
        num_here, *layers = struct.unpack(f"<{1 + num_layers}I", file.read(head))
        if point_size + head + sum(layers) > size:
            raise ValueError(f"layers of {sum(layers)} bytes in a chunk of {size}")
        num -= num_here
        place += size
    if num:
        raise ValueError(f"the number of points differs from that in the chunks by {num}")
