"""A rotating LiDAR with the beams of Velodyne's HDL-64E: rays, first hits, what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from data_prep.rooms.raycast import exit_distance, hit_distance, normals
from data_prep.rooms.shapes import Shape, moved
from data_prep.streets.ground import Ground
from data_prep.streets.labels import Label, Thing
from data_prep.streets.surfaces import ASPHALT, GRAVEL, LAWN, MARKING, PAVING, Surface

Array = NDArray[np.float64]

HEIGHT = 1.73  # metres above the road, as on KITTI's car
MAX_RANGE = 80.0  # metres
# Degrees: 32 beams a third of a degree apart above 32 beams half a degree apart.
ELEVATIONS = np.concatenate([np.linspace(2.0, -8.33, 32), np.linspace(-8.83, -24.8, 32)])
RANGE_NOISE = 0.015  # metres, standard deviation
_REMISSION_NOISE = 0.03
_REMISSION_STEP = 0.01  # KITTI's remission has two decimals
# A return is detected with the probability 1 - exp(-power * (_DETECTED / range)^2), where power is
# reflectivity times the cosine of incidence: asphalt is lost at about 50 m.
_DETECTED = 300.0  # metres
_ATTENUATION = 0.004  # of the remission, per metre
_OUTLIERS = 2e-4  # share of returns from somewhere before or behind the surface
_NAMED_RANGE = 55.0  # metres; beyond, annotators leave two of three returns unlabelled
_UNNAMED = 0.65

GROUND_HIT, NO_HIT = -2, -1
_GROUND_SURFACES = {
    Label.ROAD: ASPHALT,
    Label.LANE_MARKING: MARKING,
    Label.PARKING: ASPHALT,
    Label.SIDEWALK: PAVING,
    Label.TERRAIN: LAWN,
    Label.OTHER_GROUND: GRAVEL,
}


@dataclass(frozen=True)
class Beams:
    """The grid of rays.

    Attributes:
        num_azimuths: rays of a beam in a turn.
    """

    num_azimuths: int

    def __post_init__(self) -> None:
        if not 8 <= self.num_azimuths <= 10_000:
            raise ValueError(f"num_azimuths must be in 8..10000; got {self.num_azimuths}")

    def directions(self, rng: Generator) -> Array:
        """[3, beams, azimuths] unit vectors in the sensor's frame: x forward, y left, z up.

        Azimuths run counter-clockwise from x, in every beam from its own start.
        """
        grid = len(ELEVATIONS), self.num_azimuths
        elevation = np.radians(ELEVATIONS)[:, None]
        shift = rng.uniform(0.0, 0.9, (grid[0], 1)) + rng.uniform(0.0, 0.1, grid)
        azimuth = (np.arange(grid[1]) + shift) * (2 * np.pi / grid[1])
        flat = np.broadcast_to(np.cos(elevation), grid)
        up = np.broadcast_to(np.sin(elevation), grid)
        return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), up])


class Pose(NamedTuple):
    """Where the sensor is: [3] metres and the [3, 3] rotation from its frame to the world's."""

    position: Array
    rotation: Array


@dataclass(frozen=True, eq=False)
class LidarScan:
    """P returns, beam by beam from the uppermost one, counter-clockwise.

    Attributes:
        points: [P, 4] float32: x, y, z in the sensor's frame in metres, remission in 0..1.
        label: [P] int64 raw ids.
        instance: [P] int64, 0 where none.
        shape: [P] int64, which of the things' shapes returned it, counted through; `GROUND_HIT`
            for the ground.
    """

    points: NDArray[np.float32]
    label: NDArray[np.int64]
    instance: NDArray[np.int64]
    shape: NDArray[np.int64]


class _Hits(NamedTuple):
    """Rays that met something: their directions [3, P] and ranges, which shape, and whether the
    return comes from inside of it."""

    direction: Array
    range: Array
    shape: NDArray[np.int64]


def scan(
    rng: Generator, things: Sequence[Thing], ground: Ground, pose: Pose, beams: Beams
) -> LidarScan:
    """Take one scan.

    Args:
        rng: source of all noise.
        things: what stands around, in the world's frame.
        ground: what it stands on.
        pose: of the sensor.
        beams: its rays.
    """
    to_sensor = pose.rotation.T
    in_world = [shape for thing in things for shape in thing.shapes]
    shapes = moved(in_world, to_sensor, -to_sensor @ pose.position)
    owner = np.repeat(np.arange(len(things)), [len(thing.shapes) for thing in things])
    hits = _cast(rng, shapes, ground, pose, beams.directions(rng))
    label, instance, surface = _identity(hits, things, owner, ground, pose, shapes)
    incidence = _incidence(rng, hits, shapes, ground, pose)
    power = surface["reflectivity"] * incidence
    detected = -np.expm1(-power * (_DETECTED / hits.range) ** 2) * (1 - surface["absent"])
    kept = rng.uniform(size=len(label)) < detected
    remission = _remission(rng, surface, incidence, hits.range)
    distance = hits.range + rng.normal(0.0, RANGE_NOISE, len(label))
    stray = rng.uniform(size=len(label)) < _OUTLIERS
    distance = np.where(stray, distance * rng.uniform(0.3, 1.5, len(label)), distance)
    label = np.where(_is_unnamed(rng, distance), int(Label.UNLABELED), label)
    label = np.where(stray, int(Label.OUTLIER), label)
    instance = np.where(label < Label.CAR, 0, instance)
    kept &= distance < MAX_RANGE
    points = np.column_stack([(hits.direction * distance).T, remission])
    return LidarScan(points[kept].astype(np.float32), label[kept], instance[kept], hits.shape[kept])


def _cast(
    rng: Generator, shapes: Sequence[Shape[Surface]], ground: Ground, pose: Pose, rays: Array
) -> _Hits:
    """The nearest hit of every ray over the ground and all shapes."""
    flat = rays.reshape(3, -1)
    world = np.stack([sum(pose.rotation[i, k] * flat[k] for k in range(3)) for i in range(3)])
    nearest = ground.hit(pose.position, world, MAX_RANGE).reshape(rays.shape[1:])
    hit = np.where(np.isfinite(nearest), GROUND_HIT, NO_HIT)
    nearest = np.minimum(nearest, MAX_RANGE)
    eye = np.zeros(3)
    for index, rows, columns in _windows(shapes, rays.shape[2]):
        window = np.ix_(rows, columns)
        directions = rays[:, window[0], window[1]].reshape(3, -1)
        t = _returns(rng, shapes[index], eye, directions).reshape(len(rows), len(columns))
        closer = t < nearest[window]
        nearest[window] = np.where(closer, t, nearest[window])
        hit[window] = np.where(closer, index, hit[window])
    met = hit != NO_HIT
    return _Hits(rays[:, met], nearest[met], hit[met])


def _returns(rng: Generator, shape: Shape[Surface], eye: Array, directions: Array) -> Array:
    """[n] metres at which a shape returns rays, infinite where it does not."""
    t = hit_distance(shape, eye, directions)
    met = np.flatnonzero(np.isfinite(t))
    surface = shape.material
    if surface.depth:
        inside = t[met] + rng.exponential(surface.depth, len(met))
        out = exit_distance(shape, eye, directions[:, met])
        t[met] = np.where(inside < out, inside, np.inf)
    if surface.open:
        t[met[rng.uniform(size=len(met)) < surface.open]] = np.inf
    return t


def _windows(
    shapes: Sequence[Shape[Surface]], num_azimuths: int
) -> list[tuple[int, NDArray[np.intp], NDArray[np.intp]]]:
    """The beams and azimuths that may meet each shape in range, from the corners around it."""
    signs = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
    pitch, beams = 2 * np.pi / num_azimuths, np.radians(-ELEVATIONS)
    windows = []
    for index, shape in enumerate(shapes):
        corners = shape.center + signs @ shape.axes
        reach = np.hypot(*corners[:, :2].T)
        heading = np.arctan2(shape.center[1], shape.center[0])
        turn = np.arctan2(corners[:, 1], corners[:, 0]) - heading
        turn = (turn + np.pi) % (2 * np.pi) - np.pi
        # The corners' extent along the heading bounds the distance to all that is between them.
        near = float((reach * np.cos(turn)).min())
        if near > MAX_RANGE:
            continue
        columns = np.arange(num_azimuths)
        if near > 0.0:
            first = int((heading + turn.min()) // pitch) - 1
            last = int((heading + turn.max()) // pitch) + 1
            columns = np.arange(first, min(last + 1, first + num_azimuths)) % num_azimuths
        low, high = corners[:, 2].min(), corners[:, 2].max()
        ends = [max(near, 0.0), float(reach.max())]
        upper, lower = np.arctan2(high, ends).max(), np.arctan2(low, ends).min()
        rows = np.arange(np.searchsorted(beams, -upper), np.searchsorted(beams, -lower, "right"))
        if len(rows):
            windows.append((index, rows, columns))
    return windows


def _groups(shape: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
    """The rows of every shape that was hit."""
    order = np.argsort(shape, kind="stable")
    present, start = np.unique(shape[order], return_index=True)
    return list(zip(present.tolist(), np.split(order, start[1:]), strict=True))


def _in_world(hits: _Hits, pose: Pose) -> Array:
    """[3, P] where the rays hit."""
    x, y, z = hits.direction * hits.range
    turn = pose.rotation
    return (
        np.stack([turn[i, 0] * x + turn[i, 1] * y + turn[i, 2] * z for i in range(3)])
        + (pose.position[:, None])
    )


def _identity(
    hits: _Hits,
    things: Sequence[Thing],
    owner: NDArray[np.int64],
    ground: Ground,
    pose: Pose,
    shapes: Sequence[Shape[Surface]],
) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[str, Array]]:
    """Label, instance and surface of every hit."""
    label = np.zeros(len(hits.range), dtype=np.int64)
    instance = np.zeros_like(label)
    surface = {name: np.zeros(len(label)) for name in ("reflectivity", "gloss", "absent")}

    def fill(rows: NDArray[np.int64], found: Surface) -> None:
        for name, values in surface.items():
            values[rows] = getattr(found, name)

    for index, rows in _groups(hits.shape):
        if index == GROUND_HIT:
            x, y, _ = _in_world(hits, pose)[:, rows]
            label[rows] = ground.label(*ground.course.coordinates(x, y))
            for kind, found in _GROUND_SURFACES.items():
                fill(rows[label[rows] == kind], found)
        else:
            thing = things[owner[index]]
            label[rows], instance[rows] = thing.label, thing.instance
            fill(rows, shapes[index].material)
    return label, instance, surface


def _incidence(
    rng: Generator, hits: _Hits, shapes: Sequence[Shape[Surface]], ground: Ground, pose: Pose
) -> Array:
    """[P] cosine of the angle between ray and normal; leaves stand at any angle."""
    cosine = np.empty(len(hits.range))
    for index, rows in _groups(hits.shape):
        direction = hits.direction[:, rows]
        if index == GROUND_HIT:
            normal = np.broadcast_to(pose.rotation[2][:, None], direction.shape)
        elif shapes[index].material.depth:
            cosine[rows] = rng.uniform(0.3, 1.0, len(rows))
            continue
        else:
            normal = normals(shapes[index], direction * hits.range[rows])
        cosine[rows] = np.abs((direction * normal).sum(axis=0))
    return cosine


def _remission(rng: Generator, surface: dict[str, Array], incidence: Array, range_: Array) -> Array:
    """[P] remission: a rough part that hardly depends on incidence, a glossy one that does."""
    rough, gloss = incidence**0.15, surface["gloss"]
    shine = (1 - gloss) * rough + gloss * incidence**6
    value = surface["reflectivity"] * shine * np.exp(-_ATTENUATION * range_)
    noisy = value * rng.normal(1.0, 0.15, len(value)) + rng.normal(
        0.0, _REMISSION_NOISE, len(value)
    )
    return np.clip(np.rint(noisy / _REMISSION_STEP) * _REMISSION_STEP, 0.0, 1.0)


def _is_unnamed(rng: Generator, distance: Array) -> NDArray[np.bool_]:
    return (distance > _NAMED_RANGE) & (rng.uniform(size=len(distance)) < _UNNAMED)
