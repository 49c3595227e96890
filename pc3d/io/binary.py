"""Binary files without a header: rows of float32, and ids one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.io.reading import file_size, reading


def read_rows(path: str | Path, channels: Sequence[str]) -> NDArray[np.float32]:
    """[P, C] little-endian float32 numbers.

    Args:
        path: the file.
        channels: names of the C numbers of a point.

    Raises:
        ValueError: the size is no whole number of points.
    """
    num_bytes = file_size(path)
    if num_bytes % (4 * len(channels)):
        raise ValueError(
            f"{path}: {num_bytes} bytes are not a whole number of points ({4 * len(channels)} "
            f"bytes each: {', '.join(channels)} as float32). Copy or download the file again."
        )
    with reading(path):
        values = np.fromfile(path, dtype="<f4").astype(np.float32, copy=False)
    return values.reshape(-1, len(channels))


def num_rows(path: str | Path, channels: Sequence[str]) -> int:
    """P of `read_rows`, from the size of the file."""
    return file_size(path) // (4 * len(channels))


def read_ids(path: str | Path, dtype: str, num_points: int) -> NDArray[np.int64]:
    """[P] ids that a file holds in a NumPy type.

    Raises:
        ValueError: another number of ids than `num_points`.
    """
    num_bytes, size = file_size(path), np.dtype(dtype).itemsize
    if num_bytes != size * num_points:
        raise ValueError(
            f"{path}: {num_bytes // size} labels ({num_bytes} bytes), but the scan has "
            f"{num_points} points. Do the two files come from the same release?"
        )
    with reading(path):
        return np.fromfile(path, dtype=dtype).astype(np.int64)
