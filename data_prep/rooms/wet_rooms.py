"""Kitchens and bathrooms. Local frame as in `seating`."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from data_prep.rooms import categories as cat
from data_prep.rooms.materials import Material, ceramic, finish, metal, stone, textile, white
from data_prep.rooms.shapes import Furniture, Shape, bowl, box, cylinder, panel, sheet
from data_prep.rooms.storage import closed_front


def kitchen_run(rng: Generator) -> list[Furniture]:
    """Base cabinets under a worktop with a sink in it, and wall cabinets above most."""
    width, depth, height = rng.uniform(1.6, 2.2), rng.uniform(0.58, 0.65), rng.uniform(0.86, 0.94)
    body, top, half = finish(rng), stone(rng), width / 2
    base = box(body, (-half, 0.0, 0.0), (half, depth - 0.1, 0.08))
    front = closed_front(rng, body, (-half, 0.0, 0.08), (half, depth - 0.02, height - 0.2), 0.5)
    upper = box(body, (-half, depth - 0.05, height - 0.19), (half, depth - 0.02, height - 0.05))
    x = rng.uniform(-half + 0.45, half - 0.45)
    hole = (x - 0.3, 0.09), (x + 0.3, depth - 0.08)
    slab = panel(top, (-half, 0.0, height - 0.05), (half, depth, height), hole)
    splash = box(top, (-half, 0.0, height), (half, 0.02, height + rng.uniform(0.08, 0.2)))
    group = [
        Furniture(cat.CABINET, (base, *front, upper)),
        Furniture(cat.COUNTER, (*slab, splash)),
        _inset_sink(rng, hole, height),
    ]
    if rng.uniform() < 0.7:
        low, high = (-half, 0.0, rng.uniform(1.4, 1.5)), (half, 0.34, rng.uniform(2.0, 2.1))
        group.append(Furniture(cat.CABINET, tuple(closed_front(rng, body, low, high, 0.5))))
    return group


def _inset_sink(
    rng: Generator, hole: tuple[tuple[float, float], tuple[float, float]], height: float
) -> Furniture:
    steel = metal(rng) if rng.uniform() < 0.6 else ceramic(rng)
    (x0, y0), (x1, y1) = hole
    bottom = height - rng.uniform(0.16, 0.19)
    rim = panel(steel, (x0 - 0.04, y0 - 0.04, height), (x1 + 0.04, y1 + 0.04, height + 0.01),
                ((x0 + 0.02, y0 + 0.02), (x1 - 0.02, y1 - 0.02)))  # fmt: skip
    return Furniture(
        cat.SINK,
        (
            box(steel, (x0, y0, bottom - 0.01), (x1, y1, bottom)),
            box(steel, (x0, y0, bottom), (x0 + 0.015, y1, height)),
            box(steel, (x1 - 0.015, y0, bottom), (x1, y1, height)),
            box(steel, (x0, y0, bottom), (x1, y0 + 0.015, height)),
            box(steel, (x0, y1 - 0.015, bottom), (x1, y1, height)),
            *rim,
            *_tap(rng, (x0 + x1) / 2, y0 - 0.02, height),
        ),
    )


def _tap(rng: Generator, x: float, y: float, z: float) -> list[Shape]:
    chrome, rise = metal(rng), rng.uniform(0.15, 0.25)
    return [
        cylinder(chrome, (x, y, z), 0.02, rise),
        box(chrome, (x - 0.015, y, z + rise - 0.02), (x + 0.015, y + 0.16, z + rise + 0.01)),
    ]


def refrigerator(rng: Generator) -> Furniture:
    """A tall box with two doors above each other and upright handles."""
    width, depth, height = rng.uniform(0.6, 0.72), rng.uniform(0.62, 0.72), rng.uniform(1.55, 1.85)
    body, handle, half = ceramic(rng), metal(rng), width / 2
    split = height * rng.choice((0.35, 0.65)) + rng.uniform(-0.05, 0.05)
    side = rng.choice((-1.0, 1.0)) * (half - 0.06)
    shapes = [box(body, (-half, 0.03, 0.02), (half, depth - 0.08, height))]
    for low, high in ((0.06, split - 0.025), (split + 0.025, height)):
        shapes += [
            box(body, (-half, depth - 0.07, low), (half, depth, high)),
            box(handle, (side - 0.02, depth, low + 0.1), (side + 0.02, depth + 0.07, high - 0.1)),
        ]
    return Furniture(cat.REFRIGERATOR, tuple(shapes))


def toilet(rng: Generator) -> Furniture:
    """Foot, bowl, seat ring, cistern and on some an open lid."""
    china = white(rng)
    rim, back = rng.uniform(0.38, 0.43), rng.uniform(0.19, 0.22)
    middle = back + 0.27
    hole = (-0.12, middle - 0.16), (0.12, middle + 0.17)
    shapes = [
        cylinder(china, (0.0, middle - 0.04, 0.0), (0.13, 0.2), rim * 0.6),
        bowl(china, (0.0, middle, rim), (0.2, 0.28, rim * 0.65)),
        bowl(china, (0.0, middle, rim), (0.14, 0.2, 0.2)),
        *panel(china, (-0.2, middle - 0.25, rim), (0.2, middle + 0.25, rim + 0.03), hole),
        box(china, (-0.22, 0.0, rim), (0.22, back, rim + rng.uniform(0.32, 0.4))),
        box(china, (-0.11, 0.0, 0.0), (0.11, back, rim)),
    ]
    if rng.uniform() < 0.4:
        lid = box(china, (-0.2, back + 0.01, rim + 0.03), (0.2, back + 0.05, rim + 0.45))
        shapes.append(lid)
    return Furniture(cat.TOILET, tuple(shapes))


def washbasin(rng: Generator) -> list[Furniture]:
    """A basin on a pedestal or on a vanity cabinet."""
    china, half, depth = ceramic(rng), rng.uniform(0.28, 0.36), rng.uniform(0.44, 0.52)
    top = rng.uniform(0.8, 0.88)
    hole = (-half + 0.06, 0.1), (half - 0.06, depth - 0.05)
    rim = panel(china, (-half, 0.0, top - 0.14), (half, depth, top), hole)
    basin = bowl(china, (0.0, 0.05 + depth / 2, top - 0.01), (half - 0.05, depth / 2 - 0.06, 0.13))
    tap = _tap(rng, 0.0, 0.05, top)
    if rng.uniform() < 0.5:
        column = cylinder(china, (0.0, 0.14, 0.0), 0.09, top - 0.14)
        return [Furniture(cat.SINK, (*rim, basin, column, *tap))]
    body = finish(rng)
    low, high = (-half + 0.02, 0.0, 0.05), (half - 0.02, depth - 0.03, top - 0.14)
    vanity = Furniture(cat.CABINET, tuple(closed_front(rng, body, low, high, 0.3)))
    return [vanity, Furniture(cat.SINK, (*rim, basin, *tap))]


def bathtub(rng: Generator) -> list[Furniture]:
    """A tub along the wall; on its long open side a curtain that is partly drawn."""
    width, depth, height = rng.uniform(1.45, 1.7), rng.uniform(0.68, 0.78), rng.uniform(0.48, 0.58)
    china, half = ceramic(rng), width / 2
    basin, tap = _basin(china, half, depth, height), _tap(rng, 0.0, 0.02, height)
    top = rng.uniform(1.85, 2.0)
    rod = box(metal(rng), (-half, depth + 0.02, top), (half, depth + 0.05, top + 0.03))
    drawn, side = rng.uniform(0.4, 0.75) * width, rng.choice((-1.0, 1.0))
    wave = (rng.uniform(0.035, 0.06), rng.uniform(0.16, 0.26), rng.uniform(0, 2 * np.pi))
    cloth = sheet(
        textile(rng),
        (side * half, depth + 0.035),
        (side * (half - drawn), depth + 0.035),
        (rng.uniform(0.15, 0.3), top),
        wave,
    )
    return [
        Furniture(cat.BATHTUB, (*basin, *tap)),
        Furniture(cat.ROD, (rod,)),
        Furniture(cat.SHOWER_CURTAIN, tuple(cloth)),
    ]


def _basin(china: Material, half: float, depth: float, height: float) -> list[Shape]:
    hole = (-half + 0.09, 0.09), (half - 0.09, depth - 0.08)
    (x0, y0), (x1, y1) = hole
    middle, radii = ((x0 + x1) / 2, (y0 + y1) / 2), ((x1 - x0) / 2, (y1 - y0) / 2)
    return [
        *panel(china, (-half, 0.0, 0.0), (half, depth, height), hole),
        box(china, (x0, y0, 0.0), (x1, y1, 0.14)),
        bowl(china, (*middle, height), (*radii, height - 0.13)),
    ]
