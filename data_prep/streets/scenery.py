"""What stands along a street and never moves. Own frame: x along the street, y away from it."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from data_prep.rooms.shapes import Shape, box, cylinder, ellipsoid
from data_prep.streets.labels import Label, Thing
from data_prep.streets.surfaces import (
    BARK,
    GLASS,
    RETROREFLECTOR,
    SIGN_BACK,
    Surface,
    foliage,
    metal,
    plaster,
    timber,
)

Shapes = list[Shape[Surface]]

_SUNK = 0.6  # metres below ground, so that nothing floats where the ground falls
# The steepest beam rises by 2 degrees, so that nothing above is ever seen within 80 m.
_VISIBLE = 5.0  # metres
_STOREY = 2.9  # metres


def building(rng: Generator, width: float) -> Thing:
    """A façade with a plinth, a door, rows of windows in their frames, and perhaps a bay."""
    half, depth, height = width / 2, rng.uniform(8.0, 12.0), rng.uniform(5.0, 14.0)
    wall, frame = plaster(rng), plaster(rng)
    shapes = [
        box(wall, (-half, 0.0, -_SUNK), (half, depth, height)),
        box(plaster(rng), (-half, -0.04, -_SUNK), (half, 0.0, rng.uniform(0.3, 0.7))),
    ]
    door = rng.uniform(-half + 1.0, half - 1.0)
    shapes.append(box(frame, (door - 0.6, -0.06, -_SUNK), (door + 0.6, 0.0, 2.25)))
    shapes.append(box(timber(rng), (door - 0.5, -0.08, -_SUNK), (door + 0.5, -0.06, 2.1)))
    pitch, pane, sill = rng.uniform(2.0, 3.2), rng.uniform(0.45, 0.7), rng.uniform(0.8, 1.2)
    count = max(1, int(width / pitch))
    for bottom in np.arange(sill, min(height - 1.5, _VISIBLE), _STOREY):
        for x in (np.arange(count) + 0.5) * width / count - half:
            if bottom < 2.2 and abs(x - door) < pane + 0.7:
                continue
            low, high = (x - pane, -0.05, bottom), (x + pane, 0.0, bottom + 1.35)
            shapes.append(box(frame, low, high))
            low, high = (
                (x - pane + 0.1, -0.06, bottom + 0.1),
                (x + pane - 0.1, -0.05, high[2] - 0.1),
            )
            shapes.append(box(GLASS, low, high))
    if rng.uniform() < 0.3:
        x, out = rng.uniform(-half + 1.5, half - 1.5), rng.uniform(0.4, 0.9)
        shapes.append(box(wall, (x - 1.2, -out, -_SUNK), (x + 1.2, 0.0, min(height, _VISIBLE))))
    return Thing(Label.BUILDING, tuple(shapes))


def fence(rng: Generator, length: float) -> Thing:
    """A wall, a wooden fence, or rails that let rays through, between posts."""
    half, height = length / 2, rng.uniform(0.8, 1.9)
    kind = rng.choice(3, p=(0.35, 0.35, 0.3))
    surface = (plaster(rng), timber(rng, open=0.15), timber(rng, open=0.55))[kind]
    thick = (0.1, 0.03, 0.02)[kind]
    shapes = [box(surface, (-half, -thick, -_SUNK), (half, thick, height))]
    if kind:
        post = timber(rng)
        shapes += [
            box(post, (x - 0.05, -0.05, -_SUNK), (x + 0.05, 0.05, height + 0.05))
            for x in np.linspace(-half + 0.05, half - 0.05, max(2, int(length / 2.5)))
        ]
    return Thing(Label.FENCE, tuple(shapes))


def hedge(rng: Generator, length: float) -> Thing:
    """A row of overlapping boxes and balls of leaves, more or less cut."""
    leaves, deep, height = foliage(rng, 0.2), rng.uniform(0.7, 1.3), rng.uniform(0.8, 2.2)
    shapes = []
    for x in np.arange(-length / 2, length / 2 - 0.5, 1.5):
        top = height * rng.uniform(0.8, 1.05)
        low, high = (x, rng.uniform(0.0, 0.2), -_SUNK), (min(x + 1.6, length / 2), deep, top)
        shapes.append(box(leaves, low, high))
        shapes.append(ellipsoid(leaves, (x + 0.8, deep / 2, 0.75 * top), (0.9, 0.6 * deep, 0.4)))
    return Thing(Label.VEGETATION, tuple(shapes))


def bush(rng: Generator) -> Thing:
    """Two or three overlapping balls of leaves."""
    leaves, size = foliage(rng, 0.18), rng.uniform(0.5, 1.3)
    shapes = []
    for _ in range(int(rng.integers(2, 4))):
        x, y = rng.normal(0.0, 0.5 * size, 2)
        radii = size * rng.uniform(0.6, 1.1, 3)
        shapes.append(ellipsoid(leaves, (x, y, 0.6 * radii[2]), radii))
    return Thing(Label.VEGETATION, tuple(shapes))


def grass(rng: Generator) -> Thing:
    """A flat tuft on a lawn."""
    leaves, size = foliage(rng, 0.15), rng.uniform(0.4, 1.0)
    return Thing(Label.VEGETATION, (ellipsoid(leaves, (0.0, 0.0, 0.0), (size, size, 0.35)),))


def tree(rng: Generator) -> list[Thing]:
    """A trunk and a crown of several balls of leaves."""
    radius, clear = rng.uniform(0.1, 0.28), rng.uniform(1.6, 3.2)
    size, leaves = rng.uniform(1.2, 2.6), foliage(rng, 0.5)
    trunk = [
        cylinder(BARK, (0.0, 0.0, -_SUNK), 1.15 * radius, _SUNK + 1.0),
        cylinder(BARK, (0.0, 0.0, 1.0), radius, clear + size - 1.0),
    ]
    crown = [ellipsoid(leaves, (0.0, 0.0, clear + size), (size, size, 1.1 * size))]
    for _ in range(int(rng.integers(3, 6))):
        x, y = rng.normal(0.0, 0.5 * size, 2)
        z = clear + rng.uniform(0.2, 1.4) * size
        crown.append(ellipsoid(leaves, (x, y, z), size * rng.uniform(0.4, 0.7, 3)))
    return [Thing(Label.TRUNK, tuple(trunk)), Thing(Label.VEGETATION, tuple(crown))]


def lamp_post(rng: Generator) -> Thing:
    """A post, thicker at its foot."""
    surface, radius = metal(rng), rng.uniform(0.05, 0.09)
    shapes = (
        cylinder(surface, (0.0, 0.0, -_SUNK), 1.6 * radius, _SUNK + 0.9),
        cylinder(surface, (0.0, 0.0, 0.9), radius, rng.uniform(4.0, 8.0)),
    )
    return Thing(Label.POLE, shapes)


def bollard(rng: Generator) -> Thing:
    """A short post that keeps cars off the pavement."""
    post = cylinder(metal(rng), (0.0, 0.0, -_SUNK), 0.06, _SUNK + rng.uniform(0.8, 1.1))
    return Thing(Label.POLE, (post,))


def sign(rng: Generator) -> list[Thing]:
    """A post and one or two retroreflecting plates that face -x, against the traffic."""
    post = cylinder(metal(rng), (0.0, 0.0, -_SUNK), 0.035, _SUNK + 2.9)
    plates = []
    for z in (2.5, 1.85)[: int(rng.integers(1, 3))]:
        if rng.uniform() < 0.5:
            half = rng.uniform(0.28, 0.38)
            plates += [
                box(RETROREFLECTOR, (-0.06, -half, z - half), (-0.05, half, z + half)),
                box(SIGN_BACK, (-0.05, -half, z - half), (-0.035, half, z + half)),
            ]
        else:
            half = rng.uniform(0.2, 0.45)
            plates += [
                box(RETROREFLECTOR, (-0.06, -half, z - 0.16), (-0.05, half, z + 0.16)),
                box(SIGN_BACK, (-0.05, -half, z - 0.16), (-0.035, half, z + 0.16)),
            ]
    return [Thing(Label.POLE, (post,)), Thing(Label.TRAFFIC_SIGN, tuple(plates))]


def street_object(rng: Generator) -> Thing:
    """A bin, a bench or a switch box: SemanticKITTI's other-object."""
    match int(rng.integers(3)):
        case 0:
            shapes = [cylinder(metal(rng), (0.0, 0.0, -0.2), rng.uniform(0.2, 0.3), 1.15)]
        case 1:
            wood, steel = timber(rng), metal(rng)
            shapes = [
                box(wood, (-0.8, -0.25, 0.42), (0.8, 0.2, 0.48)),
                box(wood, (-0.8, 0.2, 0.5), (0.8, 0.25, 0.85)),
                *(box(steel, (x, -0.2, -0.2), (x + 0.06, 0.2, 0.42)) for x in (-0.7, 0.64)),
            ]
        case _:
            wide, high = rng.uniform(0.4, 0.7), rng.uniform(0.9, 1.4)
            shapes = [box(metal(rng), (-wide, -0.2, -0.2), (wide, 0.2, high))]
    return Thing(Label.OTHER_OBJECT, tuple(shapes))
