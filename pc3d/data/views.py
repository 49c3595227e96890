"""Test-time augmentation: the deterministic views of a scene whose scores are summed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import cos, isfinite, radians, sin
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.sample import PointSample

_FLIPS: Mapping[str, tuple[int, int]] = {"": (1, 1), "x": (-1, 1), "y": (1, -1), "xy": (-1, -1)}


@dataclass(frozen=True, kw_only=True)
class View:
    """A scene turned about z, then scaled, then mirrored; normals turn along.

    All of it about the origin of the coordinates that the eval transforms leave: the middle of a
    centred room, the sensor of a LiDAR scan. As for random transforms, `origin` loses its meaning.

    Args:
        angle: degrees, counter-clockwise seen from above. Quarter turns are exact.
        scale: positive factor.
        flip: the axes whose coordinates are negated: `""`, `"x"`, `"y"` or `"xy"`.

    Raises:
        ValueError: a scale that is not positive, or another flip.
    """

    angle: float = 0.0
    scale: float = 1.0
    flip: str = ""

    def __post_init__(self) -> None:
        if not (isfinite(self.scale) and self.scale > 0 and isfinite(self.angle)):
            raise ValueError(
                f"a view needs a finite angle and a positive scale; got {self.angle}, {self.scale}"
            )
        if self.flip not in _FLIPS:
            raise ValueError(
                f"flip must be one of {', '.join(map(repr, _FLIPS))}; got {self.flip!r}"
            )

    def __call__(self, sample: PointSample) -> PointSample:
        """The sample as this view shows it; the sample itself if the view changes nothing."""
        if self == View():
            return sample
        orthogonal = self._orthogonal()
        xyz = sample.xyz @ (self.scale * orthogonal).T
        normal = None if sample.normal is None else sample.normal @ orthogonal.T
        return sample.with_(
            xyz=xyz.astype(np.float32),
            normal=None if normal is None else normal.astype(np.float32),
        )

    def _orthogonal(self) -> NDArray[np.float64]:
        """[3, 3], turn and mirror."""
        angle = radians(self.angle % 360)
        # Rounded, or points at y = 0 would leave their voxels by 1e-17 m in a quarter turn.
        c, s = round(cos(angle), 15), round(sin(angle), 15)
        x, y = _FLIPS[self.flip]
        return np.array([[x * c, -x * s, 0.0], [y * s, y * c, 0.0], [0.0, 0.0, 1.0]])


def list_views(views: Sequence[Mapping[str, Any]]) -> tuple[View, ...]:
    """The views of a configuration, e.g. `[{angle: 90}, {scale: 0.95, flip: x}]`.

    Raises:
        ValueError: no view, or one with an unknown key.
    """
    known = set(asdict(View()))
    for view in views:
        if set(view) - known:
            raise ValueError(f"a view has the keys {', '.join(sorted(known))}; got {dict(view)}")
    if not views:
        raise ValueError("tta.views must hold at least one view; {} is the scene as it is")
    return tuple(View(**view) for view in views)


@dataclass(frozen=True, kw_only=True)
class Voting:
    """The passes of a test, whose softmax scores are summed at every point.

    Args:
        views: each is voxelized and seen by the network on its own.
        fragments: False: a voxel shows the mean of its points, which all get its scores. True: a
            voxel shows one of its points at a time, and only that point gets the scores; as many
            passes as the fullest voxel has points, in pass i the point i modulo the voxel's number
            of points (Pointcept's `GridSample` in test mode).
    """

    views: tuple[View, ...] = (View(),)
    fragments: bool = False

    @property
    def is_single_pass(self) -> bool:
        """One look at the scene as it is: there is nothing to sum."""
        return self == Voting()

    @property
    def suffix(self) -> str:
        """What a metric's name ends in: `""`, `"_tta13"`, `"_fragments"`, `"_tta13_fragments"`."""
        tta = "" if self.views == (View(),) else f"_tta{len(self.views)}"
        return tta + "_fragments" * self.fragments

    def describe(self) -> str:
        """The protocol in words."""
        if self.is_single_pass:
            return "whole scenes, every original point, one pass without test-time augmentation"
        passes = f"{len(self.views)} view{'s' * (len(self.views) > 1)}"
        if self.fragments:
            passes += " in fragments, in which a voxel shows one of its points at a time"
        return f"whole scenes, every original point, {passes}; softmax scores summed at the points"
