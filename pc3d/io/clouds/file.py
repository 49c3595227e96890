"""What every file of points looks like once it is open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

CHUNK = 1_000_000
"""Points that are in memory at a time, unless asked otherwise."""


class Chunk(NamedTuple):
    """Consecutive points of a file.

    Attributes:
        xyz: [n, 3] float64 coordinates as the file means them (scaled, with its offset); not finite
            where those of the file are not.
        columns: [n] values by name, of the columns that were asked for.
    """

    xyz: NDArray[np.float64]
    columns: dict[str, NDArray[Any]]


class CloudFile(Protocol):
    """A file of P points with named columns."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def num_points(self) -> int:
        """P."""

    @property
    def columns(self) -> Mapping[str, np.dtype]:
        """Types of the columns besides the coordinates, in the file's order and by its names."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was assumed or noticed on opening, a sentence each."""

    def chunks(self, names: Sequence[str] = (), size: int = CHUNK) -> Iterator[Chunk]:
        """Read the points in the order of the file.

        Args:
            names: columns to read besides the coordinates.
            size: the most points of a chunk; no more are in memory where the format allows it.

        Raises:
            ValueError: a column that the file does not have, or a damaged file.
        """


@dataclass(frozen=True)
class ArrayCloud:
    """A file whose columns are arrays, in memory or mapped into it.

    Attributes:
        path: the file.
        xyz: [P] coordinates of each axis.
        arrays: [P] values by name.
        remarks: as of `CloudFile`.
    """

    path: Path
    xyz: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
    arrays: Mapping[str, NDArray[Any]]
    remarks: tuple[str, ...] = ()

    @property
    def num_points(self) -> int:
        return len(self.xyz[0])

    @property
    def columns(self) -> dict[str, np.dtype]:
        return {name: array.dtype.newbyteorder("=") for name, array in self.arrays.items()}

    def chunks(self, names: Sequence[str] = (), size: int = CHUNK) -> Iterator[Chunk]:
        columns = self.columns
        check_names(self, names)
        for start in range(0, self.num_points, size):
            rows = slice(start, start + size)
            xyz = np.stack([axis[rows].astype(np.float64) for axis in self.xyz], axis=1)
            # Copies: rows of a mapped file end the process with a bus error once it gets shorter.
            yield Chunk(xyz, {n: np.array(self.arrays[n][rows], columns[n]) for n in names})


def check_names(cloud: CloudFile, names: Sequence[str]) -> None:
    """Raise a `ValueError` if a file lacks a column."""
    missing = [name for name in names if name not in cloud.columns]
    if missing:
        raise ValueError(
            f"{cloud.path}: no column {', '.join(missing)}; besides the coordinates it has "
            f"{', '.join(cloud.columns)[:400] or 'none'}"
        )
