"""Rays against shapes: where a ray first meets each unit solid, and the surface normal there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from data_prep.rooms.mesh import hit_mesh, mesh_normals
from data_prep.rooms.shapes import Kind, Shape

Array = NDArray[np.float64]


def hit_distance(shape: Shape, origin: Array, directions: Array) -> Array:
    """Distance along each ray to its first hit of a shape.

    An affine map keeps the parameter t of `origin + t * direction`, so the unit solid is met at
    the same t in local coordinates.

    Args:
        shape: the primitive; `origin` must lie outside of it.
        origin: [3] common start of the rays, metres.
        directions: [3, n] unit vectors.

    Returns:
        [n] metres, infinite where the ray misses.
    """
    to_local = np.linalg.inv(shape.axes)
    start = _apply((origin - shape.center)[:, None], to_local)
    local = _apply(directions, to_local)
    if shape.mesh is not None:
        return hit_mesh(shape.mesh, start, local)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = _HIT[shape.kind](start, local)
    return np.where(t > 1e-6, t, np.inf)


def exit_distance(shape: Shape, origin: Array, directions: Array) -> Array:
    """Distance along each ray to where it leaves a box or an ellipsoid.

    Args:
        shape: of `Kind.BOX` or `Kind.SPHERE`.
        origin: [3] common start of the rays, metres.
        directions: [3, n] unit vectors.

    Returns:
        [n] metres; without meaning for rays that `hit_distance` says miss the shape.
    """
    to_local = np.linalg.inv(shape.axes)
    start = _apply((origin - shape.center)[:, None], to_local)
    local = _apply(directions, to_local)
    with np.errstate(divide="ignore", invalid="ignore"):
        if shape.kind is Kind.SPHERE:
            return _roots(start, local)[1]
        return np.maximum((-1 - start) / local, (1 - start) / local).min(axis=0)


def normals(shape: Shape, points: Array) -> Array:
    """[3, n] unit normals (of either sign) at [3, n] points on a shape's surface."""
    to_local = np.linalg.inv(shape.axes)
    at = _apply(points - shape.center[:, None], to_local)
    local = _NORMAL[shape.kind](at) if shape.mesh is None else mesh_normals(shape.mesh, at)
    # The gradient of f(to_local(p)) is the transposed map of the local gradient.
    world = _apply(local, to_local.T)
    return world / np.sqrt((world**2).sum(axis=0))


def _apply(vectors: Array, matrix: NDArray[np.floating]) -> Array:
    """Columns of `vectors` times `matrix` from the right; element-wise, so never threaded."""
    x, y, z = vectors
    return np.stack([x * matrix[0, k] + y * matrix[1, k] + z * matrix[2, k] for k in range(3)])


def _hit_box(o: Array, d: Array) -> Array:
    to_low, to_high = (-1 - o) / d, (1 - o) / d
    near = np.minimum(to_low, to_high).max(axis=0)
    far = np.maximum(to_low, to_high).min(axis=0)
    return np.where(near <= far, near, np.inf)


def _hit_quad(o: Array, d: Array) -> Array:
    t = -o[2] / d[2]
    inside = (np.abs(o[0] + t * d[0]) <= 1) & (np.abs(o[1] + t * d[1]) <= 1)
    return np.where(inside, t, np.inf)


def _roots(o: Array, d: Array) -> tuple[Array, Array]:
    """Both t with |o + t d| = 1 over the given components; NaN where there is none."""
    a, b, c = (d * d).sum(axis=0), (o * d).sum(axis=0), (o * o).sum(axis=0) - 1
    root = np.sqrt(b * b - a * c)
    return (-b - root) / a, (-b + root) / a


def _first_valid(
    o: Array, d: Array, ts: tuple[Array, ...], valid: Callable[[Array], NDArray[np.bool_]]
) -> Array:
    """The smallest positive t whose height w = o_w + t d_w is valid."""
    best = np.full(d.shape[1], np.inf)
    for t in ts:
        best = np.where((t > 1e-6) & valid(o[2] + t * d[2]), np.fmin(best, t), best)
    return best


def _hit_tube(o: Array, d: Array) -> Array:
    return _first_valid(o, d, _roots(o[:2], d[:2]), lambda w: np.abs(w) <= 1)


def _hit_cylinder(o: Array, d: Array) -> Array:
    best = _hit_tube(o, d)
    for lid in (-1.0, 1.0):
        t = (lid - o[2]) / d[2]
        inside = (o[0] + t * d[0]) ** 2 + (o[1] + t * d[1]) ** 2 <= 1
        best = np.where((t > 1e-6) & inside, np.fmin(best, t), best)
    return best


def _hit_sphere(o: Array, d: Array) -> Array:
    return np.nan_to_num(_roots(o, d)[0], nan=np.inf)


def _hit_bowl(o: Array, d: Array) -> Array:
    return _first_valid(o, d, _roots(o, d), lambda w: w <= 0)


def _normal_box(p: Array) -> Array:
    face = np.abs(p).argmax(axis=0)
    return (np.arange(3)[:, None] == face).astype(np.float64)


def _normal_cylinder(p: Array) -> Array:
    on_side = p[0] ** 2 + p[1] ** 2 > p[2] ** 2
    return np.stack([p[0] * on_side, p[1] * on_side, np.where(on_side, 0.0, 1.0)])


def _normal_tube(p: Array) -> Array:
    return np.stack([p[0], p[1], np.zeros_like(p[0])])


def _normal_sphere(p: Array) -> Array:
    return p


def _normal_quad(p: Array) -> Array:
    return np.stack([np.zeros_like(p[0]), np.zeros_like(p[0]), np.ones_like(p[0])])


_HIT: dict[Kind, Callable[[Array, Array], Array]] = {
    Kind.BOX: _hit_box,
    Kind.CYLINDER: _hit_cylinder,
    Kind.TUBE: _hit_tube,
    Kind.SPHERE: _hit_sphere,
    Kind.BOWL: _hit_bowl,
    Kind.QUAD: _hit_quad,
}
_NORMAL: dict[Kind, Callable[[Array], Array]] = {
    Kind.BOX: _normal_box,
    Kind.CYLINDER: _normal_cylinder,
    Kind.TUBE: _normal_tube,
    Kind.SPHERE: _normal_sphere,
    Kind.BOWL: _normal_sphere,
    Kind.QUAD: _normal_quad,
}
