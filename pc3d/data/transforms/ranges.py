"""Points that are too far away: dropped (`RangeFilter`) or moved (`ClampRange`).

Published code calls both "clip". They are not exchangeable: what is dropped gets no prediction, so
only training may drop; what is moved is still there, and must be moved in evaluation as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pc3d.data.sample import PointSample


@dataclass(frozen=True, kw_only=True)
class _Bounds:
    max_distance: float | None = None
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        if self.max_distance is None and self.low is None and self.high is None:
            raise ValueError(f"{name} needs at least one of max_distance, low and high")
        if self.max_distance is not None and not self.max_distance > 0:
            raise ValueError(f"{name}: max_distance must be positive; got {self.max_distance}")
        low, high = self._box
        if low.shape != (3,) or high.shape != (3,) or not (low < high).all():
            raise ValueError(
                f"{name}: low and high must be x, y, z with low < high; got {self.low}, {self.high}"
            )

    @property
    def _box(self) -> tuple[NDArray[Any], NDArray[Any]]:
        low = (-np.inf,) * 3 if self.low is None else self.low
        high = (np.inf,) * 3 if self.high is None else self.high
        return np.asarray(low, np.float32), np.asarray(high, np.float32)


@dataclass(frozen=True, kw_only=True)
class RangeFilter(_Bounds):
    """DROP points beyond a distance or outside a box. For training only: they get no prediction.

    Its counterpart for evaluation is `ClampRange`, which keeps all points.

    Args:
        max_distance: points farther from (0, 0, 0), the sensor of a LiDAR scan, go; metres. None
            for any distance.
        low: points with a smaller coordinate go: x, y, z in metres, or None. `-.inf` in YAML leaves
            an axis open.
        high: points with a larger coordinate go, likewise.

    Raises:
        ValueError: when made, without any bound; when called, if no point of a scene remains.
    """

    def __call__(self, sample: PointSample, rng: np.random.Generator) -> PointSample:
        low, high = self._box
        keep = np.all((sample.xyz >= low) & (sample.xyz <= high), axis=1)
        if self.max_distance is not None:
            keep = keep & (np.linalg.norm(sample.xyz, axis=1) <= self.max_distance)
        if not keep.any():
            raise ValueError(f"scene {sample.name}: {self} would drop all {len(sample)} points")
        return sample.select(keep)


@dataclass(frozen=True, kw_only=True)
class ClampRange(_Bounds):
    """MOVE points beyond a distance or outside a box onto its border. No point is dropped.

    First, points beyond `max_distance` are pulled towards (0, 0, 0) onto the sphere of that radius
    (Volt's PointClipDistance: `max_distance=50, low=(-inf, -inf, -4), high=(inf, inf, 2)`). Then
    every coordinate is clipped to the box (Pointcept's PointClip on SemanticKITTI:
    `low=(-35.2, -35.2, -4), high=(35.2, 35.2, 2)`). Scenes are distorted at the border, and a
    network that was trained with it must be evaluated with it: put it into `eval` too. To drop far
    points in training, see `RangeFilter`.

    Args:
        max_distance: radius in metres, or None.
        low: smallest x, y, z in metres, or None. `-.inf` in YAML leaves an axis open.
        high: largest x, y, z in metres, or None.

    Raises:
        ValueError: no bound is given.
    """

    legal_in_eval: ClassVar[bool] = True

    def __call__(self, sample: PointSample, rng: np.random.Generator) -> PointSample:
        xyz = sample.xyz
        if self.max_distance is not None:
            distance = np.linalg.norm(xyz, axis=1, keepdims=True)
            xyz = xyz * (self.max_distance / np.maximum(distance, self.max_distance))
        return sample.with_(xyz=np.clip(xyz, *self._box).astype(np.float32))
