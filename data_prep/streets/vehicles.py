"""Vehicles and their riders. Own frame: x forward, y to the left, wheels on z = 0, x = 0 midway."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.random import Generator

from data_prep.rooms.shapes import Shape, box, cylinder, ellipsoid, rotation_about
from data_prep.streets.people import rider
from data_prep.streets.surfaces import (
    GLASS,
    RETROREFLECTOR,
    SPOKES,
    TYRE,
    Surface,
    metal,
    paint,
)

Shapes = list[Shape[Surface]]


def car(rng: Generator) -> Shapes:
    """A hatchback or a saloon: body, slanted windscreens, side windows, wheels, plates, lamps."""
    length, half = rng.uniform(3.7, 4.8), rng.uniform(0.83, 0.93)
    waist, top = rng.uniform(0.85, 0.98), rng.uniform(1.4, 1.65)
    body, front, back = paint(rng), length / 2, -length / 2
    hood = front - rng.uniform(0.9, 1.2)
    trunk = back + (rng.uniform(0.15, 0.3) if rng.uniform() < 0.6 else rng.uniform(0.6, 0.9))
    inner = half - 0.12
    roof = (trunk + 0.45, hood - 0.75)
    shapes = [
        box(body, (back + 0.08, -half, 0.28), (front - 0.12, half, waist - 0.12)),
        box(body, (back, -half + 0.08, 0.35), (front, half - 0.08, 0.62)),
        box(body, (back + 0.05, -half + 0.05, 0.3), (front - 0.3, half - 0.05, waist)),
        box(body, (roof[0], -inner, top - 0.06), (roof[1], inner, top)),
        box(GLASS, (roof[0], -inner + 0.03, waist), (roof[1], inner - 0.03, top - 0.05)),
        *_screen(body, (roof[1], hood), inner, waist, top),
        *_screen(body, (roof[0], trunk), inner, waist, top),
    ]
    for x in (roof[0], (roof[0] + roof[1]) / 2, roof[1]):
        shapes.append(box(body, (x - 0.04, -inner, waist), (x + 0.04, inner, top - 0.05)))
    shapes += _wheels(length * 0.3, half, rng.uniform(0.29, 0.34))
    for x in (back - 0.01, front + 0.01):
        plate = (x - 0.01, -0.26, 0.42), (x + 0.01, 0.26, 0.53)
        shapes.append(box(RETROREFLECTOR, *plate))
    lamps = (back - 0.005, back + 0.03)
    for y in (-half + 0.12, half - 0.22):
        low, high = (lamps[0], y, waist - 0.28), (lamps[1], y + 0.1, waist - 0.14)
        shapes.append(box(RETROREFLECTOR, low, high))
    return shapes


def van(rng: Generator) -> Shapes:
    """A delivery van, also a small bus."""
    length, half, top = rng.uniform(4.8, 5.9), rng.uniform(0.95, 1.05), rng.uniform(1.95, 2.6)
    body, front, back = paint(rng), length / 2, -length / 2
    hood = front - 0.9
    side = box(GLASS, (hood - 1.0, -half - 0.01, 1.2), (hood - 0.1, half + 0.01, top - 0.35))
    return [
        box(body, (back, -half, 0.3), (hood - 0.3, half, top)),
        box(body, (hood - 0.4, -half, 0.3), (front, half, 1.15)),
        *_screen(body, (hood - 0.35, front - 0.25), half - 0.05, 1.15, top),
        side,
        *_wheels(length * 0.32, half, 0.35),
    ]


def truck(rng: Generator) -> Shapes:
    """A cab and a load: a box or a low bed."""
    length, half = rng.uniform(6.5, 9.5), rng.uniform(1.15, 1.27)
    body, load, front, back = paint(rng), paint(rng), length / 2, -length / 2
    cab, top = front - rng.uniform(1.6, 2.1), rng.uniform(2.5, 3.0)
    height = rng.uniform(2.9, 3.8) if rng.uniform() < 0.7 else rng.uniform(1.5, 1.8)
    return [
        box(body, (cab, -half, 0.5), (front, half, top)),
        box(GLASS, (front - 0.02, -half + 0.15, 1.5), (front + 0.01, half - 0.15, top - 0.4)),
        box(GLASS, (cab + 0.5, -half - 0.01, 1.5), (front - 0.3, half + 0.01, top - 0.5)),
        box(load, (back, -half, 1.0), (cab - 0.15, half, height)),
        box(metal(rng), (back + 0.2, -0.45, 0.6), (cab + 0.2, 0.45, 1.0)),
        box(RETROREFLECTOR, (back - 0.01, -half + 0.1, 0.85), (back + 0.02, half - 0.1, 0.95)),
        *_wheels(length * 0.34, half, 0.48),
    ]


def bus(rng: Generator) -> Shapes:
    """A city bus: a long box with a band of windows."""
    length, half, top = rng.uniform(10.5, 12.0), 1.27, rng.uniform(2.95, 3.2)
    body, front = paint(rng), length / 2
    panes = np.linspace(-front + 0.4, front - 0.3, 8)
    shapes = [box(body, (-front, -half, 0.35), (front, half, top))]
    for start, end in pairwise(panes.tolist()):
        low, high = (start, -half - 0.01, 1.25), (end - 0.12, half + 0.01, 2.3)
        shapes.append(box(GLASS, low, high))
    shapes.append(
        box(GLASS, (front - 0.1, -half + 0.1, 0.9), (front + 0.01, half - 0.1, top - 0.4))
    )
    return [*shapes, *_wheels(length * 0.32, half, 0.48)]


def trailer(rng: Generator) -> Shapes:
    """A small open trailer with its drawbar on the ground."""
    body, half = paint(rng), rng.uniform(0.65, 0.8)
    return [
        box(body, (-1.2, -half, 0.45), (0.9, half, rng.uniform(0.85, 1.1))),
        box(metal(rng), (0.9, -0.05, 0.4), (2.0, 0.05, 0.5)),
        box(metal(rng), (1.85, -0.04, 0.0), (1.95, 0.04, 0.5)),
        *_wheels(0.0, half, 0.28),
    ]


def bicycle(rng: Generator) -> Shapes:
    """Two wheels, a frame of three tubes, a saddle and a handlebar."""
    frame, radius = metal(rng), 0.33
    shapes = [_wheel(SPOKES, x, 0.0, radius, 0.04) for x in (-0.52, 0.52)]
    shapes += [
        _bar(frame, (-0.52, 0.33), (-0.15, 0.9), 0.035),
        _bar(frame, (-0.15, 0.45), (0.4, 0.85), 0.035),
        _bar(frame, (0.52, 0.33), (0.38, 0.98), 0.035),
        box(TYRE, (-0.3, -0.08, 0.9), (-0.05, 0.08, 0.97)),
        box(frame, (0.33, -0.27, 0.98), (0.4, 0.27, 1.02)),
    ]
    return shapes


def motorcycle(rng: Generator) -> Shapes:
    """Two wheels, engine, tank, seat, fork and handlebar."""
    body = paint(rng)
    return [
        *(_wheel(TYRE, x, 0.0, 0.31, 0.14) for x in (-0.68, 0.68)),
        box(metal(rng), (-0.35, -0.17, 0.25), (0.3, 0.17, 0.62)),
        ellipsoid(body, (0.15, 0.0, 0.75), (0.36, 0.2, 0.18)),
        box(body, (-0.85, -0.14, 0.68), (-0.1, 0.14, 0.8)),
        _bar(body, (0.68, 0.31), (0.42, 0.95), 0.08),
        box(TYRE, (0.33, -0.36, 0.95), (0.4, 0.36, 1.0)),
    ]


def bicyclist(rng: Generator) -> Shapes:
    """A bicycle and who rides it: SemanticKITTI labels both as one."""
    return [*bicycle(rng), *rider(rng, saddle=0.95, reach=0.38)]


def motorcyclist(rng: Generator) -> Shapes:
    """A motorcycle and who rides it."""
    return [*motorcycle(rng), *rider(rng, saddle=0.8, reach=0.36)]


def _wheels(axle: float, half: float, radius: float) -> Shapes:
    """Wheels at x = ±axle, flush with the sides."""
    return [
        _wheel(TYRE, x, y, radius, 0.2)
        for x in sorted({-axle, axle})
        for y in (-half + 0.1, half - 0.1)
    ]


def _wheel(surface: Surface, x: float, y: float, radius: float, width: float) -> Shape[Surface]:
    upright = cylinder(surface, (0.0, 0.0, -width / 2), radius, width)
    return upright.turned(rotation_about("x", np.pi / 2)).shifted((x, y, radius))


def _screen(
    body: Surface, ends: tuple[float, float], half: float, low: float, high: float
) -> Shapes:
    """A slanted pane between its posts, from `ends[0]` at the roof to `ends[1]` at the hood."""
    (x0, x1), middle = ends, (low + high) / 2
    rise, run = high - low, x1 - x0
    slant, angle = float(np.hypot(rise, run)) / 2, float(np.arctan2(run, rise))
    lean = rotation_about("y", -angle)
    place = ((x0 + x1) / 2, 0.0, middle)
    pane = box(GLASS, (-0.02, -half + 0.08, -slant), (0.02, half - 0.08, slant))
    posts = [
        box(body, (-0.03, y - 0.05, -slant), (0.03, y + 0.05, slant))
        for y in (-half + 0.05, half - 0.05)
    ]
    return [shape.turned(lean).shifted(place) for shape in (pane, *posts)]


def _bar(
    surface: Surface, low: tuple[float, float], high: tuple[float, float], thickness: float
) -> Shape[Surface]:
    """A straight bar in the middle plane, between two points (x, z)."""
    run, rise = high[0] - low[0], high[1] - low[1]
    half, angle = float(np.hypot(run, rise)) / 2, float(np.arctan2(run, rise))
    bar = box(surface, (-thickness / 2,) * 2 + (-half,), (thickness / 2,) * 2 + (half,))
    turned = bar.turned(rotation_about("y", angle))
    return turned.shifted(((low[0] + high[0]) / 2, 0.0, (low[1] + high[1]) / 2))
