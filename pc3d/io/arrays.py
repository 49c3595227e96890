"""Files of one NumPy array: the common processed form of a scene is a folder of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.io.reading import reading

INTEGERS, NUMBERS = "iu", "fiu"
"""Kinds of arrays, as `numpy.dtype.kind` names them."""

MAGIC = b"\x93NUMPY\x01\x00"
"""Of version 1.0, which all arrays of numbers have. Headers of later ones may claim 4 GiB."""


def map_array(path: str | Path) -> NDArray[Any]:
    """Map a `.npy` file of any shape and type into memory; nothing is read before it is used.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an array, or a truncated one.
    """
    with reading(path), Path(path).open("rb") as file:
        is_simple = file.read(len(MAGIC)) == MAGIC
    if not is_simple:
        raise ValueError(f"{path}: not a .npy file of numbers, or its beginning is damaged")
    with reading(path):
        # Not np.load, which also opens zip files and pickles.
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    return array


def read_array(path: str | Path, columns: int | None = None, kinds: str = NUMBERS) -> NDArray[Any]:
    """Map a `.npy` file of a known shape, see `map_array`.

    Args:
        path: the file.
        columns: C of an expected [P, C], or None for [P]. A column [P, 1], as some programs keep
            labels, counts as [P].
        kinds: `NUMBERS` or `INTEGERS`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an array, a truncated one, or one of another kind or shape.
    """
    array = map_array(path)
    if array.dtype.kind not in kinds:
        expected = "integers" if kinds == INTEGERS else "numbers"
        raise ValueError(f"{path}: expected {expected}; got {array.dtype}")
    if columns is None and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 0 or array.shape[1:] != (() if columns is None else (columns,)):
        expected = "[P]" if columns is None else f"[P, {columns}]"
        raise ValueError(f"{path}: expected an array {expected}; got {list(array.shape)}")
    return array
