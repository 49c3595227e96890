"""Mixes of two LiDAR scans, and how points of several scenes become one.

Scans must have the sensor at (0, 0, 0) and z upwards, as their files hold them: mixes run before
the transforms of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pc3d.data.sample import POINT_FIELDS, Float, Int, PointSample
from pc3d.data.spec import DatasetSpec
from pc3d.data.transforms.base import Mix, OtherScenes, require_field
from pc3d.data.transforms.geometry import rotated, rotation_matrix

FOREIGN_ROW = -1
"""`PointSample.row` of points that come from another file than the scene's own."""


def join(home: PointSample, *foreign: PointSample) -> PointSample:
    """Put the points of other scenes behind those of `home`, at the coordinates that they have.

    Returns:
        A sample with the `origin` of `home`, named after all of them (`"a+b"`). Foreign points have
        the row `FOREIGN_ROW`. Instance ids of `home` stay; those of each other scene are shifted
        beyond all before, so that no two scenes share one.

    Raises:
        ValueError: a field that some scenes have and others have not.
    """
    parts = (home, *foreign)
    joined: dict[str, NDArray] = {}
    for field in POINT_FIELDS:
        arrays = [getattr(part, field) for part in parts]
        with_it = [part.name for part, a in zip(parts, arrays, strict=True) if a is not None]
        if 0 < len(with_it) < len(parts):
            without = [p.name for p, a in zip(parts, arrays, strict=True) if a is None]
            raise ValueError(
                f"scenes that are mixed must have the same fields; {with_it[0]} has {field!r}, and "
                f"{without[0]} has not. Mix data of one kind, or train without mixing."
            )
        if with_it:
            joined[field] = np.concatenate(arrays)
    joined["row"][len(home) :] = FOREIGN_ROW
    if home.instance is not None:
        joined["instance"] = _distinct([p.instance for p in parts if p.instance is not None])
    return home.with_(name="+".join(dict.fromkeys(part.name for part in parts)), **joined)


def _distinct(instances: Sequence[Int]) -> Int:
    """The ids one after the other; all but the first array shifted beyond those before."""
    shifted, first_free = [], 0
    for ids in instances:
        shifted.append(np.where(ids >= 0, ids + first_free, ids))
        first_free = max(first_free, int(shifted[-1].max(initial=-1)) + 1)
    return np.concatenate(shifted)


@dataclass(frozen=True, kw_only=True)
class OneOf:
    """One of several mixes, each as often as the others.

    Args:
        mixes: at least one.
        p: probability that any of them runs.
    """

    mixes: Sequence[Mix]
    p: float = 1.0

    def __post_init__(self) -> None:
        if not self.mixes:
            raise ValueError("OneOf needs at least one mix")

    def __call__(
        self, sample: PointSample, others: OtherScenes, rng: np.random.Generator
    ) -> PointSample:
        if rng.random() >= self.p:
            return sample
        mix = self.mixes[int(rng.integers(len(self.mixes)))]
        return mix(sample, others, rng)


@dataclass(frozen=True, kw_only=True)
class LaserMix:
    """Alternate bands of elevation of two scans (Kong et al., CVPR 2023; as in mmdetection3d).

    The range of elevations is cut into equal bands. The first band from the top is the scene's
    own, the second the other scan's, and so on. A point on a border belongs to the lower band;
    points above and below the range belong to the first and the last band.

    Args:
        num_areas: the number of bands is one of these, each as often as the others.
        pitch: lowest and highest elevation, in degrees above the horizon of the sensor.
        p: probability of the mix.
    """

    for_lidar: ClassVar[bool] = True
    num_areas: Sequence[int] = (3, 4, 5, 6)
    pitch: Sequence[float] = (-25.0, 3.0)
    p: float = 1.0

    def __post_init__(self) -> None:
        if not self.num_areas or min(self.num_areas) < 2:
            raise ValueError(f"LaserMix: num_areas must be 2 or more; got {self.num_areas}")
        if not -90.0 <= self.pitch[0] < self.pitch[1] <= 90.0:
            raise ValueError(f"LaserMix: pitch must be low, high in degrees; got {self.pitch}")

    def __call__(
        self, sample: PointSample, others: OtherScenes, rng: np.random.Generator
    ) -> PointSample:
        if rng.random() >= self.p:
            return sample
        other = others.draw(rng)
        num_areas = self.num_areas[int(rng.integers(len(self.num_areas)))]
        own = self._band(sample.xyz, num_areas) % 2 == 0
        foreign = self._band(other.xyz, num_areas) % 2 == 1
        return join(sample.select(own), other.select(foreign))

    def _band(self, xyz: Float, num_areas: int) -> Int:
        """[P] the band of every point, 0 at the top."""
        low, high = np.deg2rad(self.pitch)
        elevation = np.arctan2(xyz[:, 2], np.hypot(xyz[:, 0], xyz[:, 1]))
        borders = np.linspace(low, high, num_areas + 1)[1:-1]  # none outside: ends are open
        return num_areas - 1 - np.searchsorted(borders, elevation, side="left")


@dataclass(frozen=True, kw_only=True)
class PolarMix:
    """A sector and objects of another scan (Xiao et al., NeurIPS 2022; as in mmdetection3d).

    With probability `swap`, the points in a random half turn about the sensor are replaced by those
    of the other scan. Then, with probability `paste`, all points of the named classes of the other
    scan are added three times: as they are, and turned about the sensor by angles drawn from
    (0, 120) and (120, 240) degrees. Nothing is removed where they are added.

    Args:
        classes: names of the classes that are pasted: things, not grounds or walls.
        swap: probability of the sector.
        paste: probability of the objects.
        p: probability of the mix.
    """

    for_lidar: ClassVar[bool] = True
    classes: Sequence[str]
    swap: float = 0.5
    paste: float = 1.0
    p: float = 1.0

    def __call__(
        self, sample: PointSample, others: OtherScenes, rng: np.random.Generator
    ) -> PointSample:
        pasted_classes = class_indices(self.classes, others.spec, "PolarMix")
        if rng.random() >= self.p:
            return sample
        other = others.draw(rng)
        home, foreign = sample, []
        if rng.random() < self.swap:
            start = rng.uniform(-pi, 0.0)
            home = sample.select(~_in_half_turn(sample.xyz, start))
            foreign.append(other.select(_in_half_turn(other.xyz, start)))
        if rng.random() < self.paste:
            segment = require_field(other, "segment", "PolarMix")
            things = other.select(np.isin(segment, pasted_classes))
            third = 2 * pi / 3
            angles = (0.0, rng.uniform(0.0, third), rng.uniform(third, 2 * third))
            turns = [rotation_matrix("z", angle) for angle in angles]
            foreign += [rotated(things, turn, np.zeros(3)) for turn in turns]
        return join(home, *foreign)


def _in_half_turn(xyz: Float, start: float) -> NDArray[np.bool_]:
    """[P] whether the direction of a point lies within `start` and half a turn on, clockwise."""
    clockwise = -np.arctan2(xyz[:, 1], xyz[:, 0])
    return (clockwise > start) & (clockwise < start + pi)


def class_indices(names: Sequence[str], spec: DatasetSpec, user: str) -> list[int]:
    """The classes of these names.

    Raises:
        ValueError: a name that the label space does not have.
    """
    unknown = [name for name in names if name not in spec.class_names]
    if unknown:
        raise ValueError(
            f"{user}: {unknown} are not classes of {spec.name}, which are "
            f"{', '.join(spec.class_names)}. Name the classes of the data set at hand."
        )
    return [spec.class_names.index(name) for name in names]
