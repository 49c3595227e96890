"""Chairs, sofas and beds. Local frame: back at y = 0, front towards +y, x centred, floor z = 0."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.random import Generator

from data_prep.rooms import categories as cat
from data_prep.rooms.materials import Material, finish, lacquer, metal, textile
from data_prep.rooms.shapes import Furniture, Shape, box, cylinder, ellipsoid, rotation_about


def chair(rng: Generator) -> Furniture:
    """Seat, back and either four legs or a pedestal on a star foot."""
    width, depth = rng.uniform(0.40, 0.50, 2)
    seat, top = rng.uniform(0.42, 0.50), rng.uniform(0.80, 1.00)
    cover = textile(rng) if rng.uniform() < 0.5 else finish(rng)
    frame = metal(rng) if rng.uniform() < 0.4 else cover
    half = width / 2
    back = box(cover, (-half, 0.0, seat + rng.uniform(0.0, 0.15)), (half, 0.04, top))
    lean = rotation_about("x", rng.uniform(0.05, 0.2))
    shapes = [
        box(cover, (-half, 0.0, seat - 0.05), (half, depth, seat)),
        back.turned(lean, (0.0, 0.02, seat)),
    ]
    if rng.uniform() < 0.6:
        shapes += legs(frame, width, depth, seat - 0.05, thickness=0.04)
    else:
        shapes += _pedestal(frame, depth / 2, seat - 0.05)
    if rng.uniform() < 0.3:
        shapes += [
            box(frame, (x - 0.03, 0.0, seat + 0.18), (x + 0.03, depth * 0.8, seat + 0.22))
            for x in (-half, half)
        ]
    return Furniture(cat.CHAIR, tuple(shapes))


def legs(
    material: Material, width: float, depth: float, height: float, thickness: float
) -> list[Shape]:
    """Four legs at the corners of [-width/2, width/2] x [0, depth]."""
    inner = thickness
    return [
        box(material, (x, y, 0.0), (x + inner, y + inner, height))
        for x in (-width / 2, width / 2 - inner)
        for y in (0.0, depth - inner)
    ]


def _pedestal(material: Material, y: float, height: float) -> list[Shape]:
    spokes = [
        box(material, (0.0, y - 0.025, 0.03), (0.28, y + 0.025, 0.08)).turned(
            rotation_about("z", 2 * np.pi * k / 5), (0.0, y, 0.0)
        )
        for k in range(5)
    ]
    return [cylinder(material, (0.0, y, 0.0), 0.035, height), *spokes]


def sofa(rng: Generator) -> Furniture:
    """Base, arms, back and seat cushions."""
    width, depth = rng.uniform(1.3, 1.9), rng.uniform(0.75, 0.9)
    seat, arm, top = rng.uniform(0.38, 0.46), rng.uniform(0.55, 0.66), rng.uniform(0.75, 0.95)
    cover, half, arm_width = textile(rng), width / 2, rng.uniform(0.12, 0.2)
    shapes = [
        box(cover, (-half, 0.0, 0.08), (half, depth, seat - 0.12)),
        box(cover, (-half, 0.0, 0.08), (half, 0.22, top)).turned(rotation_about("x", 0.08)),
        *(
            box(cover, (x, 0.05, 0.08), (x + arm_width, depth, arm))
            for x in (-half, half - arm_width)
        ),
    ]
    count = int(rng.integers(2, 4))
    edges = np.linspace(-half + arm_width, half - arm_width, count + 1)
    shapes += [
        box(cover, (a + 0.01, 0.2, seat - 0.12), (b - 0.01, depth + 0.02, seat))
        for a, b in pairwise(edges.tolist())
    ]
    if rng.uniform() < 0.6:
        shapes.append(_pillow(rng, (float(edges[0]) + 0.25, 0.32, seat + 0.16), upright=True))
    return Furniture(cat.SOFA, tuple(shapes))


def bed(rng: Generator) -> Furniture:
    """Frame, mattress with a cover that hangs over, headboard and pillows."""
    width, depth = rng.uniform(0.95, 1.5), rng.uniform(1.9, 2.05)
    top, head = rng.uniform(0.42, 0.58), rng.uniform(0.75, 1.05)
    frame, cover, half = finish(rng), textile(rng), width / 2
    shapes = [
        box(frame, (-half, 0.0, 0.05), (half, 0.05, head)),
        box(frame, (-half, 0.05, 0.12), (half, depth, top - 0.2)),
        box(textile(rng), (-half + 0.02, 0.05, top - 0.2), (half - 0.02, depth - 0.02, top)),
    ]
    fold, drop = rng.uniform(0.5, 0.8), rng.uniform(0.1, 0.3)
    low, high = (-half - 0.03, fold, top - drop), (half + 0.03, depth + 0.03, top + 0.05)
    shapes.append(box(cover, low, high))
    pillows = (0.0,) if width < 1.2 else (-half / 2, half / 2)
    shapes += [_pillow(rng, (x, 0.32, top + 0.05), upright=False) for x in pillows]
    return Furniture(cat.BED, tuple(shapes))


def _pillow(rng: Generator, center: tuple[float, float, float], upright: bool) -> Shape:
    cover = textile(rng)
    radii = (0.22, 0.09, 0.2) if upright else (0.28, 0.2, 0.09)
    return ellipsoid(cover, center, radii)


def ottoman(rng: Generator) -> Furniture:
    """A padded stool, round or square."""
    size, height, cover = rng.uniform(0.4, 0.55), rng.uniform(0.36, 0.48), textile(rng)
    if rng.uniform() < 0.5:
        body = cylinder(cover, (0.0, size / 2, 0.0), size / 2, height)
    else:
        body = box(cover, (-size / 2, 0.0, 0.06), (size / 2, size, height))
    foot = box(lacquer(rng), (-size / 3, size / 6, 0.0), (size / 3, size * 5 / 6, 0.06))
    return Furniture(cat.OTTOMAN, (body, foot))
