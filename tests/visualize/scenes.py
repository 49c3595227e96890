"""Scenes in memory for tests of augmentation, and data sets that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from pc3d.data.sample import PointSample
from pc3d.data.spec import DatasetSpec
from pc3d.data.specs import SCANNET20, SEMANTICKITTI19
from pc3d.data.transforms import Augmentation
from pc3d.data.voxelize import Voxelize
from tests.data.test_mixing import make_scan
from tests.visualize.rooms import make_room


class InMemory:
    """As much of a `SceneReader` as datasets need; every read gives new arrays."""

    root, settings, conventions = Path("nowhere"), {}, {}

    def __init__(self, spec: DatasetSpec, samples: Sequence[PointSample]) -> None:
        self.spec, self.samples = spec, {sample.name: sample for sample in samples}

    def scenes(self, split: str) -> list[str]:
        return [] if split == "test" else list(self.samples)

    def read(self, scene: str, split: str) -> PointSample:
        sample = self.samples[scene]
        arrays = {k: v.copy() for k, v in vars(sample).items() if isinstance(v, np.ndarray)}
        return sample.with_(**arrays)


def make_sample(name: str, seed: int = 0, num_points: int = 3000) -> PointSample:
    """A room of three boxes, its rows in another order than in its file."""
    room = make_room(num_points, seed)
    row = np.random.default_rng(seed).permutation(num_points)
    color = room.rgb.astype(np.float32)
    origin = np.zeros(3)
    return PointSample(name, room.xyz, origin, row, color=color, segment=room.labels)


def rooms(augment: Augmentation | None = None, **fields: Any) -> SimpleNamespace:
    """Two rooms of a data module; `fields` replace those of both."""
    samples = [make_sample("a", 1), make_sample("b", 2, 2500)]
    return data_of(SCANNET20, [sample.with_(**fields) for sample in samples], augment, 0.1)


def scans(augment: Augmentation | None = None) -> SimpleNamespace:
    """Three scans of a LiDAR."""
    sizes = {"00/0": 2000, "00/1": 1500, "00/2": 1700}
    samples = [make_scan(name, size, 0, size) for name, size in sizes.items()]
    return data_of(SEMANTICKITTI19, samples, augment, 2.0)


def data_of(
    spec: DatasetSpec,
    samples: Sequence[PointSample],
    augment: Augmentation | None,
    voxel_size: float,
) -> SimpleNamespace:
    """What a page of augmentations needs of a data module."""
    return SimpleNamespace(
        reader=InMemory(spec, samples),
        spec=spec,
        augment=augment or Augmentation(),
        voxelize=Voxelize(voxel_size=voxel_size, features=("xyz",)),
        max_voxels=300,
        seed=5,
    )
