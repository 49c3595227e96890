"""The scenes of a test, view by view: what a loader hands to voting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pc3d.data.collate import collate
from pc3d.data.datasets.base import SceneReader, listed_scenes
from pc3d.data.features import point_features
from pc3d.data.sample import Float, VoxelSample
from pc3d.data.samplers import ShardedEvalSampler
from pc3d.data.transforms.base import Transform
from pc3d.data.views import Voting
from pc3d.data.voxelize import Voxelize
from pc3d.sparse import Batch


class ViewKey(NamedTuple):
    """What a `ViewDataset` is asked for: indices of a scene and of a view of it."""

    scene: int
    view: int


class ViewSample(NamedTuple):
    """One view of a scene of P points; `ViewBatch` says what the fields are."""

    voxels: VoxelSample
    view: int
    num_views: int
    feats: Float | None
    distance: Float | None


class ViewBatch(NamedTuple):
    """One view of one whole scene of P points, as tensors.

    Attributes:
        batch: the scene as the view shows it.
        view: number of the view; a scene's views come one after the other, from 0.
        num_views: how many there are.
        feats: [P, C] float32, the features of the points, of which `batch` has the voxels' means;
            None without fragments.
        distance: [P] float32, metres from the sensor as the files have it; None if it is no LiDAR.
    """

    batch: Batch
    view: int
    num_views: int
    feats: Tensor | None
    distance: Tensor | None


class ViewDataset(Dataset[ViewSample]):
    """The views of the scenes of a split. An item is made when it is asked for, and only that one.

    Args:
        reader: the data set.
        split: `"train"`, `"val"` or `"test"`.
        transforms: the transforms of evaluation, run before the view.
        voxelize: run after the view, on the features of the view.
        voting: the views, and whether they are cut into fragments.
        seed: of the generator that transforms are given.
    """

    def __init__(
        self,
        reader: SceneReader,
        split: str,
        transforms: Sequence[Transform],
        voxelize: Voxelize,
        voting: Voting,
        seed: int = 0,
    ) -> None:
        self.reader, self.split = reader, split
        self.transforms, self.voxelize = tuple(transforms), voxelize
        self.voting, self.seed = voting, seed
        self.scenes = listed_scenes(reader, split)

    def __getitem__(self, key: ViewKey) -> ViewSample:
        scene, view = key
        raw = self.reader.read(self.scenes[scene], self.split)
        sample = raw
        rng = np.random.default_rng([self.seed, 0, scene])
        for transform in self.transforms:
            sample = transform(sample, rng)
        if not np.array_equal(sample.row, raw.row):
            raise ValueError(
                f"scene {raw.name}: the eval transforms turned {len(raw)} points into "
                f"{len(sample)}, or changed their order. Every point is scored, in the order of "
                "the file; such transforms belong to augment.train."
            )
        seen = self.voting.views[view](sample)
        distance = None
        if self.reader.spec.sensor == "lidar":
            distance = np.linalg.norm(raw.xyz + raw.origin, axis=1).astype(np.float32)
        return ViewSample(
            voxels=self.voxelize(seen),
            view=view,
            num_views=len(self.voting.views),
            feats=point_features(seen, self.voxelize.features) if self.voting.fragments else None,
            distance=distance,
        )

    def keys(
        self, rank: int, world_size: int, is_tested: Callable[[str], bool] | None = None
    ) -> list[ViewKey]:
        """What a process has to do: all views of a scene, then all views of the next.

        A scene belongs to the same process whether others are done or not, so that processes that
        start at different times agree.

        Args:
            rank: this process.
            world_size: number of processes.
            is_tested: tells of a scene's name whether it is done already.
        """
        share = [key.scene_index for key in ShardedEvalSampler(len(self.scenes), rank, world_size)]
        left = [i for i in share if is_tested is None or not is_tested(self.scenes[i])]
        return [ViewKey(i, view) for i in left for view in range(len(self.voting.views))]


def collate_view(samples: Sequence[ViewSample]) -> ViewBatch:
    """The one view of a batch as tensors on the CPU."""
    (sample,) = samples
    return ViewBatch(
        batch=collate([sample.voxels]),
        view=sample.view,
        num_views=sample.num_views,
        feats=None if sample.feats is None else torch.from_numpy(sample.feats),
        distance=None if sample.distance is None else torch.from_numpy(sample.distance),
    )
