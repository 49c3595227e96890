"""Tables, desks and what stands on them. Local frame as in `seating`."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.random import Generator

from data_prep.rooms import categories as cat
from data_prep.rooms.materials import finish, lacquer, metal
from data_prep.rooms.seating import chair, legs
from data_prep.rooms.shapes import Furniture, box, cylinder, ellipsoid


def table(rng: Generator, height: float, width: float, depth: float) -> Furniture:
    """A top on four legs or, when round, on a central column."""
    top = finish(rng)
    if rng.uniform() < 0.3:
        radius = min(width, depth) / 2 * 1.1
        shapes = [
            cylinder(top, (0.0, depth / 2, height - 0.04), radius, 0.04),
            cylinder(top, (0.0, depth / 2, 0.0), 0.05, height - 0.04),
            cylinder(top, (0.0, depth / 2, 0.0), radius * 0.55, 0.04),
        ]
    else:
        support = metal(rng) if rng.uniform() < 0.3 else top
        shapes = [
            box(top, (-width / 2, 0.0, height - 0.04), (width / 2, depth, height)),
            *legs(support, width, depth, height - 0.04, thickness=rng.uniform(0.05, 0.08)),
        ]
    return Furniture(cat.TABLE, tuple(shapes))


def dining_set(rng: Generator) -> list[Furniture]:
    """A table with two to four chairs around it."""
    width, depth = rng.uniform(0.8, 1.15), rng.uniform(0.65, 0.8)
    group = [table(rng, rng.uniform(0.70, 0.78), width, depth)]
    seats = [
        (0.0, -0.42, 0.0),
        (0.0, depth + 0.42, np.pi),
        (-width / 2 - 0.42, depth / 2, -np.pi / 2),
        (width / 2 + 0.42, depth / 2, np.pi / 2),
    ]
    for k in rng.permutation(4)[: rng.integers(2, 4)]:
        x, y, yaw = seats[k]
        pull = rng.uniform(0.7, 1.0)
        x, y = x * pull, (y - depth / 2) * pull + depth / 2
        group.append(chair(rng).placed(x, y, yaw=yaw + rng.normal(0.0, 0.25)))
    return group + _on_top(rng, group[0])


def coffee_table(rng: Generator) -> list[Furniture]:
    """A low table."""
    piece = table(rng, rng.uniform(0.38, 0.5), rng.uniform(0.7, 1.0), rng.uniform(0.45, 0.6))
    return [piece, *_on_top(rng, piece)]


def desk_set(rng: Generator) -> list[Furniture]:
    """A desk against the wall, its chair, and a monitor on most."""
    piece, seat = desk(rng), chair(rng)
    x, y = rng.uniform(-0.25, 0.25), 0.7 + rng.uniform(0.25, 0.45)
    group = [piece, seat.placed(x, y, yaw=np.pi + rng.normal(0.0, 0.35))]
    if rng.uniform() < 0.7:
        top = float(piece.shapes[0].center[2])
        group.append(_monitor(rng).placed(rng.uniform(-0.25, 0.25), 0.15, top))
    return group


def desk(rng: Generator) -> Furniture:
    """A top on a drawer block and a side panel, with or without a modesty panel."""
    width, depth, height = rng.uniform(1.1, 1.5), rng.uniform(0.6, 0.72), rng.uniform(0.70, 0.78)
    body, half, block = finish(rng), width / 2, rng.uniform(0.35, 0.45)
    handle, side = metal(rng), rng.choice((-1.0, 1.0))
    inner = half - block
    edges = np.linspace(0.06, height - 0.05, int(rng.integers(3, 5)) + 1)
    block_x = sorted((side * half, side * inner))
    panel_x = sorted((-side * half, -side * (half - 0.04)))
    shapes = [
        box(body, (-half, 0.0, height - 0.04), (half, depth, height)),
        box(body, (block_x[0], 0.03, 0.0), (block_x[1], depth - 0.06, height - 0.04)),
        box(body, (panel_x[0], 0.0, 0.0), (panel_x[1], depth - 0.03, height - 0.04)),
    ]
    middle = side * (half + inner) / 2
    x0, x1, front = block_x[0] + 0.01, block_x[1] - 0.01, depth - 0.03
    for low, high in pairwise(edges.tolist()):
        z = (low + high) / 2
        shapes += [
            box(body, (x0, front - 0.03, low), (x1, front, high - 0.02)),
            box(handle, (middle - 0.06, front, z), (middle + 0.06, depth, z + 0.02)),
        ]
    if rng.uniform() < 0.6:
        shapes.append(box(body, (-half, 0.03, 0.25), (half, 0.06, height - 0.04)))
    return Furniture(cat.DESK, tuple(shapes))


def _monitor(rng: Generator) -> Furniture:
    shell, half = lacquer(rng), rng.uniform(0.22, 0.32)
    shapes = (
        box(shell, (-half, 0.0, 0.1), (half, 0.05, 0.1 + 1.2 * half)),
        cylinder(shell, (0.0, 0.05, 0.0), 0.1, 0.02),
        box(shell, (-0.02, 0.0, 0.0), (0.02, 0.03, 0.2)),
    )
    return Furniture(cat.MONITOR, shapes)


def _on_top(rng: Generator, piece: Furniture) -> list[Furniture]:
    """Small things on a table, outside the benchmark's classes."""
    if rng.uniform() < 0.5:
        return []
    x, y, z = piece.shapes[0].center
    if rng.uniform() < 0.5:
        category, shape = cat.PLANT, ellipsoid(lacquer(rng), (0.0, 0.0, 0.14), (0.08, 0.08, 0.14))
    else:
        category, shape = cat.BOX, box(lacquer(rng), (-0.12, -0.08, 0.0), (0.12, 0.08, 0.1))
    shift = rng.uniform(-0.15, 0.15, 2)
    small = Furniture(category, (shape,))
    return [small.placed(x + shift[0], y + shift[1], z + 0.02, rng.uniform(0, np.pi))]
