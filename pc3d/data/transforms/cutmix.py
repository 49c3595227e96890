"""Objects of other scans, pasted from a bank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import pi
from pathlib import Path
from typing import ClassVar

import numpy as np

from pc3d.data.sample import PointSample
from pc3d.data.transforms.base import OtherScenes
from pc3d.data.transforms.geometry import rotated, rotation_matrix
from pc3d.data.transforms.instance_bank import InstanceBank, label_space
from pc3d.data.transforms.mixing import FOREIGN_ROW, join


@dataclass(frozen=True, kw_only=True)
class InstanceCutMix:
    """Paste instances of a bank at random places (as in Volt's SemanticKITTI recipe).

    For each, a class is drawn uniformly from those of the bank and then one of its instances. It is
    turned about the sensor by any angle, scaled about its centroid, and moved so that its centroid
    is at a random multiple of its distance from the sensor, at the same height. What is there
    already stays.

    Args:
        bank: the folder made by `python -m data_prep.instances`.
        num_instances: how many are pasted.
        scale: smallest and largest factor of the size.
        distance: smallest and largest factor of the horizontal distance.
        p: probability of the mix.

    Raises:
        ValueError: when called, if the bank is of other classes or has other fields than the scene.
        FileNotFoundError: when called, if there is no bank.
    """

    for_lidar: ClassVar[bool] = True
    bank: str | Path
    num_instances: int = 10
    scale: Sequence[float] = (0.9, 1.1)
    distance: Sequence[float] = (0.5, 2.0)
    p: float = 1.0

    def __post_init__(self) -> None:
        if self.num_instances < 1 or min(*self.scale, *self.distance) <= 0.0:
            raise ValueError(
                "InstanceCutMix: num_instances must be at least 1, scale and distance positive; "
                f"got {self.num_instances}, {self.scale}, {self.distance}"
            )

    @cached_property
    def _bank(self) -> InstanceBank:
        return InstanceBank(self.bank)

    def __call__(
        self, sample: PointSample, others: OtherScenes, rng: np.random.Generator
    ) -> PointSample:
        if self._bank.label_space != label_space(others.spec):
            raise ValueError(
                f"the bank {self.bank} was not made from {others.spec.name}: other classes, or "
                "other ids that become them. Make another: python -m data_prep.instances"
            )
        if rng.random() >= self.p:
            return sample
        pieces = [self._piece(sample, rng) for _ in range(self.num_instances)]
        return join(sample, *pieces).with_(name=sample.name)

    def _piece(self, sample: PointSample, rng: np.random.Generator) -> PointSample:
        """One instance at its new place, as points that could be of the scene."""
        segment = self._bank.classes[rng.integers(len(self._bank.classes))]
        fields = self._bank.draw(segment, rng)
        num_points = len(fields["xyz"])
        piece = PointSample(
            name=f"the bank {self.bank}",
            origin=sample.origin,
            row=np.full(num_points, FOREIGN_ROW),
            segment=np.full(num_points, segment),
            instance=None if sample.instance is None else np.zeros(num_points, np.int64),
            **fields,
        )
        turned = rotated(piece, rotation_matrix("z", rng.uniform(-pi, pi)), np.zeros(3))
        centroid = turned.xyz.mean(axis=0)
        scale, distance = (rng.uniform(low, high) for low, high in (self.scale, self.distance))
        scaled = (turned.xyz - centroid) * scale + centroid
        away = centroid * [1.0, 1.0, 0.0] * (distance - 1.0)
        return turned.with_(xyz=(scaled + away).astype(np.float32))
