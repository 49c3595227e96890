"""The primitives that rooms are made of: unit solids under an affine map.

Lengths are metres. A shape's local coordinates (u, v, w) map to the room by
`center + u * axes[0] + v * axes[1] + w * axes[2]`; every unit solid lies in [-1, 1]^3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from data_prep.rooms.mesh import Mesh

_FLAT = 1e-3  # metres; the half axis of a quad across its plane, which has no thickness

Vector = Sequence[float] | NDArray[np.float64]
Material = TypeVar("Material")
"""What a scanner needs to know of a surface: a look in rooms, a reflectivity in streets."""


class Kind(Enum):
    """The unit solids."""

    BOX = "box"  # |u|, |v|, |w| <= 1
    CYLINDER = "cylinder"  # u^2 + v^2 <= 1, |w| <= 1
    TUBE = "tube"  # the side of the cylinder, open at both ends
    SPHERE = "sphere"  # u^2 + v^2 + w^2 <= 1
    BOWL = "bowl"  # the lower half of the sphere's surface, open at the top
    QUAD = "quad"  # |u|, |v| <= 1, w = 0
    MESH = "mesh"  # the triangles of `Shape.mesh`


class Category(NamedTuple):
    """What an annotator would call an object: the raw name and the NYU40 id it stands for."""

    name: str
    nyu40: int


@dataclass(frozen=True, eq=False)
class Shape(Generic[Material]):
    """One primitive.

    Attributes:
        kind: its unit solid.
        center: [3] float64.
        axes: [3, 3] float64, one half axis per row.
        material: what it looks like.
        mesh: the triangles of `Kind.MESH`, shared between shapes.
    """

    kind: Kind
    center: NDArray[np.float64]
    axes: NDArray[np.float64]
    material: Material
    mesh: Mesh | None = None

    def turned(
        self, rotation: NDArray[np.float64], pivot: Vector = (0.0, 0.0, 0.0)
    ) -> Shape[Material]:
        """Rotated about `pivot` by the [3, 3] matrix that maps column vectors."""
        pivot = np.asarray(pivot, dtype=np.float64)
        center = rotation @ (self.center - pivot) + pivot
        return replace(self, center=center, axes=self.axes @ rotation.T)

    def shifted(self, shift: Vector) -> Shape[Material]:
        return replace(self, center=self.center + np.asarray(shift, dtype=np.float64))


@dataclass(frozen=True, eq=False)
class Furniture:
    """One annotated object: an instance of a category.

    Attributes:
        category: what it is.
        shapes: what it consists of.
        yaw: radians by which it has been turned since it was built.
    """

    category: Category
    shapes: tuple[Shape, ...]
    yaw: float = 0.0

    def placed(self, x: float, y: float, z: float = 0.0, yaw: float = 0.0) -> Furniture:
        """Rotated by `yaw` (radians, about the own origin), then shifted."""
        rotation = rotation_about("z", yaw)
        shapes = tuple(shape.turned(rotation).shifted((x, y, z)) for shape in self.shapes)
        return replace(self, shapes=shapes, yaw=self.yaw + yaw)


def moved(
    shapes: Sequence[Shape[Material]], rotation: NDArray[np.float64], shift: Vector
) -> list[Shape[Material]]:
    """Many shapes rotated about the origin by a [3, 3] matrix, then shifted."""
    if not shapes:
        return []
    centers = np.einsum("ij,sj->si", rotation, [shape.center for shape in shapes])
    axes = np.einsum("ij,saj->sai", rotation, [shape.axes for shape in shapes])
    return [
        Shape(shape.kind, center, own_axes, shape.material, shape.mesh)
        for shape, center, own_axes in zip(
            shapes, centers + np.asarray(shift, dtype=np.float64), axes, strict=True
        )
    ]


def bounds(group: Sequence[Furniture]) -> NDArray[np.float64]:
    """[2, 3] lower and upper corner of the axis-aligned box around a group's shapes."""
    center = np.array([shape.center for item in group for shape in item.shapes])
    reach = np.array([np.abs(shape.axes).sum(axis=0) for item in group for shape in item.shapes])
    return np.stack([(center - reach).min(axis=0), (center + reach).max(axis=0)])


def rotation_about(axis: str, angle: float) -> NDArray[np.float64]:
    """[3, 3] right-handed rotation by `angle` radians about x, y or z."""
    cos, sin = np.cos(angle), np.sin(angle)
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    rotation = np.eye(3)
    rotation[i, i] = rotation[j, j] = cos
    rotation[i, j], rotation[j, i] = -sin, sin
    return rotation


def box(material: Material, low: Vector, high: Vector) -> Shape[Material]:
    """The axis-aligned box between two corners."""
    low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    return Shape(Kind.BOX, (low + high) / 2, np.diag((high - low) / 2), material)


def cylinder(
    material: Material, base: Vector, radius: float | tuple[float, float], height: float
) -> Shape[Material]:
    """An upright, closed cylinder on `base`, of circular or elliptic section."""
    return _upright(Kind.CYLINDER, material, base, radius, height)


def tube(
    material: Material, base: Vector, radius: float | tuple[float, float], height: float
) -> Shape[Material]:
    """An upright cylinder without lids."""
    return _upright(Kind.TUBE, material, base, radius, height)


def ellipsoid(material: Material, center: Vector, radii: Vector) -> Shape[Material]:
    """An axis-aligned ellipsoid."""
    return Shape(Kind.SPHERE, np.asarray(center, dtype=np.float64), np.diag(radii), material)


def bowl(material: Material, rim_center: Vector, radii: Vector) -> Shape[Material]:
    """The lower half of an ellipsoid's surface, seen from inside and outside."""
    return Shape(Kind.BOWL, np.asarray(rim_center, dtype=np.float64), np.diag(radii), material)


def quad(material: Material, center: Vector, half_u: Vector, half_v: Vector) -> Shape[Material]:
    """The parallelogram `center ± half_u ± half_v`."""
    normal = np.cross(half_u, half_v)
    axes = np.stack([half_u, half_v, _FLAT * normal / np.linalg.norm(normal)])
    return Shape(Kind.QUAD, np.asarray(center, dtype=np.float64), axes, material)


def panel(
    material: Material, low: Vector, high: Vector, hole: tuple[Vector, Vector]
) -> list[Shape[Material]]:
    """A box that lies in the xy plane with a rectangular hole, as four boxes."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    (hx0, hy0), (hx1, hy1) = hole
    return [
        box(material, (x0, y0, z0), (hx0, y1, z1)),
        box(material, (hx1, y0, z0), (x1, y1, z1)),
        box(material, (hx0, y0, z0), (hx1, hy0, z1)),
        box(material, (hx0, hy1, z0), (hx1, y1, z1)),
    ]


def sheet(
    material: Material,
    start: tuple[float, float],
    end: tuple[float, float],
    z: tuple[float, float],
    wave: tuple[float, float, float],
) -> list[Shape[Material]]:
    """A hanging cloth from `start` to `end` (x, y) as upright strips.

    Args:
        material: of the cloth.
        start: one end.
        end: the other end.
        z: lower and upper edge.
        wave: amplitude, length and phase (radians) of its folds.
    """
    amplitude, length, phase = wave
    start_xy, end_xy = np.asarray(start), np.asarray(end)
    span = float(np.linalg.norm(end_xy - start_xy))
    along = (end_xy - start_xy) / span
    across = np.array([-along[1], along[0]])
    steps = np.linspace(0.0, span, max(2, round(6 * span / length)) + 1)
    offset = amplitude * np.sin(2 * np.pi * steps / length + phase)
    line = start_xy + steps[:, None] * along + offset[:, None] * across
    middle, half = (z[0] + z[1]) / 2, (z[1] - z[0]) / 2
    return [
        quad(material, (*((p + q) / 2), middle), (*((q - p) / 2), 0.0), (0.0, 0.0, half))
        for p, q in pairwise(line)
    ]


def _upright(
    kind: Kind,
    material: Material,
    base: Vector,
    radius: float | tuple[float, float],
    height: float,
) -> Shape[Material]:
    rx, ry = radius if isinstance(radius, tuple) else (radius, radius)
    center = np.asarray(base, dtype=np.float64) + np.array([0.0, 0.0, height / 2])
    return Shape(kind, center, np.diag([rx, ry, height / 2]), material)
