"""Transforms of coordinates. Normals turn with them; lengths are in metres.

Only `CenterShift` keeps `xyz + origin` at the world position. The random transforms leave the
place and shape of the real scene, so for them `origin` has no meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, pi, sin
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pc3d.data.sample import Float, PointSample, bounds

_AXES = "xyz"


def _happens(p: float, rng: np.random.Generator) -> bool:
    return bool(rng.random() < p)


def _box_center(xyz: Float) -> Float:
    low, high = bounds(xyz)
    center: Float = (low + high) / 2
    return center


@dataclass(frozen=True, kw_only=True)
class CenterShift:
    """Move the middle of the bounding box to x = y = 0; the same distance is added to `origin`.

    Args:
        apply_z: also move the lowest point to z = 0; otherwise z stays.
    """

    legal_in_eval: ClassVar[bool] = True
    apply_z: bool = True

    def __call__(self, sample: PointSample, rng: np.random.Generator) -> PointSample:
        shift = _box_center(sample.xyz)
        shift[2] = sample.xyz[:, 2].min() if self.apply_z else 0.0
        return sample.with_(xyz=sample.xyz - shift, origin=sample.origin + shift)


@dataclass(frozen=True, kw_only=True)
class RandomDropout:
    """Keep floor(P * (1 - ratio)) random points, at least one, in their order.

    Args:
        ratio: fraction of the points that goes, in [0, 1).
        p: probability of the transform.
    """

    ratio: float = 0.2
    p: float = 0.2

    def __post_init__(self) -> None:
        if not 0.0 <= self.ratio < 1.0:
            raise ValueError(f"RandomDropout: ratio must lie in [0, 1); got {self.ratio}")

    def __call__(self, sample: PointSample, rng: np.random.Generator) -> PointSample:
        if not _happens(self.p, rng):
            return sample
        num_kept = max(1, int(len(sample) * (1.0 - self.ratio)))
        return sample.select(np.sort(rng.permutation(len(sample))[:num_kept]))


@dataclass(frozen=True, kw_only=True)
class RandomRotate:
    """Turn about one axis by an angle drawn uniformly, counter-clockwise seen from its tip.

    Args:
        angle: smallest and largest angle, in units of pi: (-1, 1) is any direction.
        axis: `"x"`, `"y"` or `"z"`.
        center: the fixed point in metres, or None for the middle of the bounding box. LiDAR scans
            use (0, 0, 0), the sensor.
        p: probability of the transform.
    """

    angle: Sequence[float] = (-1.0, 1.0)
    axis: str = "z"
    center: Sequence[float] | None = None
    p: float = 0.5

    def __post_init__(self) -> None:
        if self.axis not in tuple(_AXES):
            raise ValueError(f"RandomRotate: axis must be x, y or z; got {self.axis!r}")

    def __call__(self, sample: PointSample, rng: np.random.Generator) -> PointSample:
        if not _happens(self.p, rng):
            return sample
        low, high = self.angle
        rotation = rotation_matrix(self.axis, rng.uniform(low, high) * pi)
        center = _box_center(sample.xyz) if self.center is None else np.asarray(self.center)
        return rotated(sample, rotation, center)


def rotated(
    sample: PointSample, rotation: NDArray[np.float64], center: NDArray[np.floating]
) -> PointSample:
    """The sample turned by `rotation` ([3, 3]) about `center` ([3] metres), normals along."""
    turned = (sample.xyz - center) @ rotation.T + center
    return _moved(sample, turned, lambda normal: normal @ rotation.T)


def rotation_matrix(axis: str, angle: float) -> NDArray[np.float64]:
    """[3, 3] float64, the right-handed rotation about a coordinate axis; angle in radians."""
    first = (_AXES.index(axis) + 1) % 3
    second = (first + 1) % 3
    rotation = np.eye(3)
    rotation[first, first] = rotation[second, second] = cos(angle)
    rotation[first, second] = -sin(angle)
    rotation[second, first] = sin(angle)
    return rotation


@dataclass(frozen=True, kw_only=True)
class RandomScale:
    """Multiply coordinates by a factor drawn uniformly, about the origin of the coordinates.

    Args:
        scale: smallest and largest factor, positive.
        anisotropic: draw one factor per axis instead of one for all.
    """

    scale: Sequence[float] = (0.9, 1.1)
    anisotropic: bool = False

    def __post_init__(self) -> None:
        if min(self.scale) <= 0.0:
            raise ValueError(f"RandomScale: scale must be positive; got {tuple(self.scale)}")

    def __call__(self, sample: PointSample, rng: np.random.Generator) -> PointSample:
        low, high = self.scale
        factors = rng.uniform(low, high, 3 if self.anisotropic else 1)
        return _moved(sample, sample.xyz * factors, lambda normal: _unit(normal / factors))


@dataclass(frozen=True, kw_only=True)
class RandomFlip:
    """Negate x, and independently y.

    Args:
        p: probability for each of the two axes.
    """

    p: float = 0.5

    def __call__(self, sample: PointSample, rng: np.random.Generator) -> PointSample:
        signs = np.array([-1.0 if _happens(self.p, rng) else 1.0 for _ in "xy"] + [1.0])
        return _moved(sample, sample.xyz * signs, lambda normal: normal * signs)


@dataclass(frozen=True, kw_only=True)
class RandomShift:
    """Move the whole scene by a vector drawn uniformly from a box.

    Args:
        max_shift: largest distance along x, y and z, in metres.
    """

    max_shift: Sequence[float] = (0.2, 0.2, 0.2)

    def __call__(self, sample: PointSample, rng: np.random.Generator) -> PointSample:
        limit = np.asarray(self.max_shift, dtype=np.float64)
        return sample.with_(xyz=(sample.xyz + rng.uniform(-limit, limit)).astype(np.float32))


@dataclass(frozen=True, kw_only=True)
class RandomJitter:
    """Move every point by clipped normal noise.

    Args:
        sigma: standard deviation per axis, in metres.
        clip: largest distance per axis, in metres.
    """

    sigma: float = 0.005
    clip: float = 0.02

    def __call__(self, sample: PointSample, rng: np.random.Generator) -> PointSample:
        noise = self.sigma * rng.standard_normal(sample.xyz.shape, dtype=np.float32)
        return sample.with_(xyz=sample.xyz + np.clip(noise, -self.clip, self.clip))


@dataclass(frozen=True, kw_only=True)
class ElasticDistortion:
    """Move points along smooth random fields, one after the other (Choy et al., CVPR 2019).

    A field is normal noise on a grid, blurred twice by a box of three cells along each axis and
    interpolated linearly at the points. Normals stay as they are. The grid fills the bounding box:
    meant for rooms, not for LiDAR scans.

    Args:
        distortion_params: (granularity, magnitude) of each field: the cell size of its grid and
            the factor on its values, both in metres.
        p: probability of the transform.
    """

    for_lidar: ClassVar[bool] = False
    distortion_params: Sequence[Sequence[float]] = ((0.2, 0.4), (0.8, 1.6))
    p: float = 0.95

    def __post_init__(self) -> None:
        if any(granularity <= 0.0 for granularity, _ in self.distortion_params):
            raise ValueError(
                f"ElasticDistortion: granularity must be positive; got {self.distortion_params}"
            )

    def __call__(self, sample: PointSample, rng: np.random.Generator) -> PointSample:
        if not _happens(self.p, rng):
            return sample
        xyz = sample.xyz
        for granularity, magnitude in self.distortion_params:
            xyz = xyz + magnitude * _smooth_noise(xyz, granularity, rng)
        return sample.with_(xyz=xyz)


def _smooth_noise(xyz: Float, granularity: float, rng: np.random.Generator) -> Float:
    """[P, 3] float32, the blurred noise field at the points."""
    # One cell of margin on either side, so that every point lies between grid nodes.
    position = (xyz - bounds(xyz)[0]) / granularity + 1.0
    shape = np.floor(bounds(position)[1]).astype(np.int64) + 2
    noise = rng.standard_normal((3, *shape), dtype=np.float32)
    for _ in range(2):
        for axis in (1, 2, 3):
            noise = ndimage.uniform_filter1d(noise, 3, axis=axis, mode="constant")
    at_points = [ndimage.map_coordinates(channel, position.T, order=1) for channel in noise]
    return np.stack(at_points, axis=1)


def _unit(vectors: NDArray[Any]) -> NDArray[Any]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)


def _moved(
    sample: PointSample, xyz: NDArray[Any], turn: Callable[[NDArray[Any]], NDArray[Any]]
) -> PointSample:
    """The sample at new coordinates, its normals turned along."""
    normal = None if sample.normal is None else turn(sample.normal).astype(np.float32)
    return sample.with_(xyz=xyz.astype(np.float32), normal=normal)
