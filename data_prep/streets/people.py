"""People, on foot and in the saddle. Own frame: facing +x, feet on z = 0."""

from __future__ import annotations

from numpy.random import Generator

from data_prep.rooms.shapes import Shape, box, cylinder, ellipsoid, rotation_about
from data_prep.streets.surfaces import Surface, cloth

Shapes = list[Shape[Surface]]


def pedestrian(rng: Generator) -> Shapes:
    """Someone who stands or walks, by the swing of the legs."""
    height, stride = rng.uniform(1.5, 1.9), rng.uniform(0.0, 0.4)
    hip, shoulder = 0.5 * height, 0.82 * height
    trousers, coat = cloth(rng), cloth(rng)
    legs = [
        _limb(trousers, (0.0, y, hip), hip, swing, 0.08)
        for y, swing in ((-0.1, stride), (0.1, -stride))
    ]
    arms = [
        _limb(coat, (0.0, y, shoulder), 0.42 * height, swing, 0.05)
        for y, swing in ((-0.24, -stride), (0.24, stride))
    ]
    middle = (hip + shoulder) / 2
    torso = ellipsoid(coat, (0.0, 0.0, middle), (0.14, 0.22, (shoulder - hip) / 2 + 0.1))
    head = ellipsoid(cloth(rng), (0.02, 0.0, 0.93 * height), (0.1, 0.09, 0.07 * height))
    return [*legs, torso, *arms, head]


def rider(rng: Generator, saddle: float, reach: float) -> Shapes:
    """Someone in a saddle at x = -0.15 with the hands at x = `reach`; heights in metres."""
    trousers, coat = cloth(rng), cloth(rng)
    shoulder = saddle + 0.55
    legs = [
        _limb(trousers, (-0.1, y, saddle), 0.75, rng.uniform(0.1, 0.5), 0.08) for y in (-0.13, 0.13)
    ]
    torso = ellipsoid(coat, (-0.02, 0.0, saddle + 0.3), (0.15, 0.21, 0.36))
    arms = [
        box(coat, (0.0, y - 0.05, shoulder - 0.15), (reach, y + 0.05, shoulder - 0.05))
        for y in (-0.24, 0.24)
    ]
    head = ellipsoid(cloth(rng), (0.1, 0.0, saddle + 0.78), (0.11, 0.1, 0.13))
    return [*legs, torso, *arms, head]


def _limb(
    surface: Surface, top: tuple[float, float, float], length: float, swing: float, radius: float
) -> Shape[Surface]:
    """A cylinder that hangs from `top`, swung forward by an angle in radians."""
    hanging = cylinder(surface, (0.0, 0.0, -length), radius, length)
    return hanging.turned(rotation_about("y", -swing)).shifted(top)
