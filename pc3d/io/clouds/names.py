"""Names of columns: which are the coordinates, and what columns without names are taken for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

SKIP = "_"
"""Given in place of a name, it leaves a column out."""

_AXES = (("x", "y", "z"), ("X", "Y", "Z"))
_COLOR = ("red", "green", "blue")
_ASSUMED = {3: "xyz", 4: ("x", "y", "z", "intensity"), 6: ("x", "y", "z", *_COLOR)}
_TOGETHER = {
    **dict.fromkeys(("xyz", "coord", "points"), ("x", "y", "z")),
    **dict.fromkeys(("rgb", "color", "colors"), _COLOR),
}


def name_columns(
    path: Path, num_columns: int, columns: Sequence[str], first_row: object
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names for columns of a file that has none.

    Args:
        path: the file.
        num_columns: how many it has.
        columns: the names, if the user gave them.
        first_row: is shown in the error.

    Returns:
        The names, and what was assumed.

    Raises:
        ValueError: another number of names, or no names and a number that may mean anything.
    """
    if columns and len(columns) != num_columns:
        raise ValueError(
            f"{path}: names= has {len(columns)} columns ({', '.join(columns)}), but the file "
            f"has {num_columns}; its first row is {str(first_row)[:200]}"
        )
    if columns:
        return tuple(columns), ()
    if num_columns not in _ASSUMED:
        raise ValueError(
            f"{path}: {num_columns} columns without names; the first row is "
            f"{str(first_row)[:200]}. Say what they are, "
            f"names=[x,y,z,intensity,red,green,blue,label]; {SKIP} leaves a column out."
        )
    names = tuple(_ASSUMED[num_columns])
    return names, (f"{num_columns} columns without names are taken for {', '.join(names)}",)


def refuse_columns(path: Path, columns: Sequence[str]) -> None:
    """Raise a `ValueError` if names were given for a file that has its own."""
    if columns:
        raise ValueError(
            f"{path}: names= is for files whose columns have no names; those of this file have. "
            f"Got {', '.join(columns)}. Leave it out."
        )


def split_coordinates(
    path: Path, names: Sequence[str]
) -> tuple[tuple[int, int, int], dict[str, int]]:
    """Places of the coordinates among columns, and of the others by name.

    Args:
        path: the file.
        names: of all columns.

    Raises:
        ValueError: no coordinates, or a name that stands twice.
    """
    if len(set(names)) < len(names) or "" in names:
        raise ValueError(
            f"{path}: every column needs a name of its own; got {', '.join(map(repr, names))[:400]}"
        )
    axes = next((axes for axes in _AXES if set(axes) <= set(names)), None)
    if axes is None:
        raise ValueError(
            f"{path}: no coordinates; expected columns x, y, z, got {', '.join(names)[:400]}. "
            "Rename them, or say names=[...] for all columns if the format has no names."
        )
    x, y, z = (names.index(axis) for axis in axes)
    return (x, y, z), {n: i for i, n in enumerate(names) if n not in axes}


def part_names(name: str, width: int) -> tuple[str, ...]:
    """Names of the columns that an array [P, width] becomes.

    Coordinates (xyz, coord, points) and colours (rgb, color, colors) of width 3 are known; others
    are numbered: normal_0, normal_1, ...
    """
    if width == 3 and name in _TOGETHER:
        return _TOGETHER[name]
    return tuple(f"{name}_{i}" for i in range(width))


def is_number(dtype: np.dtype) -> bool:
    """Whether a column may have this type: integers, floats and bool of up to 64 bits."""
    return dtype.kind in "fiub" and dtype.itemsize <= 8


def unique(name: str, taken: Collection[str], limit: int = 1 << 16) -> str:
    """A name that is not taken: this one, or the first of name_1, name_2, ...

    Args:
        name: the wish.
        taken: names that are in use.
        limit: the most bytes of UTF-8; longer names lose their end.
    """
    number, ending = 0, ""
    while True:
        start = name.encode()[: limit - len(ending)].decode(errors="ignore")
        if start + ending not in taken:
            return start + ending
        number += 1
        ending = f"_{number}"
