"""Points in `.npz` files, by the names of their arrays; read in parts, also where compressed."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pc3d.io.arrays import MAGIC
from pc3d.io.clouds.file import CHUNK, Chunk, check_names
from pc3d.io.clouds.names import is_number, part_names, refuse_columns, split_coordinates
from pc3d.io.reading import reading

_SUFFIX = ".npy"


class _Array(NamedTuple):
    """What the header of an array says."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype

    @property
    def row(self) -> tuple[int, ...]:
        return self.shape[1:]


class _Place(NamedTuple):
    """Where a column stands: column `part` of an array [P, C], or an array [P] if None."""

    array: str
    part: int | None


@dataclass(frozen=True)
class NpzCloud:
    """An open `.npz` file.

    Attributes:
        path: the file.
        num_points: P.
        xyz: places of the coordinates.
        places: of the other columns.
        columns: their types.
        remarks: as of `CloudFile`.
    """

    path: Path
    num_points: int
    xyz: tuple[_Place, _Place, _Place]
    places: Mapping[str, _Place]
    columns: Mapping[str, np.dtype]
    remarks: tuple[str, ...]

    def chunks(self, names: Sequence[str] = (), size: int = CHUNK) -> Iterator[Chunk]:
        check_names(self, names)
        places = {name: self.places[name] for name in names}
        needed = {place.array for place in (*self.xyz, *places.values())}
        with ExitStack() as stack:
            with reading(self.path):
                file = stack.enter_context(zipfile.ZipFile(self.path))
                streams = {
                    name: _Stream(stack.enter_context(file.open(name + _SUFFIX)), self.num_points)
                    for name in needed
                }
            for start in range(0, self.num_points, size):
                with reading(self.path):
                    num = min(size, self.num_points - start)
                    blocks = {name: stream.read(num) for name, stream in streams.items()}
                xyz = [_part(blocks, place).astype(np.float64) for place in self.xyz]
                columns = {name: _part(blocks, place) for name, place in places.items()}
                yield Chunk(np.stack(xyz, axis=1), columns)


class _Stream:
    """Rows of an array, one block after the other."""

    def __init__(self, file: IO[bytes], num_rows: int):
        self.file = file
        self.array = _read_header(file)
        self.left = num_rows
        self.whole: NDArray[Any] | None = None

    def read(self, num: int) -> NDArray[Any]:
        """The next rows."""
        if self.array.is_fortran and self.array.row:  # rows are spread over the whole array
            if self.whole is None:
                self.whole = self._read(self.array.row[0] * self.left).reshape(*self.array.row, -1)
            start = self.array.shape[0] - self.left
            block = self.whole[:, start : start + num].T
        else:
            block = self._read(num * int(np.prod(self.array.row))).reshape(num, *self.array.row)
        self.left -= num
        return block

    def _read(self, num_values: int) -> NDArray[Any]:
        num_bytes = num_values * self.array.dtype.itemsize
        content = self.file.read(num_bytes)
        if len(content) < num_bytes:
            raise ValueError("an array is shorter than its header says")
        values: NDArray[Any] = np.frombuffer(content, self.array.dtype)
        return values.astype(values.dtype.newbyteorder("="))


def open_npz(path: Path, columns: Sequence[str] = ()) -> NpzCloud:
    """Open a `.npz` file.

    Coordinates are the array xyz, coord or points, [P, 3], or the arrays x, y and z; rgb, color
    or colors, [P, 3], are red, green and blue. Other arrays [P] are columns of their name, others
    [P, C] are numbered columns. What has no row for every point is left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a zip file, a damaged one, or no coordinates.
    """
    refuse_columns(path, columns)
    arrays = _read_headers(path)
    of_points = ("xyz", "coord", "points", "x", "X")
    num_points = next((arrays[n].shape[0] for n in of_points if n in arrays and arrays[n].shape), 0)
    places: list[tuple[str, _Place]] = []
    remarks = []
    for name, (shape, _, dtype) in arrays.items():
        if shape[:1] != (num_points,) or len(shape) > 2 or not is_number(dtype):
            remarks.append(f"the array {name}, {list(shape)} of {dtype}, is no column; left out")
        elif len(shape) == 1:
            places.append((name, _Place(name, None)))
        else:
            parts = part_names(name, shape[1])
            places += [(part, _Place(name, i)) for i, part in enumerate(parts)]
    (x, y, z), others = split_coordinates(path, [name for name, _ in places])
    found = {name: places[i][1] for name, i in others.items()}
    types = {name: arrays[place.array].dtype.newbyteorder("=") for name, place in found.items()}
    xyz = (places[x][1], places[y][1], places[z][1])
    return NpzCloud(path, num_points, xyz, found, types, tuple(remarks))


def _read_headers(path: Path) -> dict[str, _Array]:
    with reading(path), path.open("rb") as file:
        arrays = {}
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                if info.filename.endswith(_SUFFIX):
                    with archive.open(info) as stream:
                        arrays[info.filename.removesuffix(_SUFFIX)] = _read_header(stream)
    return arrays


def _read_header(file: IO[bytes]) -> _Array:
    if file.read(len(MAGIC)) != MAGIC:
        raise ValueError("an array is not in NumPy's format 1.0")
    return _Array(*np.lib.format.read_array_header_1_0(file))


def _part(blocks: dict[str, NDArray[Any]], place: _Place) -> NDArray[Any]:
    block = blocks[place.array]
    return block if place.part is None else np.ascontiguousarray(block[:, place.part])
