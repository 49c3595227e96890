"""Cabinets, bookshelves and television stands. Local frame as in `seating`."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.random import Generator

from data_prep.rooms import categories as cat
from data_prep.rooms.materials import Material, finish, lacquer, metal
from data_prep.rooms.seating import legs
from data_prep.rooms.shapes import Furniture, Shape, box


def closed_front(
    rng: Generator,
    body: Material,
    low: tuple[float, float, float],
    high: tuple[float, float, float],
    door_width: float,
) -> list[Shape]:
    """A carcass with hinged doors in front: leaves with gaps between them, and handles."""
    (x0, _, z0), (x1, y1, z1) = low, high
    handle = metal(rng)
    edges = np.linspace(x0, x1, max(1, round((x1 - x0) / door_width)) + 1)
    shapes = [box(body, low, (x1, y1 - 0.03, z1))]
    for k, (a, b) in enumerate(pairwise(edges.tolist())):
        shapes.append(box(body, (a + 0.008, y1 - 0.03, z0 + 0.01), (b - 0.008, y1, z1 - 0.01)))
        grip = b - 0.06 if k % 2 == 0 else a + 0.04
        middle = (z0 + z1) / 2
        low_grip, high_grip = (grip, y1, middle - 0.08), (grip + 0.02, y1 + 0.03, middle + 0.08)
        shapes.append(box(handle, low_grip, high_grip))
    return shapes


def cabinet(rng: Generator) -> Furniture:
    """A sideboard or a wardrobe on feet, with a top that overhangs."""
    tall = rng.uniform() < 0.5
    width, depth = rng.uniform(0.8, 1.2), rng.uniform(0.38, 0.52)
    height = rng.uniform(1.6, 2.0) if tall else rng.uniform(0.72, 1.0)
    body, half, foot = finish(rng), width / 2, rng.uniform(0.1, 0.16)
    top = box(body, (-half - 0.03, 0.0, height - 0.04), (half + 0.03, depth + 0.03, height))
    front = closed_front(rng, body, (-half, 0.0, foot), (half, depth, height - 0.04), 0.45)
    return Furniture(cat.CABINET, (*front, top, *legs(body, width, depth, foot, thickness=0.05)))


def nightstand(rng: Generator) -> Furniture:
    """A small chest of drawers."""
    width, depth, height = rng.uniform(0.4, 0.5), rng.uniform(0.35, 0.42), rng.uniform(0.45, 0.6)
    body, handle, half, front = finish(rng), metal(rng), width / 2, depth - 0.02
    shapes = [box(body, (-half, 0.0, 0.0), (half, front, height))]
    edges = np.linspace(0.05, height - 0.02, int(rng.integers(2, 4)) + 1)
    for low, high in pairwise(edges.tolist()):
        z = (low + high) / 2
        shapes += [
            box(body, (-half + 0.01, front, low), (half - 0.01, depth, high - 0.015)),
            box(handle, (-0.05, depth, z - 0.01), (0.05, depth + 0.025, z + 0.01)),
        ]
    return Furniture(cat.CABINET, tuple(shapes))


def bookshelf(rng: Generator) -> Furniture:
    """Boards between two sides, filled with books of all colours."""
    width, depth, height = rng.uniform(0.7, 1.1), rng.uniform(0.25, 0.34), rng.uniform(1.3, 2.0)
    body, half = finish(rng), width / 2
    shapes = [
        box(body, (-half, 0.0, 0.0), (-half + 0.025, depth, height)),
        box(body, (half - 0.025, 0.0, 0.0), (half, depth, height)),
        box(body, (-half, 0.0, 0.0), (half, 0.015, height)),
    ]
    boards = np.linspace(0.05, height - 0.03, int(height / rng.uniform(0.3, 0.38)) + 1)
    shapes += [box(body, (-half, 0.0, z), (half, depth, z + 0.025)) for z in boards]
    for z in boards[:-1]:
        shapes += _books(rng, half - 0.03, depth, float(z) + 0.025)
    return Furniture(cat.BOOKSHELF, tuple(shapes))


def _books(rng: Generator, half: float, depth: float, z: float) -> list[Shape]:
    """One row of books, a few centimetres each, with gaps."""
    row, x = [], -half
    fill = rng.uniform(0.5, 1.0)
    while x < half - 0.03:
        thickness = min(rng.uniform(0.025, 0.08), half - x)
        if rng.uniform() < fill:
            front, top = depth * rng.uniform(0.65, 0.95), z + rng.uniform(0.17, 0.26)
            row.append(box(lacquer(rng), (x, 0.02, z), (x + thickness - 0.003, front, top)))
        x += thickness
    return row


def tv_stand(rng: Generator) -> list[Furniture]:
    """A low open rack, with a television on most."""
    width, depth, height = rng.uniform(0.9, 1.3), rng.uniform(0.35, 0.45), rng.uniform(0.4, 0.55)
    body, half = finish(rng), width / 2
    middle = height * rng.uniform(0.4, 0.6)
    shapes = [
        box(body, (-half, 0.0, z), (half, depth, z + 0.03)) for z in (0.04, middle, height - 0.03)
    ]
    uprights = (-half, -0.015, half - 0.03)
    shapes += [box(body, (x, 0.0, 0.0), (x + 0.03, depth, height)) for x in uprights]
    group = [Furniture(cat.TV_STAND, tuple(shapes))]
    if rng.uniform() < 0.7:
        screen = lacquer(rng)
        wide = rng.uniform(0.35, min(0.5, half))
        low = height + 0.06
        group.append(
            Furniture(
                cat.TV,
                (
                    box(screen, (-wide, 0.12, low), (wide, 0.17, low + 1.15 * wide)),
                    box(screen, (-0.15, 0.08, height), (0.15, 0.24, low)),
                ),
            )
        )
    return group
