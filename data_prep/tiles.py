"""Point files of any size cut into square tiles, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import numpy as np
from numpy.typing import NDArray

from pc3d.data.datasets.custom import PointFiles
from pc3d.data.datasets.layout import Arrays
from pc3d.io.cloud import Chunk

_BITS = 32  # of the second place in a key


@dataclass(frozen=True, kw_only=True)
class TiledFiles(PointFiles):
    """The files of a folder, each read as square tiles.

    The grid begins at coordinate 0, so that tiles of neighbouring files meet, and a tile is named
    after its lowest corner: `770525_6277550`.

    Attributes:
        tile: metres, side of a tile.
        min_points: a tile with fewer points is joined to the largest of its eight neighbours that
            have as many, or left out where there is none. Points of a file that has no such tile
            stay together.
    """

    tile: float
    min_points: int

    def parts(self, scene: str, scratch: Path) -> Iterator[tuple[str, Arrays]]:
        """The tiles of a file, by name; points of a tile are in the order of the file.

        The file is read twice. Points are grouped in files on disk, since they come in any order.

        Args:
            scene: the file.
            scratch: a folder for temporary files.

        Raises:
            ValueError: a damaged file, no points, coordinates that are not finite, or labels that
                the description does not know.
        """
        file = self.open(scene)
        counts: dict[int, int] = {}

        def count(chunk: Chunk) -> None:
            keys, numbers = np.unique(self._keys(chunk, file.cloud.path), return_counts=True)
            for key, number in zip(keys.tolist(), numbers.tolist(), strict=True):
                counts[key] = counts.get(key, 0) + number

        scales, remarks = file.scales(count)
        plan = TilePlan.of(counts, self.min_points)
        with TemporaryDirectory(dir=scratch) as folder:
            rows = GroupedRows(Path(folder), plan.sizes)
            for chunk in file.cloud.chunks(file.columns):
                arrays, found = file.arrays(chunk, scales)
                remarks += found
                rows.add(plan.slots(self._keys(chunk, file.cloud.path)), arrays)
            file.log([*remarks, *plan.remarks(self.min_points)])
            for slot, key in enumerate(plan.keys):
                yield self._name(key), rows.read(slot)

    def _keys(self, chunk: Chunk, path: Path) -> NDArray[np.int64]:
        """[n] the tile of every point: its two places on the grid in one number."""
        places = np.floor(chunk.xyz[:, :2] / self.tile)
        on_grid = (np.abs(places) < 2 ** (_BITS - 1)).all(axis=1)
        wrong = ~(np.isfinite(chunk.xyz).all(axis=1) & on_grid)
        if wrong.any():
            raise ValueError(
                f"{path}: {int(wrong.sum())} points have coordinates that are NaN, infinite or far "
                f"too large, e.g. {chunk.xyz[wrong.argmax()].tolist()}. Remove them from the file."
            )
        first, second = places.astype(np.int64).T
        return (first << _BITS) + second + 2 ** (_BITS - 1)

    def _name(self, key: int) -> str:
        first, second = _places(key)
        return f"{first * self.tile:.10g}_{second * self.tile:.10g}"


def _places(key: int) -> tuple[int, int]:
    return key >> _BITS, key % 2**_BITS - 2 ** (_BITS - 1)


@dataclass(frozen=True)
class TilePlan:
    """Which tiles there are, and which tile the points of a place on the grid go to.

    Attributes:
        keys: of the tiles.
        sizes: [T] points of each.
        slot_of: from every key with points to its tile; -1 where they are left out.
        counts: points by key.
    """

    keys: list[int]
    sizes: NDArray[np.int64]
    slot_of: Mapping[int, int]
    counts: Mapping[int, int]

    @classmethod
    def of(cls, counts: Mapping[int, int], min_points: int) -> TilePlan:
        """Join what is too small."""
        keys = sorted(key for key, number in counts.items() if number >= min_points)
        if not keys:
            largest = max(counts, key=lambda key: counts[key])
            total = np.array([sum(counts.values())])
            return cls([largest], total, dict.fromkeys(counts, 0), counts)
        slot_of = {key: slot for slot, key in enumerate(keys)}
        joined = {}
        for key in counts.keys() - slot_of.keys():
            around = [key + (i << _BITS) + j for i in (-1, 0, 1) for j in (-1, 0, 1)]
            large = [other for other in around if other in slot_of]
            joined[key] = slot_of[max(large, key=lambda other: counts[other])] if large else -1
        slot_of |= joined
        sizes = np.zeros(len(keys), dtype=np.int64)
        for key, slot in slot_of.items():
            if slot >= 0:
                sizes[slot] += counts[key]
        return cls(keys, sizes, slot_of, counts)

    def slots(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """[n] the tile of every point, -1 for none, by its key."""
        found, inverse = np.unique(keys, return_inverse=True)
        slots = np.array([self.slot_of[key] for key in found.tolist()], dtype=np.int64)
        return slots[inverse.reshape(-1)]

    def remarks(self, min_points: int) -> list[str]:
        """What was joined and what was left out."""
        kept = set(self.keys)
        small = {key: slot for key, slot in self.slot_of.items() if key not in kept}
        found = []
        for text, keys in (
            ("joined to another one", [key for key, slot in small.items() if slot >= 0]),
            ("left out, as no neighbour has more", [k for k, slot in small.items() if slot < 0]),
        ):
            if keys:
                points = sum(self.counts[key] for key in keys)
                found.append(
                    f"{len(keys)} of {len(self.counts)} tiles, with fewer than {min_points} points "
                    f"({points:,} together), are {text}"
                )
        return found


class GroupedRows:
    """Rows of arrays that come in any order, grouped on disk.

    Args:
        folder: for the files.
        sizes: [T] number of rows of each group.
    """

    def __init__(self, folder: Path, sizes: NDArray[np.int64]) -> None:
        self._folder, self._sizes = folder, sizes
        self._starts = np.cumsum(sizes) - sizes
        self._num_filled = np.zeros_like(sizes)
        self._kinds: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}

    def add(self, slots: NDArray[np.int64], arrays: Arrays) -> None:
        """Append rows to groups.

        Args:
            slots: [n] the group of every row; rows of group -1 are left out.
            arrays: [n, ...] each, always of the same names, types and widths.
        """
        order = np.argsort(slots, kind="stable")
        order = order[slots[order] >= 0]
        present, first, counts = np.unique(slots[order], return_index=True, return_counts=True)
        places = (self._starts + self._num_filled)[present]
        for name, array in arrays.items():
            self._kinds[name] = (array.dtype, array.shape[1:])
            rows = np.split(array[order], first[1:])
            with self._open(name) as file:
                for place, part in zip(places.tolist(), rows, strict=True):
                    file.seek(place * self._row_bytes(name))
                    file.write(part.tobytes())
        self._num_filled[present] += counts

    def read(self, slot: int) -> Arrays:
        """The rows of a group, in the order in which they came."""
        found = {}
        for name, (dtype, shape) in self._kinds.items():
            content = np.fromfile(
                self._folder / name,
                dtype,
                count=int(self._sizes[slot]) * prod(shape),
                offset=int(self._starts[slot]) * self._row_bytes(name),
            )
            found[name] = content.reshape(-1, *shape)
        return found

    def _open(self, name: str) -> IO[bytes]:
        path = self._folder / name
        path.touch()
        return path.open("r+b")

    def _row_bytes(self, name: str) -> int:
        dtype, shape = self._kinds[name]
        return dtype.itemsize * prod(shape)
