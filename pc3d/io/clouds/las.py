"""Points in LAS and LAZ files, by laspy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, NamedTuple

import laspy
import numpy as np
from laspy.point.dims import DimensionInfo
from numpy.typing import NDArray

from pc3d.io.clouds.file import CHUNK, Chunk, check_names
from pc3d.io.clouds.las_chunks import reading_laz
from pc3d.io.clouds.las_parts import Parts, read_parts
from pc3d.io.clouds.names import part_names, refuse_columns
from pc3d.io.reading import reading

WAVEFORMS = (9, 10)
"""Point formats with waveforms that lazrs 0.8 does not compress without loss: it mixes up those of
several scanner channels."""

_COORDINATES = ("X", "Y", "Z")


class _Place(NamedTuple):
    """Where a column stands: a dimension, and which of its values."""

    dimension: DimensionInfo
    part: int | None


@dataclass(frozen=True)
class LasCloud:
    """An open LAS or LAZ file.

    Attributes:
        path: the file.
        parts: what stands around the points.
        header: the same, as laspy understands it.
        places: of the columns, by name.
        remarks: as of `CloudFile`.
    """

    path: Path
    parts: Parts
    header: laspy.LasHeader
    places: Mapping[str, _Place]
    remarks: tuple[str, ...] = ()

    @property
    def num_points(self) -> int:
        return self.parts.num_points

    @property
    def columns(self) -> dict[str, np.dtype]:
        return {name: _dtype(place.dimension) for name, place in self.places.items()}

    def chunks(self, names: Sequence[str] = (), size: int = CHUNK) -> Iterator[Chunk]:
        check_names(self, names)
        scales, offsets = self.header.scales, self.header.offsets
        for record in self.records(size):
            raw = np.stack([record.array[axis] for axis in _COORDINATES], axis=1)
            columns = {name: _values(record, self.places[name]) for name in names}
            yield Chunk(raw * scales + offsets, columns)

    def records(self, size: int = CHUNK) -> Iterator[laspy.PackedPointRecord]:
        """The points as they stand in the file, at most `size` at a time."""
        with reading(self.path):
            file = self.path.open("rb")
        with file:
            with reading_laz(self.path):
                reader = laspy.LasReader(
                    file, closefd=False, laz_backend=_backend(), read_evlrs=False
                )
            for start in range(0, self.num_points, size):
                num = min(size, self.num_points - start)
                with reading_laz(self.path):
                    record = reader.read_points(num)
                    if len(record) != num:
                        raise ValueError(f"{num} points expected, {len(record)} read")
                yield record


def open_las(path: Path, columns: Sequence[str] = ()) -> LasCloud:
    """Open a LAS or LAZ file; its dimensions besides X, Y and Z are the columns.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a LAS file, a damaged or truncated one, or dimensions of equal names.
    """
    refuse_columns(path, columns)
    parts = read_parts(path)
    with reading_laz(path), path.open("rb") as file:
        header = laspy.LasHeader.read_from(file)
    places: dict[str, _Place] = {}
    for dimension in header.point_format.dimensions:
        names: tuple[str, ...] = (dimension.name,)
        if dimension.num_elements > 1:
            names = part_names(dimension.name, dimension.num_elements)
        for i, name in enumerate(names):
            if name in places or not name:
                raise ValueError(f"{path}: two dimensions are named {name!r}, or one has no name")
            places[name] = _Place(dimension, i if len(names) > 1 else None)
    with reading_laz(path):
        header.point_format.dtype()  # fails where an extra dimension is named like a field
    remarks: tuple[str, ...] = ()
    if parts.is_compressed and header.point_format.id in WAVEFORMS:
        remarks = ("waveform packets may be wrong: lazrs 0.8 mixes up those of several channels",)
    others = {name: place for name, place in places.items() if name not in _COORDINATES}
    return LasCloud(path, parts, header, others, remarks)


def _backend() -> laspy.LazBackend:
    """Threads in the program itself; none in its workers, where a forked pool of them hangs."""
    is_worker = parent_process() is not None
    return laspy.LazBackend.Lazrs if is_worker else laspy.LazBackend.LazrsParallel


def is_scaled(dimension: DimensionInfo) -> bool:
    """Whether an extra dimension means something else than the numbers that are stored."""
    return dimension.scales is not None or dimension.offsets is not None


def _dtype(dimension: DimensionInfo) -> np.dtype:
    if is_scaled(dimension):
        return np.dtype(np.float64)
    return np.dtype("u1") if dimension.dtype is None else dimension.dtype.base


def _values(record: laspy.PackedPointRecord, place: _Place) -> NDArray[Any]:
    dimension, part = place
    if dimension.is_standard:
        return np.array(record[dimension.name])
    values: NDArray[Any] = record.array[dimension.name]
    values = values if part is None else values[:, part]
    if is_scaled(dimension):
        i = part or 0
        return values * dimension.scales[i] + dimension.offsets[i]
    return values.copy()
