"""Fewer points: one per voxel, or those of a sphere. For training only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pc3d.data.sample import PointSample, bounds

_MODES: Sequence[str] = ("random", "center")


@dataclass(frozen=True, kw_only=True)
class GridSample:
    """Keep one random point of every voxel, where it is (Pointcept's GridSample in training).

    Voxelization takes the mean over all points of a voxel, so this is not needed before it; it
    stands in published recipes, before `SphereCrop`, which then counts voxels.

    Args:
        voxel_size: metres.
    """

    voxel_size: float

    def __post_init__(self) -> None:
        if not self.voxel_size > 0:
            raise ValueError(f"GridSample: voxel_size must be positive; got {self.voxel_size}")

    def __call__(self, sample: PointSample, rng: np.random.Generator) -> PointSample:
        cells = np.floor(sample.xyz.astype(np.float64) / self.voxel_size).astype(np.int64)
        cells -= bounds(cells)[0]
        keys = np.ravel_multi_index(tuple(cells.T), tuple(bounds(cells)[1] + 1))
        shuffled = rng.permutation(len(sample))
        _, first = np.unique(keys[shuffled], return_index=True)  # the first is a random one
        return sample.select(np.sort(shuffled[first]))


@dataclass(frozen=True, kw_only=True)
class SphereCrop:
    """Of a scene with more than a number of points, keep those nearest to one of its points.

    Exactly that many points stay, in their order. Where several are equally far from the centre,
    those that come first stay.

    Args:
        num_points: how many stay; smaller scenes stay whole. Or None:
        sample_rate: floor(sample_rate * P) points stay, at least one.
        mode: the centre. `"random"`: any point; `"center"`: the point at index P // 2 (in the
            order of the points, not in space).

    Raises:
        ValueError: not exactly one of `num_points` and `sample_rate`, or one out of range.
    """

    num_points: int | None = None
    sample_rate: float | None = None
    mode: str = "random"

    def __post_init__(self) -> None:
        if (self.num_points is None) == (self.sample_rate is None):
            raise ValueError(
                "SphereCrop needs either num_points or sample_rate; got "
                f"{self.num_points} and {self.sample_rate}"
            )
        if self.num_points is not None and self.num_points < 1:
            raise ValueError(f"SphereCrop: num_points must be at least 1; got {self.num_points}")
        if self.sample_rate is not None and not 0.0 < self.sample_rate <= 1.0:
            raise ValueError(f"SphereCrop: sample_rate must lie in (0, 1]; got {self.sample_rate}")
        if self.mode not in _MODES:
            raise ValueError(f"SphereCrop: mode must be one of {_MODES}; got {self.mode!r}")

    def __call__(self, sample: PointSample, rng: np.random.Generator) -> PointSample:
        num_kept = self._num_kept(len(sample))
        if len(sample) <= num_kept:
            return sample
        center = rng.integers(len(sample)) if self.mode == "random" else len(sample) // 2
        squared_distance = ((sample.xyz - sample.xyz[center]) ** 2).sum(axis=1)
        nearest = np.argsort(squared_distance, kind="stable")[:num_kept]
        return sample.select(np.sort(nearest))

    def _num_kept(self, num_points: int) -> int:
        if self.sample_rate is not None:
            return max(1, int(self.sample_rate * num_points))
        assert self.num_points is not None
        return self.num_points
