"""What stands and drives where along an endless street.

The street is made block by block and slot by slot, each from its own number: what is around the
sensor does not depend on how long the drive is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.random import Generator

from data_prep.rooms.shapes import Shape
from data_prep.streets import people, scenery, vehicles
from data_prep.streets.ground import BAY, BLOCK, SIDE_STREET, Ground
from data_prep.streets.labels import COUNTED, Label, Thing
from data_prep.streets.surfaces import Surface

VIEW = 85.0  # metres of u before and behind the sensor that are made
FIRST_BLOCK, LAST_BLOCK = -4, 1000
_PER_BLOCK = 64  # instance ids
_MAX_SLOT = 5000

Build = Callable[[Generator], list[Shape[Surface]]]

# What parks in a bay: share, label and builder.
_PARKED: tuple[tuple[float, Label, Build], ...] = (
    (0.66, Label.CAR, vehicles.car),
    (0.07, Label.OTHER_VEHICLE, vehicles.van),
    (0.04, Label.OTHER_VEHICLE, vehicles.trailer),
    (0.05, Label.TRUCK, vehicles.truck),
    (0.06, Label.MOTORCYCLE, vehicles.motorcycle),
    (0.02, Label.MOTORCYCLIST, vehicles.motorcyclist),
)  # what is left to 1 stays free
_DRIVING: tuple[tuple[float, Label, Build], ...] = (
    (0.55, Label.MOVING_CAR, vehicles.car),
    (0.08, Label.MOVING_OTHER_VEHICLE, vehicles.van),
    (0.06, Label.MOVING_TRUCK, vehicles.truck),
    (0.04, Label.MOVING_BUS, vehicles.bus),
    (0.07, Label.MOVING_MOTORCYCLIST, vehicles.motorcyclist),
)
_WALKING = ((0.6, Label.MOVING_PERSON, people.pedestrian),)
_CYCLING = ((0.6, Label.MOVING_BICYCLIST, vehicles.bicyclist),)


@dataclass(frozen=True)
class Stream:
    """Things that follow each other along the street at one speed.

    Attributes:
        kinds: share, label and builder of what a slot may hold.
        d: metres across the street.
        speed: metres of u per second; those with a negative one face backwards.
        spacing: metres between slots.
    """

    kinds: tuple[tuple[float, Label, Build], ...]
    d: float
    speed: float
    spacing: float


@dataclass(frozen=True, eq=False)
class Street:
    """An endless street.

    Attributes:
        seeds: numbers that every random choice follows from, besides a block's or a slot's own.
        ground: what everything stands on.
        streams: what moves.
    """

    seeds: tuple[int, ...]
    ground: Ground
    streams: tuple[Stream, ...]

    def things(self, u: float, time: float) -> list[Thing]:
        """All that stands or moves within `VIEW` of a place at a time (seconds), in the world.

        What drives in the sensor's own lane is left out where the sensor is.
        """
        first, last = int((u - VIEW) // BLOCK), int((u + VIEW) // BLOCK)
        standing = [thing for k in range(first, last + 1) for thing in self._block(k)]
        moving = [
            thing
            for number, stream in enumerate(self.streams)
            for thing in self._moving(number, stream, u, time)
        ]
        return standing + moving

    def _block(self, number: int) -> list[Thing]:
        builder = _Block(np.random.default_rng((*self.seeds, 1, number - FIRST_BLOCK)), self.ground)
        things = builder.build(number)
        first = 1 + (number - FIRST_BLOCK) * _PER_BLOCK
        counted = 0
        for k, thing in enumerate(things):
            if thing.label in COUNTED:
                things[k] = replace(thing, instance=first + counted)
                counted += 1
        return things

    def _moving(self, number: int, stream: Stream, u: float, time: float) -> Iterator[Thing]:
        origin = u - stream.speed * time
        first, last = (int((origin + end) // stream.spacing) for end in (-VIEW, VIEW))
        for slot in range(first, last + 1):
            rng = np.random.default_rng((*self.seeds, 2, number, slot + _MAX_SLOT))
            place = (slot + rng.uniform(0.3, 0.7)) * stream.spacing + stream.speed * time
            d = stream.d + rng.normal(0.0, 0.15)
            chosen = _choose(rng, stream.kinds)
            own_lane = stream is self.streams[0] and abs(place - u) < 14.0
            if chosen is None or own_lane:
                continue
            label, build = chosen
            instance = 1 + (slot + _MAX_SLOT) * len(self.streams) + number
            thing = Thing(label, tuple(build(rng)), instance)
            yield _put(self.ground, thing, place, d, 0.0 if stream.speed >= 0 else np.pi)


def draw_street(seeds: tuple[int, ...], ground: Ground, speed: float) -> Street:
    """A street and its traffic.

    Args:
        seeds: as in `Street`.
        ground: as in `Street`.
        speed: of the sensor in metres of u per second, which its own lane keeps to.
    """
    rng = np.random.default_rng((*seeds, 3))
    lane, edge = ground.half_road / 2, ground.half_road - 0.35
    walk = [ground.half_road + BAY + float(width) / 2 for width in ground.sidewalk]
    streams = (
        Stream(_DRIVING, -lane, speed, rng.uniform(28.0, 50.0)),
        Stream(_DRIVING, lane, -rng.uniform(7.0, 13.0), rng.uniform(28.0, 60.0)),
        Stream(_CYCLING, -edge, rng.uniform(3.5, 5.5), rng.uniform(25.0, 60.0)),
        Stream(_CYCLING, edge, -rng.uniform(3.5, 5.5), rng.uniform(25.0, 60.0)),
        Stream(_WALKING, -walk[0] + 0.4, rng.uniform(1.0, 1.6), rng.uniform(8.0, 25.0)),
        Stream(_WALKING, walk[1] - 0.4, -rng.uniform(1.0, 1.6), rng.uniform(8.0, 25.0)),
    )
    return Street(seeds, ground, streams)


def _choose(
    rng: Generator, kinds: tuple[tuple[float, Label, Build], ...]
) -> tuple[Label, Build] | None:
    """One of the kinds by its share; None for the share that is left."""
    shares = np.cumsum([share for share, _, _ in kinds])
    row = int(np.searchsorted(shares, rng.uniform(), side="right"))
    return None if row == len(kinds) else kinds[row][1:]


def _put(ground: Ground, thing: Thing, u: float, d: float, yaw: float) -> Thing:
    """Place a thing at street coordinates, turned by `yaw` from the street's direction."""
    along, across = np.array([u]), np.array([d])
    x, y = ground.course.point(along, across)[0]
    z = ground.height(along, across)[0]
    return thing.placed((x, y, z), float(ground.course.heading(along)[0]) + yaw)


@dataclass
class _Block:
    """The state while a block is being built."""

    rng: Generator
    ground: Ground
    things: list[Thing] = field(default_factory=list)

    def build(self, number: int) -> list[Thing]:
        start = number * BLOCK
        row = int(self.ground.block(np.array([start]))[0])
        for side in (0, 1):
            branches = bool(self.ground.side_street[row, side])
            free = start + (SIDE_STREET[1] + 1.0 if branches else 0.5)
            self._kerb(side, free, start + BLOCK, int(self.ground.strip[row, side]))
            self._lots(side, free, start + BLOCK - 0.5)
        return self.things

    def _add(
        self, things: Thing | list[Thing], u: float, away: float, side: int, yaw: float
    ) -> None:
        """Put things at `away` metres from the centre line; yaw 0 faces along the traffic."""
        d, turn = (-away, 0.0) if side == 0 else (away, np.pi)
        for thing in things if isinstance(things, list) else [things]:
            self.things.append(_put(self.ground, thing, u, d, yaw + turn))

    def _kerb(self, side: int, start: float, end: float, strip: int) -> None:
        """Bays with vehicles or a row of trees, then what stands at the sidewalk's inner edge."""
        rng, bay, inner = self.rng, self.ground.half_road + BAY / 2, self.ground.half_road + BAY
        if strip == Label.PARKING:
            for u in np.arange(start + 4.0, end - 3.0, rng.uniform(6.0, 7.0)):
                chosen = _choose(rng, _PARKED)
                if chosen is not None:
                    shapes = tuple(chosen[1](rng))
                    yaw = rng.choice((0.0, np.pi)) + rng.normal(0.0, 0.03)
                    place = u + rng.normal(0.0, 0.3), bay + rng.normal(0.0, 0.06)
                    self._add(Thing(chosen[0], shapes), *place, side, yaw)
        elif rng.uniform() < 0.7:
            for u in np.arange(start + 3.0, end - 2.0, rng.uniform(7.0, 11.0)):
                self._add(scenery.tree(rng), u, bay + 0.2, side, rng.uniform(0, 6.0))
        inner += 0.25
        self._add(scenery.lamp_post(rng), rng.uniform(start, end), inner, side, 0.0)
        if rng.uniform() < 0.6:
            self._add(scenery.sign(rng), rng.uniform(start, end), inner, side, rng.normal(0, 0.1))
        if rng.uniform() < 0.3:
            first = rng.uniform(start, end - 8.0)
            for u in np.arange(first, first + 8.0, 1.6):
                self._add(scenery.bollard(rng), u, inner, side, 0.0)
        for chance, label, build in (
            (0.3, Label.PERSON, people.pedestrian),
            (0.15, Label.BICYCLIST, vehicles.bicyclist),
            (0.6, Label.BICYCLE, vehicles.bicycle),
            (0.3, Label.BICYCLE, vehicles.bicycle),
        ):
            if rng.uniform() < chance:
                u = rng.uniform(start, end)
                thing = Thing(label, tuple(build(rng)))
                self._add(thing, u, inner + 0.5, side, rng.uniform(0, 2 * np.pi))

    def _lots(self, side: int, start: float, end: float) -> None:
        """Houses, gardens and woods beyond the sidewalk, each with its own front."""
        rng, edge = self.rng, self.ground.yard_start(side)
        setback = rng.uniform(0.1, 6.0) * float(rng.uniform() < 0.8)
        cuts = [start, *(start + np.cumsum(rng.uniform(8.0, 16.0, 8)))]
        cuts = [cut for cut in cuts if cut < end - 6.0] + [end]
        for low, high in pairwise(cuts):
            middle, width = (low + high) / 2, high - low
            front = scenery.fence if rng.uniform() < 0.45 else scenery.hedge
            built = rng.uniform() < 0.6
            if built:
                # The backs of things are away from the street, and their x axis runs with it.
                house = scenery.building(rng, width - rng.choice((0.0, 1.5, 3.0)))
                self._add(house, middle, edge + setback + 0.1, side, np.pi)
            if rng.uniform() < 0.2:
                self._add(scenery.street_object(rng), middle, edge - 0.3, side, np.pi)
            if (not built or setback > 1.5) and rng.uniform() < 0.65:
                self._add(front(rng, width - 1.5), middle, edge + 0.15, side, np.pi)
            self._garden(side, (low, high), edge + 1.0, edge + (setback if built else 18.0))

    def _garden(self, side: int, span: tuple[float, float], near: float, far: float) -> None:
        """Trees, bushes and tufts between two distances from the centre line."""
        area = (span[1] - span[0]) * max(far - near, 0.0)
        for _ in range(self.rng.poisson(0.07 * area)):
            u, away = self.rng.uniform(*span), self.rng.uniform(near, far)
            kind = self.rng.choice(3, p=(0.25, 0.45, 0.3))
            made = (scenery.tree, scenery.bush, scenery.grass)[kind](self.rng)
            self._add(made, u, away, side, 0.0)
