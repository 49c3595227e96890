"""Rooms of an office building, for S3DIS's layout: ceilings, beams, columns and boards as well."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from data_prep.rooms import categories as cat
from data_prep.rooms import fittings, seating, storage, tables
from data_prep.rooms.layout import ROOM_TYPES, Group, Item, Room, furnish_halves, single
from data_prep.rooms.materials import finish, metal, paint, white
from data_prep.rooms.shapes import Furniture, box, cylinder

_HIGHEST = 2.6  # metres; above every ceiling


def board(rng: Generator) -> Group:
    """A white board in a thin frame, with a tray for pens."""
    half, low, high = rng.uniform(0.5, 0.75), rng.uniform(0.85, 1.0), rng.uniform(1.8, 2.0)
    surface, frame = white(rng), metal(rng)
    shapes = (
        box(surface, (-half, 0.0, low), (half, 0.02, high)),
        box(frame, (-half - 0.03, 0.0, low - 0.03), (half + 0.03, 0.035, low)),
        box(frame, (-half - 0.03, 0.0, high), (half + 0.03, 0.035, high + 0.03)),
        box(frame, (-half * 0.6, 0.02, low - 0.02), (half * 0.6, 0.1, low)),
    )
    return [Furniture(cat.BOARD, shapes)]


def column(rng: Generator) -> Furniture:
    """From floor to ceiling, square or round."""
    half, cover = rng.uniform(0.13, 0.22), paint(rng)
    if rng.uniform() < 0.5:
        shape = cylinder(cover, (0.0, half, 0.0), half, _HIGHEST)
    else:
        shape = box(cover, (-half, 0.0, 0.0), (half, 2 * half, _HIGHEST))
    return Furniture(cat.COLUMN, (shape,))


def boxes(rng: Generator) -> Group:
    """Two boxes on top of each other."""
    low, high = rng.uniform(0.3, 0.5), rng.uniform(0.6, 0.9)
    below = box(finish(rng), (-0.3, 0.0, 0.0), (0.3, 0.4, low))
    above = box(finish(rng), (-0.25, 0.02, low), (0.22, 0.38, high))
    return [Furniture(cat.BOX, (below,)), Furniture(cat.BOX, (above,))]


_COLUMN = Item(single(column))
_BOARD = Item(board)
_BIN = Item(fittings.trash_can)
_SHELF = Item(single(storage.bookshelf), 0.2)
_CABINET = Item(single(storage.cabinet), 0.2)
_DESK = Item(tables.desk_set, 0.1)
_MEETING = Item(tables.dining_set, free=True)

# What stands in the two halves of each type of room, named as S3DIS names them.
OFFICE_ROOMS: dict[str, tuple[tuple[Item, ...], tuple[Item, ...]]] = {
    "office": ((_DESK, _SHELF, _BIN), (_DESK, _CABINET, _BOARD, _COLUMN)),
    "conferenceRoom": ((_MEETING, _BOARD), (_MEETING, _CABINET, _COLUMN)),
    "hallway": ((_BIN, _BOARD), (_COLUMN, Item(single(seating.sofa)))),
    "lounge": (ROOM_TYPES["living"], (_MEETING, _COLUMN, _BOARD)),
    "storage": ((_SHELF, _SHELF, Item(boxes)), (_CABINET, _COLUMN, Item(boxes))),
    "pantry": (ROOM_TYPES["kitchen"], (_COLUMN, _BIN, _CABINET)),
}


def furnish_office(rng: Generator, kind: str) -> Room:
    """Make a room of one of `OFFICE_ROOMS`, with a whole ceiling and one or two beams under it."""
    room = furnish_halves(rng, OFFICE_ROOMS[kind])
    width, depth, height = room.size
    slab = box(white(rng), (-0.1, -0.1, height), (width + 0.1, depth + 0.1, height + 0.1))
    cover, thickness, drop = paint(rng), rng.uniform(0.15, 0.3), rng.uniform(0.1, 0.18)
    beams = [
        box(cover, (x, 0.0, height - drop), (x + thickness, depth, height))
        for x in np.linspace(0.2, 0.7, int(rng.integers(1, 3))) * width
    ]
    kept = [item for item in room.furniture if item.category != cat.CEILING]
    added = [Furniture(cat.CEILING, (slab,)), *(Furniture(cat.BEAM, (beam,)) for beam in beams)]
    return replace(room, furniture=(*kept, *added))
