"""`SceneReader`, what a data set is, and `SceneDataset`, which makes samples of its scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from pc3d.data.sample import PointSample, VoxelSample
from pc3d.data.spec import DatasetSpec
from pc3d.data.transforms.base import Mix, OtherScenes, Transform
from pc3d.data.transforms.mixing import join
from pc3d.data.voxelize import CropVoxels, Voxelize

SPLITS = ("train", "val", "test")


class SceneReader(Protocol):
    """The files of one data set: no randomness, no torch, no state.

    Attributes:
        root: the folder of the data set. It need not exist before the first call.
        spec: the label space.
        settings: options that decide over what is read, besides the files.
        conventions: how files of points become scenes, where names of columns do not say:
            `columns`, from a field to its columns, and `divide_by`, from a field to its scale.
    """

    @property
    def root(self) -> Path: ...

    @property
    def spec(self) -> DatasetSpec: ...

    @property
    def settings(self) -> Mapping[str, Any]: ...

    @property
    def conventions(self) -> Mapping[str, Mapping[str, Any]]: ...

    def scenes(self, split: str) -> list[str]:
        """Names of the scenes of `"train"`, `"val"` or `"test"`, in a fixed order.

        Raises:
            FileNotFoundError: the data set, or a scene that the split lists, is not there.
        """
        ...

    def read(self, scene: str, split: str) -> PointSample:
        """Read one scene. Labels may be absent in the test split, and only there.

        Raises:
            FileNotFoundError: no such scene, or no labels outside the test split.
            ValueError: damaged files; the message names the file.
        """
        ...

    def source_files(self, scene: str) -> list[Path]:
        """The files that what `read` returns follows from."""
        ...

    def write_prediction(self, folder: Path, scene: str, classes: NDArray[np.int64]) -> None:
        """Write one class per point ([P], in the order of the file) in the form of a submission."""
        ...

    def validate(self, folder: Path, split: str) -> int:
        """Check a folder of written predictions; returns the number of files.

        Raises:
            ValueError: what is wrong with which file.
        """
        ...

    def pack(self, folder: Path, split: str) -> Path | None:
        """Pack a folder of valid predictions for upload: `<folder>.zip`.

        Returns:
            The zip file; None if no server takes predictions of this data set, or not these, which
            are of a part of the split.

        Raises:
            ValueError: the zip file cannot be read back.
        """
        ...


def listed_scenes(reader: SceneReader, split: str) -> tuple[str, ...]:
    """The scenes of a split, of which there must be some.

    Raises:
        ValueError: there are none.
    """
    scenes = tuple(reader.scenes(split))
    if not scenes:
        raise ValueError(f"{reader.root}: split {split!r} has no scenes")
    return scenes


class SampleKey(NamedTuple):
    """What a `SceneDataset` is asked for: a scene, as it looks in an epoch.

    Attributes:
        epoch: number of the epoch, from 0.
        scene_index: index of the scene in its split.
        merged_with: index of the scene that it becomes one with (Mix3D), or None.
    """

    epoch: int
    scene_index: int
    merged_with: int | None = None


class SceneDataset(Dataset[VoxelSample]):
    """The voxelized scenes of a split.

    All randomness of an item is a function of (seed, epoch, scene_index): it depends neither on the
    number of workers or processes, nor on the order of the requests, nor on what was interrupted.
    Two scenes that are merged are transformed as each would be alone; their points are then put
    together where they are, and voxelized once. So every point has its voxel, and there are never
    more voxels than the two have apart.

    Args:
        reader: the data set.
        split: `"train"`, `"val"` or `"test"`.
        transforms: run in this order on the points.
        voxelize: run after the transforms.
        max_voxels: crop larger scenes to this number of voxels; None keeps scenes whole.
        seed: non-negative.
        mixes: run in this order before the transforms.

    Raises:
        ValueError: the split has no scenes.
        FileNotFoundError: the data set is not there.
    """

    def __init__(
        self,
        reader: SceneReader,
        split: str,
        transforms: Sequence[Transform],
        voxelize: Voxelize,
        max_voxels: int | None = None,
        seed: int = 0,
        mixes: Sequence[Mix] = (),
    ) -> None:
        self.reader = reader
        self.split = split
        self.transforms = tuple(transforms)
        self.mixes = tuple(mixes)
        self.voxelize = voxelize
        self.crop = None if max_voxels is None else CropVoxels(max_voxels=max_voxels)
        self.seed = seed
        self.scenes = listed_scenes(reader, split)

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, key: SampleKey) -> VoxelSample:
        rng = self._rng(key.epoch, key.scene_index)
        sample = self._transformed(key.scene_index, rng)
        if key.merged_with is not None:
            other = self._transformed(key.merged_with, self._rng(key.epoch, key.merged_with))
            sample = join(sample, other)
        voxels = self.voxelize(sample)
        return voxels if self.crop is None else self.crop(voxels, rng)

    def others(self, index: int) -> OtherScenes:
        """What the mixes of the scene with this index draw from."""
        return _OtherScenes(self, index)

    def _rng(self, epoch: int, index: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, index])

    def _transformed(self, index: int, rng: np.random.Generator) -> PointSample:
        sample = self.reader.read(self.scenes[index], self.split)
        others = self.others(index)
        for mix in self.mixes:
            sample = mix(sample, others, rng)
        for transform in self.transforms:
            sample = transform(sample, rng)
        return sample


@dataclass(frozen=True)
class _OtherScenes:
    """What the mixes of one scene of a dataset may draw from."""

    dataset: SceneDataset
    index: int

    @property
    def spec(self) -> DatasetSpec:
        return self.dataset.reader.spec

    def draw(self, rng: np.random.Generator) -> PointSample:
        num_scenes = len(self.dataset)
        other = (self.index + rng.integers(1, max(num_scenes, 2))) % num_scenes
        return self.dataset.reader.read(self.dataset.scenes[other], self.dataset.split)


def check_split(split: str) -> None:
    """Raise `ValueError` for a name that is not one of `SPLITS`."""
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")


def check_finite(source: Path, name: str, values: NDArray[np.floating]) -> None:
    """Raise `ValueError` naming `source` if `values` ([P] or [P, C]) are not all finite."""
    if np.isfinite(values).all():  # first: by row it takes a hundred times as long
        return
    finite = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    raise ValueError(
        f"{source}: {int((~finite).sum())} of {len(values)} points have a NaN or infinite {name}. "
        "Repair the file."
    )


def raw_predictions(
    spec: DatasetSpec, scene: str, classes: NDArray[np.integer]
) -> NDArray[np.int64]:
    """Ids for a submission; unlike `DatasetSpec.to_raw`, every class must be one.

    Raises:
        ValueError: a class outside `[0, num_classes)`, which would be written as another class.
    """
    wrong = (classes < 0) | (classes >= spec.num_classes)
    if wrong.any():
        raise ValueError(
            f"scene {scene}: {int(wrong.sum())} of {len(classes)} predictions are not classes "
            f"0..{spec.num_classes - 1} of {spec.name} (first: {int(classes[wrong][0])})"
        )
    return spec.to_raw(classes)


def missing_data(
    name: str, root: Path, found: str, download: str, layout: str
) -> FileNotFoundError:
    """The error of a data set that is not where it was looked for."""
    return FileNotFoundError(
        f"{name} was not found at {root.absolute()}: {found}.\n"
        f"Download: {download}\n"
        f"Expected layout:\n{layout}\n"
        "Put it there, or say where it is: dataset.reader.root=..., paths.data_dir=..., or the "
        "environment variable PC3D_DATA.\n"
        "To try pc3d without any download: dataset=synthetic."
    )
