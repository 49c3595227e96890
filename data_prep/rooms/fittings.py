"""What belongs to a wall, and small things. Local frame: wall plane y = 0, room towards +y."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from data_prep.rooms import categories as cat
from data_prep.rooms.materials import (
    Material,
    artwork,
    ceramic,
    finish,
    glass,
    lacquer,
    metal,
    textile,
    white,
)
from data_prep.rooms.shapes import Furniture, Shape, box, cylinder, ellipsoid, quad, sheet, tube

Opening = tuple[float, float, float, float]
"""A hole in a wall: lower and upper end along the wall, lower and upper height, metres."""


def door(rng: Generator) -> tuple[list[Furniture], Opening]:
    """A leaf in its frame, with a handle; recessed in the wall."""
    half, height, recess = rng.uniform(0.4, 0.48), rng.uniform(1.95, 2.05), rng.uniform(0.1, 0.16)
    leaf = finish(rng)
    frame, handle = (leaf if rng.uniform() < 0.5 else finish(rng)), metal(rng)
    side = rng.choice((-1.0, 1.0)) * (half - 0.08)
    lever = side, 0.7 * side
    shapes = [
        box(leaf, (-half, -recess - 0.04, 0.0), (half, -recess, height)),
        *_frame(frame, (-half, half, 0.0, height), width=0.12, depth=(-recess, 0.04), sill=False),
        box(handle, (min(lever), -recess, 1.0), (max(lever), -recess + 0.07, 1.05)),
    ]
    if rng.uniform() < 0.5:
        # Two raised fields on the leaf.
        shapes += [
            box(leaf, (-half + 0.15, -recess, low), (half - 0.15, -recess + 0.015, high))
            for low, high in ((0.15, 0.85), (1.15, height - 0.2))
        ]
    return [Furniture(cat.DOOR, tuple(shapes))], (-half, half, 0.0, height)


def window(rng: Generator) -> tuple[list[Furniture], Opening]:
    """Frame, mullions and panes that return only some rays; curtains beside or before most."""
    half = rng.uniform(0.4, 0.65)
    low, high = rng.uniform(0.75, 0.95), rng.uniform(1.85, 2.05)
    opening = (-half, half, low, high)
    bars, pane = finish(rng), glass(rng)
    deep = -rng.uniform(0.1, 0.16)
    shapes = _frame(bars, opening, width=0.08, depth=(deep, 0.03), sill=True)
    shapes.append(box(bars, (-half - 0.08, 0.0, low - 0.05), (half + 0.08, 0.12, low)))
    shapes.append(quad(pane, (0.0, deep, (low + high) / 2), (half, 0, 0), (0, 0, (high - low) / 2)))
    for x in np.linspace(-half, half, int(rng.integers(2, 4)) + 1)[1:-1]:
        shapes.append(box(bars, (x - 0.025, deep, low), (x + 0.025, deep + 0.05, high)))
    if rng.uniform() < 0.5:
        z = low + 0.65 * (high - low)
        shapes.append(box(bars, (-half, deep, z - 0.025), (half, deep + 0.05, z + 0.025)))
    return [Furniture(cat.WINDOW, tuple(shapes))], opening


def curtained_window(rng: Generator) -> tuple[list[Furniture], Opening]:
    """A window with one or two drawn-aside curtains on a rod."""
    group, opening = window(rng)
    half = opening[1] + 0.15
    top, bottom = opening[3] + 0.1, rng.choice((0.08, opening[2] - 0.2))
    cloth = textile(rng)
    rod = box(metal(rng), (-half, 0.13, top), (half, 0.16, top + 0.03))
    group.append(Furniture(cat.ROD, (rod,)))
    for side in ((-1.0, 1.0), (-1.0,), (1.0,))[rng.choice(3, p=(0.6, 0.2, 0.2))]:
        reach = rng.uniform(0.4, 0.75) * half
        wave = (rng.uniform(0.035, 0.06), rng.uniform(0.16, 0.26), rng.uniform(0, 2 * np.pi))
        ends = (side * half, 0.145), (side * (half - reach), 0.145)
        strips = sheet(cloth, *ends, (bottom, top), wave)
        group.append(Furniture(cat.CURTAIN, tuple(strips)))
    return group, opening


def picture(rng: Generator) -> list[Furniture]:
    """A painted canvas in a thin frame at eye level."""
    half_width, half_height = rng.uniform(0.25, 0.5), rng.uniform(0.22, 0.38)
    z = rng.uniform(1.4, 1.6)
    canvas = quad(artwork(rng), (0.0, 0.03, z), (half_width, 0, 0), (0, 0, half_height))
    opening = (-half_width, half_width, z - half_height, z + half_height)
    frame = _frame(finish(rng), opening, width=0.06, depth=(0.0, 0.06), sill=True)
    return [Furniture(cat.PICTURE, (canvas, *frame))]


def radiator(rng: Generator) -> list[Furniture]:
    """Upright fins under a cover plate."""
    half, height, body = rng.uniform(0.3, 0.5), rng.uniform(0.55, 0.68), white(rng)
    fins = [
        box(body, (x, 0.04, 0.1), (x + 0.03, 0.13, height))
        for x in np.arange(-half, half - 0.02, 0.06)
    ]
    core = box(body, (-half, 0.06, 0.15), (half, 0.09, height - 0.05))
    return [Furniture(cat.RADIATOR, (core, *fins))]


def trash_can(rng: Generator) -> list[Furniture]:
    """An open cylinder."""
    radius, height = rng.uniform(0.12, 0.17), rng.uniform(0.3, 0.45)
    body = metal(rng) if rng.uniform() < 0.5 else lacquer(rng)
    shapes = (
        tube(body, (0.0, radius, 0.0), radius, height),
        cylinder(body, (0.0, radius, 0.0), radius - 0.005, 0.06),
    )
    return [Furniture(cat.TRASH_CAN, shapes)]


def clutter(rng: Generator) -> list[Furniture]:
    """A thing on the floor that the benchmark ignores: box, bag, plant or nothing annotated."""
    size = rng.uniform(0.18, 0.35)
    match int(rng.integers(4)):
        case 0:
            body = box(finish(rng), (-size / 2, 0.0, 0.0), (size / 2, size, size * 0.8))
            return [Furniture(cat.BOX, (body,))]
        case 1:
            bag = ellipsoid(textile(rng), (0.0, size / 2, size / 2), (size / 2, size / 3, size / 2))
            return [Furniture(cat.BAG, (bag,))]
        case 2:
            pot = cylinder(ceramic(rng), (0.0, size / 2, 0.0), size / 2, size)
            crown = ellipsoid(lacquer(rng), (0.0, size / 2, 1.6 * size), (0.7 * size,) * 3)
            return [Furniture(cat.PLANT, (pot, crown))]
        case _:
            heap = ellipsoid(textile(rng), (0.0, size / 2, 0.0), (size / 2, size / 2, size / 3))
            return [Furniture(cat.UNANNOTATED, (heap,))]


def _frame(
    material: Material, opening: Opening, width: float, depth: tuple[float, float], sill: bool
) -> list[Shape]:
    """Bars around an opening: two posts, a head and, with `sill`, a bottom bar."""
    (x0, x1, z0, z1), (y0, y1), half = opening, depth, width / 2
    posts = [box(material, (x - half, y0, z0), (x + half, y1, z1)) for x in (x0, x1)]
    rails = [
        box(material, (x0 - half, y0, z - half), (x1 + half, y1, z + half))
        for z in ((z1, z0) if sill else (z1,))
    ]
    return posts + rails
