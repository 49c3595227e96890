"""Furnished rooms: which objects stand where.

Room frame: x in [0, width], y in [0, depth], floor z = 0. Wall k (0..3) runs counter-clockwise from
y = 0; an object at a wall has its own frame turned by k * 90 degrees. Objects do not overlap: each
reserves an axis-aligned box.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from data_prep.rooms import categories as cat
from data_prep.rooms import fittings, seating, storage, tables, wet_rooms
from data_prep.rooms.fittings import Opening
from data_prep.rooms.materials import Material, flooring, paint, tiles, white
from data_prep.rooms.shapes import Furniture, Shape, bounds, box

Group = list[Furniture]
Build = Callable[[Generator], Group]

WALL_THICKNESS = 0.22
_MARGIN = 0.03  # metres between neighbours
_NUM_TRIES = 150  # random places per object


@dataclass(frozen=True)
class Item:
    """Something to place.

    Attributes:
        build: makes the group of objects.
        clearance: metres to keep free in front of it.
        free: stands anywhere on the floor instead of along a wall.
    """

    build: Build
    clearance: float = 0.0
    free: bool = False


def single(build: Callable[[Generator], Furniture]) -> Build:
    """Makes a group of one object."""
    return lambda rng: [build(rng)]


def _sofa_set(rng: Generator) -> Group:
    sofa = seating.sofa(rng)
    front = bounds([sofa])[1, 1] + rng.uniform(0.25, 0.4)
    return [sofa, *(item.placed(rng.normal(0, 0.1), front) for item in tables.coffee_table(rng))]


def _bedside(rng: Generator) -> Group:
    bed, stand = seating.bed(rng), storage.nightstand(rng)
    side = rng.choice((-1.0, 1.0))
    return [bed, stand.placed(side * (bounds([bed])[1, 0] + 0.32), 0.0)]


ROOM_TYPES: dict[str, tuple[Item, ...]] = {
    "kitchen": (
        Item(wet_rooms.kitchen_run, 0.3),
        Item(single(wet_rooms.refrigerator), 0.3),
        Item(tables.dining_set, free=True),
    ),
    "bath": (
        Item(wet_rooms.bathtub, 0.2),
        Item(single(wet_rooms.toilet), 0.35),
        Item(wet_rooms.washbasin, 0.2),
        Item(fittings.trash_can),
    ),
    "bedroom": (
        Item(_bedside),
        Item(single(storage.cabinet), 0.2),
        Item(single(seating.ottoman), free=True),
    ),
    "living": (
        Item(_sofa_set),
        Item(single(storage.bookshelf), 0.2),
        Item(storage.tv_stand, 0.2),
    ),
    "office": (
        Item(tables.desk_set, 0.1),
        Item(single(storage.bookshelf), 0.2),
        Item(single(storage.cabinet), 0.2),
        Item(fittings.trash_can),
    ),
}
# The two functions of a room, by index: any five in a row hold every type twice.
PAIRS = (
    ("kitchen", "bedroom"), ("bath", "living"), ("office", "kitchen"), ("bedroom", "bath"),
    ("living", "office"), ("kitchen", "bath"), ("bedroom", "living"), ("office", "bath"),
    ("living", "kitchen"), ("bedroom", "office"),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Room:
    """A furnished room.

    Attributes:
        size: [3] width, depth and height in metres.
        furniture: every object, the walls and the floor included.
        obstacles: [n, 2, 3] boxes around the objects in the room.
    """

    size: NDArray[np.float64]
    furniture: tuple[Furniture, ...]
    obstacles: NDArray[np.float64]


@dataclass
class _Plan:
    """The state while a room is being furnished."""

    rng: Generator
    size: NDArray[np.float64]
    furniture: Group = field(default_factory=list)
    reserved: list[NDArray[np.float64]] = field(default_factory=list)
    openings: dict[int, list[Opening]] = field(default_factory=lambda: {k: [] for k in range(4)})

    def wall_length(self, wall: int) -> float:
        return self.size[wall % 2]

    def on_wall(self, wall: int, along: float) -> tuple[float, float, float]:
        """x, y and yaw of a place on a wall, `along` metres from the wall's middle."""
        width, depth, _ = self.size
        middle = ((width / 2, 0.0), (width, depth / 2), (width / 2, depth), (0.0, depth / 2))[wall]
        yaw = wall * np.pi / 2
        return middle[0] + along * np.cos(yaw), middle[1] + along * np.sin(yaw), yaw

    def try_wall(
        self, group: Group, clearance: float, zone: int | None
    ) -> tuple[int, float] | None:
        """Place a group at a random free stretch of wall; returns the wall and where on it."""
        low, high = bounds(group)
        walls = self.rng.integers(4, size=_NUM_TRIES)
        half = self.size[walls % 2] / 2 - 0.04
        slack = 2 * half - (high[0] - low[0])
        along = -half - low[0] + self.rng.uniform(0, 1, _NUM_TRIES) * slack
        places = np.array([self.on_wall(w, s) for w, s in zip(walls, along, strict=True)])
        places = places[fits := slack > 0]
        volume = np.array([low, high + np.array([0.0, clearance, 0.0])])
        chosen = self._settle(group, volume, places, zone)
        return None if chosen is None else (int(walls[fits][chosen]), float(along[fits][chosen]))

    def try_floor(self, group: Group, zone: int | None) -> bool:
        """Place a group anywhere on the floor, turned by about a multiple of 90 degrees."""
        volume = bounds(group)
        group = [item.placed(0.0, -volume[0, 1]) for item in group]
        volume[:, 1] -= volume[0, 1]
        xy = self.rng.uniform((0.0, 0.0), self.size[:2], (_NUM_TRIES, 2))
        quarter = self.rng.integers(4, size=_NUM_TRIES)
        yaw = quarter * np.pi / 2 + self.rng.normal(0.0, 0.08, _NUM_TRIES)
        return self._settle(group, volume, np.column_stack([xy, yaw]), zone) is not None

    def _settle(
        self,
        group: Group,
        volume: NDArray[np.float64],
        places: NDArray[np.float64],
        zone: int | None,
    ) -> int | None:
        """Put a group at the first of [T, 3] places (x, y, yaw) that has `volume` free."""
        low, high = _turned_box(volume, places)
        low, high = low - _MARGIN, high + _MARGIN
        # Doors and windows reach into their wall, all else stands before it.
        inside = min(volume[0, 1], 0.0) - 2 * _MARGIN
        good = (low[:, :2] >= inside).all(axis=1)
        good &= (high[:, :2] <= self.size[:2] - inside).all(axis=1)
        if zone is not None:
            good &= (low[:, 0] + high[:, 0] > self.size[0]) == bool(zone)
        if self.reserved:
            taken = np.stack(self.reserved)
            meets = (low[:, None] < taken[:, 1]) & (taken[:, 0] < high[:, None])
            good &= ~np.any(meets.all(axis=2), axis=1)
        if not good.any():
            return None
        chosen = int(good.argmax())
        x, y, yaw = places[chosen]
        self.furniture += [item.placed(x, y, yaw=yaw) for item in group]
        self.reserved.append(np.stack([low[chosen], high[chosen]]))
        return chosen


def _turned_box(
    volume: NDArray[np.float64], places: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper corners [T, 3] around a [2, 3] box put at [T, 3] places (x, y, yaw)."""
    x, y = np.array([(volume[i, 0], volume[j, 1]) for i in (0, 1) for j in (0, 1)]).T
    cos, sin = np.cos(places[:, 2:]), np.sin(places[:, 2:])
    turned = np.stack([cos * x - sin * y, sin * x + cos * y], axis=2) + places[:, None, :2]
    heights = np.broadcast_to(volume[:, 2], (len(places), 2))
    low = np.column_stack([turned.min(axis=1), heights[:, 0]])
    high = np.column_stack([turned.max(axis=1), heights[:, 1]])
    return low, high


def furnish(rng: Generator, index: int) -> Room:
    """Make a room of two functions.

    Args:
        rng: source of all randomness.
        index: of the room in its split; decides which functions it has.
    """
    left, right = PAIRS[index % len(PAIRS)]
    return furnish_halves(rng, (ROOM_TYPES[left], ROOM_TYPES[right]))


def furnish_halves(rng: Generator, halves: tuple[Sequence[Item], Sequence[Item]]) -> Room:
    """Make a room large enough for what is to stand in its left and its right half."""
    width, depth = rng.uniform(3.4, 3.9), rng.uniform(2.7, 3.2)
    height = rng.uniform(2.25, 2.4)
    while True:
        plan = _Plan(rng, np.array([width, depth, height]))
        if _fill(plan, halves):
            break
        width, depth = 1.03 * width, 1.03 * depth
    inside = [bounds([item]) for item in plan.furniture]
    shell = _shell(rng, plan)
    return Room(plan.size, (*plan.furniture, *shell), np.stack(inside))


def _fill(plan: _Plan, halves: tuple[Sequence[Item], Sequence[Item]]) -> bool:
    """Place everything; False when something does not fit."""
    rng = plan.rng
    items = [(item, zone) for zone, half in enumerate(halves) for item in half]
    if not _open(plan, fittings.door, 0.5):
        return False
    for item, zone in sorted(items, key=lambda pair: pair[0].free):
        group = item.build(rng)
        if item.free:
            if not plan.try_floor(group, zone) and not plan.try_floor(group, None):
                return False
        elif not any(plan.try_wall(group, item.clearance, z) for z in (zone, None)):
            return False
    curtained = fittings.curtained_window
    if not _open(plan, curtained, 0.0) or plan.try_wall(fittings.picture(rng), 0.0, None) is None:
        return False
    # What follows may or may not find a place.
    if rng.uniform() < 0.5:
        _open(plan, (curtained, fittings.window)[rng.integers(2)], 0.0)
    if rng.uniform() < 0.5:
        plan.try_wall(fittings.radiator(rng), 0.0, None)
    for _ in range(rng.integers(0, 3)):
        plan.try_wall(fittings.picture(rng), 0.0, None)
    for _ in range(rng.integers(0, 3)):
        plan.try_floor(fittings.clutter(rng), None)
    return True


def _open(
    plan: _Plan, build: Callable[[Generator], tuple[Group, Opening]], clearance: float
) -> bool:
    """Place a door or a window and remember its hole in the wall."""
    group, (low, high, bottom, top) = build(plan.rng)
    place = plan.try_wall(group, clearance, None)
    if place is None:
        return False
    wall, along = place
    plan.openings[wall].append((along + low, along + high, bottom, top))
    return True


def _shell(rng: Generator, plan: _Plan) -> Group:
    """Floor, four walls with their holes, and a ceiling over a few rooms."""
    width, depth, height = plan.size
    covers = [tiles(rng) if rng.uniform() < 0.15 else paint(rng)] * 4
    accent = int(rng.integers(4))
    if rng.uniform() < 0.3:
        covers[accent] = paint(rng)
    floor = box(flooring(rng), (-0.1, -0.1, -0.1), (width + 0.1, depth + 0.1, 0.0))
    shell = [Furniture(cat.FLOOR, (floor,))]
    for wall in range(4):
        shapes = _wall(covers[wall], plan.wall_length(wall), height, plan.openings[wall])
        x, y, yaw = plan.on_wall(wall, 0.0)
        shell.append(Furniture(cat.WALL, tuple(shapes)).placed(x, y, yaw=yaw))
    if rng.uniform() < 0.2:
        # Scans seldom reach all of it.
        part = rng.uniform(0.2, 0.5) * width
        slab = box(white(rng), (0.0, 0.0, height), (part, depth, height + 0.1))
        shell.append(Furniture(cat.CEILING, (slab,)))
    return shell


def _wall(cover: Material, length: float, height: float, openings: list[Opening]) -> list[Shape]:
    """Boxes around the openings of one wall, in the wall's frame."""
    back, shapes, x = -WALL_THICKNESS, [], -length / 2 - WALL_THICKNESS
    for low, high, bottom, top in sorted(openings):
        shapes.append(box(cover, (x, back, 0.0), (low, 0.0, height)))
        shapes.append(box(cover, (low, back, top), (high, 0.0, height)))
        if bottom > 0:
            shapes.append(box(cover, (low, back, 0.0), (high, 0.0, bottom)))
        x = high
    shapes.append(box(cover, (x, back, 0.0), (length / 2 + WALL_THICKNESS, 0.0, height)))
    return shapes
