"""The ground of a street: its strips, their heights, and where rays meet it.

From the middle outwards: road, a strip along the kerb (parking bays, lawn or pavement), sidewalk,
front yards. What a strip is changes from block to block; side streets cut through all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from data_prep.streets.course import Array, Course, draw_course
from data_prep.streets.labels import Label

BLOCK = 40.0  # metres of u
BAY = 2.3  # metres; width of the strip along the kerb
SIDE_STREET = (2.0, 8.5)  # metres from a block's start
_CROSSING = (10.0, 13.0)  # metres from a block's start
_KERB = 0.12  # metres
_YARD = 14.0  # metres from the sidewalk, after which the ground is level again
_NUM_STEPS = 10
_NUM_HALVINGS = 7
_CYCLE = 64  # blocks after which what they have repeats, 2.5 km: farther than anything can see


@dataclass(frozen=True, eq=False)
class Ground:
    """The ground along a course. Sides: 0 right, 1 left.

    Attributes:
        course: the centre line.
        half_road: metres from the line to the kerb or the bays.
        sidewalk: [2] width in metres.
        yard: [2] rise of the front yards, metres per metre.
        strip: [blocks, 2] label of the strip along the kerb.
        front: [blocks, 2] label of the front yards.
        side_street: [blocks, 2] whether a street branches off.
        crossing: [blocks] whether there is a zebra crossing.
        edge_lines: whether there are lines along the road's edges.
    """

    course: Course
    half_road: float
    sidewalk: Array
    yard: Array
    strip: NDArray[np.int64]
    front: NDArray[np.int64]
    side_street: NDArray[np.bool_]
    crossing: NDArray[np.bool_]
    edge_lines: bool

    def yard_start(self, side: int) -> float:
        """Metres from the centre line to the outer edge of the sidewalk."""
        return self.half_road + BAY + float(self.sidewalk[side])

    def block(self, u: Array) -> NDArray[np.int64]:
        """Rows of the tables of blocks."""
        return np.floor(u / BLOCK).astype(np.int64) % _CYCLE

    def height(self, u: Array, d: Array) -> Array:
        """[n] metres at street coordinates."""
        side, block = (d > 0).astype(np.int64), self.block(u)
        away = np.abs(d) - self.half_road
        raised = (away > 0) & ~self._in_side_street(u, block, side)
        raised &= (self.strip[block, side] != Label.PARKING) | (away > BAY)
        yard = np.clip(away - BAY - self.sidewalk[side], 0.0, _YARD)
        bumps = 0.03 * np.sin(0.9 * u) * np.sin(1.1 * d) * np.minimum(yard, 1.0)
        kerb = np.where(raised, _KERB + self.yard[side] * yard + bumps, 0.0)
        return self.course.elevation(u) + kerb

    def label(self, u: Array, d: Array) -> NDArray[np.int64]:
        """[n] raw ids at street coordinates."""
        side, block = (d > 0).astype(np.int64), self.block(u)
        away = np.abs(d) - self.half_road
        label = np.where(away < BAY, self.strip[block, side], int(Label.SIDEWALK))
        label = np.where(away > BAY + self.sidewalk[side], self.front[block, side], label)
        road = (away < 0) | self._in_side_street(u, block, side)
        label = np.where(road, int(Label.ROAD), label)
        return np.where(self._on_marking(u, d, block), int(Label.LANE_MARKING), label)

    def _in_side_street(
        self, u: Array, block: NDArray[np.int64], side: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        along = u % BLOCK
        inside = (along > SIDE_STREET[0]) & (along < SIDE_STREET[1])
        return inside & self.side_street[block, side]

    def _on_marking(self, u: Array, d: Array, block: NDArray[np.int64]) -> NDArray[np.bool_]:
        along, away = u % BLOCK, np.abs(d)
        crossing = (along > _CROSSING[0]) & (along < _CROSSING[1]) & self.crossing[block]
        dashes = (away < 0.08) & (u % 8.0 < 4.0) & ~crossing
        edges = (np.abs(away - self.half_road + 0.25) < 0.07) & self.edge_lines
        stripes = crossing & (d % 1.0 < 0.5) & (away < self.half_road - 0.3)
        return dashes | edges | stripes

    def hit(self, origin: Array, directions: Array, max_range: float) -> Array:
        """Where rays first meet the ground: marching in even steps, then halving the last one.

        Args:
            origin: [3] common start above the ground, metres.
            directions: [3, n] unit vectors.
            max_range: metres.

        Returns:
            [n] metres along each ray, infinite where it meets no ground.
        """
        low, high = self._height_range()
        with np.errstate(divide="ignore"):
            enter = np.where(directions[2] < 0, (high - origin[2]) / directions[2], 0.0)
            leave = np.where(directions[2] < 0, (low - origin[2]) / directions[2], np.inf)
        start = np.clip(enter, 0.0, max_range)
        span = np.clip(leave, 0.0, max_range) - start
        above, below = start.copy(), np.full_like(start, np.inf)
        for step in range(1, _NUM_STEPS + 1):
            # Quadratic, as rays come down steeply near the sensor and flatly far from it.
            t = start + span * (step / _NUM_STEPS) ** 2
            open_ = np.flatnonzero(np.isinf(below))
            under = self._is_under(origin, directions[:, open_], t[open_])
            below[open_[under]] = t[open_[under]]
            above[open_[~under]] = t[open_[~under]]
        hit = np.flatnonzero(np.isfinite(below))
        near, far = above[hit], below[hit]
        for _ in range(_NUM_HALVINGS):
            middle = (near + far) / 2
            under = self._is_under(origin, directions[:, hit], middle)
            near, far = np.where(under, near, middle), np.where(under, middle, far)
        below[hit] = far
        return below

    def _is_under(self, origin: Array, directions: Array, t: Array) -> NDArray[np.bool_]:
        x, y, z = origin[:, None] + directions * t
        return z < self.height(*self.course.coordinates(x, y))

    def _height_range(self) -> tuple[float, float]:
        hills = float(np.abs(self.course.hills[:, 0]).sum())
        yard = float(self.yard.max()) * _YARD
        return -hills - 0.05, hills + _KERB + yard + 0.05


def draw_ground(rng: Generator) -> Ground:
    """A street of its own: course, widths, and what its blocks have."""
    course = draw_course(rng)
    strips = [Label.PARKING, Label.TERRAIN, Label.SIDEWALK]
    fronts = [Label.TERRAIN, Label.OTHER_GROUND, Label.SIDEWALK]
    return Ground(
        course=course,
        half_road=rng.uniform(3.4, 4.4),
        sidewalk=rng.uniform(1.6, 3.2, 2),
        yard=rng.uniform(0.0, 0.05, 2),
        strip=rng.choice(strips, (_CYCLE, 2), p=(0.5, 0.2, 0.3)),
        front=rng.choice(fronts, (_CYCLE, 2), p=(0.7, 0.1, 0.2)),
        side_street=rng.uniform(size=(_CYCLE, 2)) < 0.2,
        crossing=rng.uniform(size=_CYCLE) < 0.12,
        edge_lines=bool(rng.uniform() < 0.5),
    )
