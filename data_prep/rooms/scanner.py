"""A panoramic scanner: several standpoints, first hits only, noise, lit and textured colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from data_prep.rooms.layout import Room
from data_prep.rooms.materials import albedo
from data_prep.rooms.raycast import hit_distance, normals
from data_prep.rooms.shapes import Kind, Shape, rotation_about

NUM_VIEWS = 5
STEP = np.radians(1.5)  # between neighbouring rays
ELEVATION = np.radians((-75.0, 22.0))
MAX_RANGE = 5.0  # metres
RESOLUTION = 0.02  # metres; one point per cell, as in a fused mesh
PATCH = 0.4  # metres; size of the pieces that a surface is over-segmented into


@dataclass(frozen=True, eq=False)
class Scan:
    """P points of a room.

    Attributes:
        xyz: [P, 3] float32, metres.
        color: [P, 3] uint8.
        instance: [P] int32, index of the object in `Room.furniture`.
        segment: [P] int32 over-segmentation; a segment never crosses objects.
    """

    xyz: NDArray[np.float32]
    color: NDArray[np.uint8]
    instance: NDArray[np.int32]
    segment: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class _Returns:
    """What the scanner saw: per ray the shape it hit, where, from where."""

    shape: NDArray[np.int64]
    point: NDArray[np.float64]
    eye: NDArray[np.float64]
    view: NDArray[np.int64]


def scan(
    rng: Generator, room: Room, highest: float = ELEVATION[1], turn: float | None = None
) -> Scan:
    """Scan a room from several standpoints.

    Args:
        rng: source of all randomness.
        room: what is scanned.
        highest: elevation of the uppermost ray in radians.
        turn: radians by which the room is turned about z in the scan; any, if None.
    """
    shapes = [shape for item in room.furniture for shape in item.shapes]
    owner = np.repeat(np.arange(len(room.furniture)), [len(i.shapes) for i in room.furniture])
    eyes = _standpoints(rng, room)
    views = [_look(rng, shapes, eye, view, highest) for view, eye in enumerate(eyes)]
    seen = _Returns(*(np.concatenate(parts) for parts in zip(*views, strict=True)))
    normal = _normals(shapes, seen)
    kept = _kept(rng, seen, normal)
    seen = _Returns(seen.shape[kept], seen.point[kept], seen.eye[kept], seen.view[kept])
    color = _colors(rng, room, shapes, seen, normal[kept])
    point = _with_range_noise(rng, seen)
    keep = _thinned(point)
    patch = _cell_number(np.column_stack([seen.shape, np.floor(seen.point / PATCH)])[keep])
    _, first, segment = np.unique(patch, return_index=True, return_inverse=True)
    return Scan(
        xyz=_in_world(rng, point[keep], turn),
        color=color[keep],
        instance=owner[seen.shape[keep]].astype(np.int32),
        # Like ScanNet's, segment ids are vertex indices and not contiguous.
        segment=first[segment].astype(np.int32),
    )


def _standpoints(rng: Generator, room: Room) -> NDArray[np.float64]:
    """[NUM_VIEWS, 3] places of the scanner, clear of the furniture and far from each other."""
    width, depth, _ = room.size
    low = np.array([0.35, 0.35, 1.3])
    high = np.array([width - 0.35, depth - 0.35, 1.65])
    places = rng.uniform(low, high, (400, 3))
    near = (places[:, None] > room.obstacles[:, 0] - 0.15) & (
        places[:, None] < room.obstacles[:, 1] + 0.15
    )
    places = places[~np.any(near.all(axis=2), axis=1)]
    chosen = places[:1]
    while len(chosen) < NUM_VIEWS:
        distance = np.linalg.norm(places[:, None, :2] - chosen[None, :, :2], axis=2).min(axis=1)
        # Not the very farthest, which would always be a corner.
        rank = np.argsort(distance)[::-1][int(rng.integers(0, max(1, len(places) // 5)))]
        chosen = np.concatenate([chosen, places[rank : rank + 1]])
    return chosen


def _look(
    rng: Generator, shapes: list[Shape], eye: NDArray[np.float64], view: int, highest: float
) -> tuple[NDArray, ...]:
    """One panorama: the nearest hit of every ray over all shapes."""
    num_rows = round((highest - ELEVATION[0]) / STEP)
    num_columns = round(2 * np.pi / STEP)
    grid = (num_rows, num_columns)
    elevation = ELEVATION[0] + STEP * (np.arange(num_rows)[:, None] + rng.uniform(0, 1, grid))
    azimuth = STEP * (np.arange(num_columns) + rng.uniform(0, 1, grid))
    flat = np.cos(elevation)
    rays = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])
    nearest = np.full(grid, MAX_RANGE)
    hit = np.full(grid, -1)
    for index, shape in enumerate(shapes):
        window = _window(shape, eye, grid)
        directions = rays[:, window[0], window[1]]
        t = hit_distance(shape, eye, directions.reshape(3, -1)).reshape(directions.shape[1:])
        if shape.material.transmission:
            t = np.where(rng.uniform(0, 1, t.shape) < shape.material.transmission, np.inf, t)
        closer = t < nearest[window]
        nearest[window] = np.where(closer, t, nearest[window])
        hit[window] = np.where(closer, index, hit[window])
    # Rows near the poles are denser by 1 / cos: thin them to an even solid angle.
    returned = (hit >= 0) & (rng.uniform(0, 1, grid) < flat)
    point = eye + (nearest * rays)[:, returned].T
    return hit[returned], point, np.broadcast_to(eye, point.shape), np.full(len(point), view)


def _window(
    shape: Shape, eye: NDArray[np.float64], grid: tuple[int, int]
) -> tuple[NDArray[np.intp], ...]:
    """Rows and columns of the panorama that a shape's bounding sphere may cover."""
    num_rows, num_columns = grid
    offset = shape.center - eye
    distance = float(np.linalg.norm(offset))
    # A quad's third axis only gives its orientation.
    radius = float(np.linalg.norm(shape.axes[:2] if shape.kind is Kind.QUAD else shape.axes))
    if distance <= radius:
        return np.ix_(np.arange(num_rows), np.arange(num_columns))
    spread = np.arcsin(radius / distance)
    middle = np.arcsin(offset[2] / distance)
    low = int(np.floor((middle - spread - ELEVATION[0]) / STEP)) - 1
    high = int(np.ceil((middle + spread - ELEVATION[0]) / STEP)) + 1
    rows = np.arange(max(low, 0), min(high, num_rows))
    ratio = np.sin(spread) / max(np.cos(middle), 1e-9)
    if ratio >= 1:
        return np.ix_(rows, np.arange(num_columns))
    heading, half = np.arctan2(offset[1], offset[0]), np.arcsin(ratio)
    first = int(np.floor((heading - half) / STEP)) - 1
    last = int(np.ceil((heading + half) / STEP)) + 1
    columns = np.arange(first, min(last, first + num_columns)) % num_columns
    return np.ix_(rows, columns)


def _groups(shape: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
    """The rows of every shape that was hit."""
    order = np.argsort(shape, kind="stable")
    present, start = np.unique(shape[order], return_index=True)
    return list(zip(present.tolist(), np.split(order, start[1:]), strict=True))


def _normals(shapes: list[Shape], seen: _Returns) -> NDArray[np.float64]:
    """[P, 3] unit normals towards the scanner."""
    normal = np.empty_like(seen.point)
    for index, rows in _groups(seen.shape):
        normal[rows] = normals(shapes[index], seen.point[rows].T).T
    away = ((seen.eye - seen.point) * normal).sum(axis=1) < 0
    normal[away] *= -1
    return normal


def _kept(rng: Generator, seen: _Returns, normal: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Rays that graze a surface return less often."""
    ray = seen.eye - seen.point
    incidence = (ray * normal).sum(axis=1) / np.linalg.norm(ray, axis=1)
    return rng.uniform(0, 1, len(ray)) < np.clip(incidence / 0.3, 0.05, 0.97)


def _with_range_noise(rng: Generator, seen: _Returns) -> NDArray[np.float64]:
    """Noise along the ray that grows with the square of the distance, as of a depth camera."""
    ray = seen.point - seen.eye
    distance = np.linalg.norm(ray, axis=1, keepdims=True)
    sigma = 0.003 + 0.0015 * distance**2
    return seen.point + ray / distance * rng.normal(0.0, 1.0, distance.shape) * sigma


def _colors(
    rng: Generator,
    room: Room,
    shapes: list[Shape],
    seen: _Returns,
    normal: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """[P, 3] albedo under two lamps, seen with a varying exposure and a white balance."""
    color = np.empty_like(seen.point)
    for index, rows in _groups(seen.shape):
        color[rows] = albedo(shapes[index].material, seen.point[rows])
    light = np.full(len(color), rng.uniform(0.45, 0.65))
    for _ in range(2):
        lamp = rng.uniform((0.5, 0.5, 1.9), (room.size[0] - 0.5, room.size[1] - 0.5, 2.2))
        to_lamp = lamp - seen.point
        distance = np.linalg.norm(to_lamp, axis=1)
        facing = np.clip((to_lamp * normal).sum(axis=1) / distance, 0.0, 1.0)
        light += rng.uniform(0.3, 0.5) * facing / (1 + (distance / 2.5) ** 2)
    exposure = rng.normal(1.0, 0.05, NUM_VIEWS)[seen.view]
    balance = rng.normal(1.0, 0.04, 3)
    noisy = color * (light * exposure)[:, None] * balance + rng.normal(0.0, 0.025, color.shape)
    return np.clip(np.rint(255 * noisy), 0, 255).astype(np.uint8)


def _thinned(point: NDArray[np.float64]) -> NDArray[np.int64]:
    """[Q] rows of the first point in every cell, ascending."""
    number = _cell_number(np.floor(point / RESOLUTION))
    return np.sort(np.unique(number, return_index=True)[1])


def _cell_number(cell: NDArray[np.float64]) -> NDArray[np.int64]:
    """One number for every distinct row of whole numbers."""
    shifted = (cell - cell.min(axis=0)).astype(np.int64)
    return np.ravel_multi_index(tuple(shifted.T), tuple(shifted.max(axis=0) + 1))


def _in_world(
    rng: Generator, point: NDArray[np.float64], angle: float | None
) -> NDArray[np.float32]:
    """Turned about z, by any angle if none is given, and shifted to positive x and y."""
    turn = rotation_about("z", rng.uniform(0, 2 * np.pi) if angle is None else angle)
    x, y, z = point.T
    turned = np.column_stack([turn[0, 0] * x + turn[0, 1] * y, turn[1, 0] * x + turn[1, 1] * y, z])
    shift = np.array([*-turned[:, :2].min(axis=0), rng.uniform(-0.02, 0.08)])
    return (turned + shift).astype(np.float32)
