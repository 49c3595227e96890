"""Points in one `.npy` file: a table [P, C] of numbers, or rows with named fields."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pc3d.io.arrays import map_array
from pc3d.io.clouds.file import ArrayCloud
from pc3d.io.clouds.names import (
    SKIP,
    is_number,
    name_columns,
    part_names,
    refuse_columns,
    split_coordinates,
)


def open_npy(path: Path, columns: Sequence[str] = ()) -> ArrayCloud:
    """Map a `.npy` file; nothing is read before it is used.

    Args:
        path: the file.
        columns: names of the C columns of a table, if it is one.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an array, a truncated one, one of another kind or shape, or columns that
            nobody named.
    """
    array = map_array(path)
    remarks: tuple[str, ...] = ()
    if array.ndim == 1 and array.dtype.names:
        refuse_columns(path, columns)
        found = _fields(path, array)
    elif array.ndim == 2 and is_number(array.dtype):
        first_row = array[0].tolist() if len(array) else []
        names, remarks = name_columns(path, array.shape[1], columns, first_row)
        found = [(name, array[:, i]) for i, name in enumerate(names) if name != SKIP]
    else:
        raise ValueError(
            f"{path}: expected an array [P, C] of numbers, or [P] with named fields; got "
            f"{list(array.shape)} of {str(array.dtype)[:200]}"
        )
    (x, y, z), others = split_coordinates(path, [name for name, _ in found])
    xyz = (found[x][1], found[y][1], found[z][1])
    return ArrayCloud(path, xyz, {name: found[i][1] for name, i in others.items()}, remarks)


def _fields(path: Path, array: NDArray[Any]) -> list[tuple[str, NDArray[Any]]]:
    found: list[tuple[str, NDArray[Any]]] = []
    for name in array.dtype.names or ():
        field = array[name]
        if not is_number(field.dtype) or field.ndim > 2:
            raise ValueError(
                f"{path}: the field {name} is no column of numbers; got {field.dtype} of shape "
                f"{list(field.shape[1:])} in each row"
            )
        parts = [field] if field.ndim == 1 else list(field.T)
        names = (name,) if field.ndim == 1 else part_names(name, field.shape[1])
        found += zip(names, parts, strict=True)
    return found
