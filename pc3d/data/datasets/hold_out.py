"""A part of the training split that training does not see: what a search chooses by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.datasets.base import SceneReader
from pc3d.data.sample import PointSample
from pc3d.data.spec import DatasetSpec

HELD_OUT = "holdout"
"""The name of the split of scenes that are held out."""
_RUNS = 8
"""Runs of neighbouring scenes that are held out: in between, neighbours stay together."""


@dataclass(frozen=True)
class HoldOut:
    """A data set whose training split is parted in two; validation and test are as they were.

    Neighbouring scenes are often of one place: rescans of a room, scans of a drive. So what is held
    out are a few runs of neighbours, evenly spread over the training split.

    Args:
        reader: the data set.
        fraction: of the training scenes that are held out, above 0 and below 1; at least one scene
            is, and one is not.

    Raises:
        ValueError: another fraction; with the first call, a training split of one scene.
    """

    reader: SceneReader
    fraction: float

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise ValueError(f"holdout must be above 0 and below 1; got {self.fraction}")

    @property
    def root(self) -> Path:
        return self.reader.root

    @property
    def spec(self) -> DatasetSpec:
        return self.reader.spec

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.reader.settings

    @property
    def conventions(self) -> Mapping[str, Mapping[str, Any]]:
        return self.reader.conventions

    def scenes(self, split: str) -> list[str]:
        """As the data set's; and `"holdout"`, the training scenes that are held out."""
        if split not in ("train", HELD_OUT):
            return self.reader.scenes(split)
        scenes = self.reader.scenes("train")
        if len(scenes) < 2:
            raise ValueError(
                f"{self.root}: a training split of {len(scenes)} scene cannot be parted; it needs "
                "two, or task.holdout=0"
            )
        held = held_out(len(scenes), self.fraction)
        return [scene for scene, out in zip(scenes, held, strict=True) if out == (split != "train")]

    def read(self, scene: str, split: str) -> PointSample:
        return self.reader.read(scene, "train" if split == HELD_OUT else split)

    def source_files(self, scene: str) -> list[Path]:
        return self.reader.source_files(scene)

    def write_prediction(self, folder: Path, scene: str, classes: NDArray[np.int64]) -> None:
        self.reader.write_prediction(folder, scene, classes)

    def validate(self, folder: Path, split: str) -> int:
        return self.reader.validate(folder, split)

    def pack(self, folder: Path, split: str) -> Path | None:
        return self.reader.pack(folder, split)


def held_out(num_scenes: int, fraction: float) -> list[bool]:
    """Which of so many scenes in a row are held out: a few runs, each at the end of its share."""
    count = min(num_scenes - 1, max(1, round(fraction * num_scenes)))
    runs = min(_RUNS, count)
    found = [False] * num_scenes
    for run in range(runs):
        end = (run + 1) * num_scenes // runs
        size = (run + 1) * count // runs - run * count // runs
        found[end - size : end] = [True] * size
    return found
