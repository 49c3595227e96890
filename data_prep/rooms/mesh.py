"""Triangles as a unit solid: where rays first meet them, and their normals.

The triangles are bundled by place. A bundle's box is tried first, so that a ray meets few of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_BUNDLE = 24  # triangles
_MARGIN = 1e-6  # of a box around triangles, which may be flat; units of the solid


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles within [-1, 1]^3.

    Attributes:
        corners: [T, 3, 3] the corners of every triangle.
        bundles: rows of triangles that lie near each other; every triangle is in one.
    """

    corners: Array
    bundles: tuple[NDArray[np.intp], ...]


def bundled(corners: Array) -> Mesh:
    """A mesh of [T, 3, 3] corners; triangles without area are left out."""
    area = np.linalg.norm(_normals_of(corners), axis=1)
    corners = corners[area > 1e-12]
    centers = corners.mean(axis=1)

    def halves(rows: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
        if len(rows) <= _BUNDLE:
            yield rows
            return
        axis = int(np.ptp(centers[rows], axis=0).argmax())
        order = rows[np.argsort(centers[rows, axis], kind="stable")]
        yield from halves(order[: len(order) // 2])
        yield from halves(order[len(order) // 2 :])

    return Mesh(corners, tuple(halves(np.arange(len(corners)))) if len(corners) else ())


def hit_mesh(mesh: Mesh, start: Array, directions: Array) -> Array:
    """[n] smallest positive t with `start + t * directions` on a triangle, infinite where none.

    The intersection is that of Möller and Trumbore (1997), from either side.

    Args:
        mesh: the triangles.
        start: [3, 1] common start of the rays.
        directions: [3, n].
    """
    best = np.full(directions.shape[1], np.inf)
    for rows in mesh.bundles:
        corners = mesh.corners[rows]
        near, far = _box_span(corners, start, directions)
        rays = np.flatnonzero((near <= far) & (far > 0) & (near < best))
        if len(rays):
            t = _hit_triangles(corners, start[:, 0], directions[:, rays])
            best[rays] = np.minimum(best[rays], t)
    return best


def mesh_normals(mesh: Mesh, points: Array) -> Array:
    """[3, n] normals (of any length and either sign) of the triangles that hold [3, n] points."""
    distance = np.full(points.shape[1], np.inf)
    normal = np.zeros_like(points)
    normal[2] = 1.0
    for rows in mesh.bundles:
        corners = mesh.corners[rows]
        middle = (corners.min(axis=(0, 1)) + corners.max(axis=(0, 1))) / 2
        reach = np.ptp(corners, axis=(0, 1)) / 2 + _MARGIN
        held = np.flatnonzero(np.all(np.abs(points.T - middle) <= reach, axis=1))
        if len(held):
            away, triangle = _nearest_triangle(corners, points[:, held])
            better = away < distance[held]
            distance[held[better]] = away[better]
            normal[:, held[better]] = _normals_of(corners)[triangle[better]].T
    return normal


def _normals_of(corners: Array) -> Array:
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def _box_span(corners: Array, start: Array, directions: Array) -> tuple[Array, Array]:
    """Where rays enter and leave the box around triangles."""
    low = corners.min(axis=(0, 1))[:, None] - _MARGIN
    high = corners.max(axis=(0, 1))[:, None] + _MARGIN
    with np.errstate(divide="ignore", invalid="ignore"):
        to_low, to_high = (low - start) / directions, (high - start) / directions
    near = np.minimum(to_low, to_high).max(axis=0)
    far = np.maximum(to_low, to_high).min(axis=0)
    return near, far


def _hit_triangles(corners: Array, start: Array, directions: Array) -> Array:
    """[n] smallest positive t over [T] triangles."""
    a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    across = _cross(directions[:, None, :], ac.T[:, :, None])  # [3, T, n]
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1 / _dot(ab.T[:, :, None], across)
        offset = (start - a).T
        u = scale * _dot(offset[:, :, None], across)
        turned = np.cross(start - a, ab).T
        v = scale * _dot(directions[:, None, :], turned[:, :, None])
        t = scale * _dot(ac.T, turned)[:, None]
        valid = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
    return np.where(valid, t, np.inf).min(axis=0)


def _nearest_triangle(corners: Array, points: Array) -> tuple[Array, NDArray[np.intp]]:
    """[n] distance to the plane of the nearest triangle that a point lies over, and which it is."""
    a, ab, ac = corners[:, :1], corners[:, 1:2] - corners[:, :1], corners[:, 2:] - corners[:, :1]
    normal = _normals_of(corners)[:, None]
    square = (normal**2).sum(axis=2)
    offset = points.T - a  # [T, n, 3]
    u = (np.cross(offset, ac) * normal).sum(axis=2) / square
    v = (np.cross(ab, offset) * normal).sum(axis=2) / square
    away = np.abs((offset * normal).sum(axis=2)) / np.sqrt(square)
    away[(u < -_MARGIN) | (v < -_MARGIN) | (u + v > 1 + _MARGIN)] = np.inf
    triangle = away.argmin(axis=0)
    return away[triangle, np.arange(points.shape[1])], triangle


def _cross(a: Array, b: Array) -> Array:
    return np.stack([a[i] * b[j] - a[j] * b[i] for i, j in ((1, 2), (2, 0), (0, 1))])


def _dot(a: Array, b: Array) -> Array:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
