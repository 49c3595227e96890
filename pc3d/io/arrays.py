"""Folders of `.npy` arrays: the common processed form of a scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_array(path: str | Path, columns: int | None = None) -> NDArray[Any]:
    """Map a `.npy` file into memory; nothing is read before it is used.

    Args:
        path: the file.
        columns: C of an expected [P, C], or None for [P].

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an array, a truncated one, one of Python objects, or of another shape.
    """
    path = Path(path)
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file") from None
        raise ValueError(
            f"{path}: not a readable .npy array of numbers ({error}). Is it cut off? Copy or "
            "prepare it again."
        ) from error
    expected = "[P]" if columns is None else f"[P, {columns}]"
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path}: expected numbers; got {array.dtype}")
    if array.ndim == 2 and array.shape[1] == 1 and columns is None:
        return array[:, 0]  # some programs keep the labels as a column
    fits = array.ndim == 1 if columns is None else array.ndim == 2 and array.shape[1] == columns
    if not fits:
        raise ValueError(f"{path}: expected an array {expected}; got {list(array.shape)}")
    return array
