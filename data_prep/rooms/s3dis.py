"""Rooms in S3DIS's layout: text files of points, one for a room and one for each object in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.rooms import categories as cat
from data_prep.rooms.layout import Room
from data_prep.rooms.scanner import Scan
from data_prep.rooms.shapes import Category

CLUTTER = "clutter"
CLASS_OF_CATEGORY: dict[Category, str] = {
    cat.CEILING: "ceiling",
    cat.FLOOR: "floor",
    cat.WALL: "wall",
    cat.BEAM: "beam",
    cat.COLUMN: "column",
    cat.WINDOW: "window",
    cat.DOOR: "door",
    cat.TABLE: "table",
    cat.DESK: "table",
    cat.CHAIR: "chair",
    cat.SOFA: "sofa",
    cat.BOOKSHELF: "bookcase",
    cat.BOARD: "board",
}
"""Class of each category of `rooms`; every other one is clutter."""


def write_room(
    folder: Path, room: Room, scan: Scan, corner: tuple[float, float] = (0.0, 0.0)
) -> None:
    """Write `<room>.txt` and `Annotations/<class>_<n>.txt`: x y z in metres, r g b in 0..255.

    Args:
        folder: `.../Area_1/office_1`, made if it is missing; its name is the room's.
        room: the objects that `scan.instance` counts.
        scan: the points.
        corner: x and y of the room in the frame of its area, metres.
    """
    annotations = folder / "Annotations"
    annotations.mkdir(parents=True)
    xyz = scan.xyz.astype(np.float64) + np.array([*corner, 0.0])
    _write_points(folder / f"{folder.name}.txt", xyz, scan.color)
    for name, instance in _objects(room, scan.instance):
        rows = scan.instance == instance
        _write_points(annotations / f"{name}.txt", xyz[rows], scan.color[rows])


def write_alignment(path: Path, area: str, angles: Mapping[str, int]) -> None:
    """Write `Area_k_alignmentAngle.txt`: whole degrees by which each room is turned about z."""
    header = [
        f"## Global alignment angle per disjoint space in {area} ##",
        "## Disjoint Space Name Global Alignment Angle ##",
    ]
    lines = [f"{room} {angle}" for room, angle in sorted(angles.items())]
    path.write_text("\n".join([*header, *lines]) + "\n", encoding="ascii")


def room_names(kinds: Sequence[str]) -> list[str]:
    """`office_1`, `hallway_1`, `office_2`, ...: types of rooms counted as they come."""
    return [f"{kind}_{list(kinds[: k + 1]).count(kind)}" for k, kind in enumerate(kinds)]


def _objects(room: Room, instance: NDArray[np.int32]) -> Iterator[tuple[str, int]]:
    """`chair_1`, `chair_2`, ...: the objects that were seen, and their numbers."""
    counts: dict[str, int] = {}
    for number in np.unique(instance).tolist():
        name = CLASS_OF_CATEGORY.get(room.furniture[number].category, CLUTTER)
        counts[name] = counts.get(name, 0) + 1
        yield f"{name}_{counts[name]}", number


def _write_points(path: Path, xyz: NDArray[np.float64], color: NDArray[np.uint8]) -> None:
    rows = zip(xyz.tolist(), color.tolist(), strict=True)
    lines = ["{:.3f} {:.3f} {:.3f} {} {} {}\n".format(*point, *rgb) for point, rgb in rows]
    path.write_text("".join(lines), encoding="ascii")
