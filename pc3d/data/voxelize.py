"""From points to voxels, and the crop that keeps a training scene within its budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

import cuda_ops
from pc3d.data.features import num_channels, point_features
from pc3d.data.sample import Int, PointSample, VoxelSample
from pc3d.data.spec import IGNORE_INDEX


@dataclass(frozen=True, kw_only=True)
class Voxelize:
    """Put points into voxels `floor(xyz / voxel_size)`. Every point keeps its voxel.

    A voxel's features are the mean of its points'; its label is that of the majority of its
    labelled points, the smallest class on a tie.

    Args:
        voxel_size: edge length in metres.
        features: names from `pc3d.data.features.FEATURES`, in the order of the channels.
    """

    voxel_size: float
    features: Sequence[str]

    def __post_init__(self) -> None:
        if not (math.isfinite(self.voxel_size) and self.voxel_size > 0):
            raise ValueError(
                f"voxel_size must be a positive number of metres; got {self.voxel_size}"
            )
        num_channels(self.features)  # an unknown feature fails here, not in a worker

    def __call__(self, sample: PointSample) -> VoxelSample:
        """Voxelize one scene.

        Raises:
            ValueError: the scene lacks the field of a feature, or extends beyond the voxel
                coordinates that keys can hold.
        """
        cells = self._cells(sample)
        rows = torch.zeros(len(cells), 4, dtype=torch.int32)
        rows[:, 1:] = torch.from_numpy(cells)
        keys, point2voxel, counts = cuda_ops.voxelize(cuda_ops.morton_encode(rows))
        feats = torch.from_numpy(point_features(sample, self.features))
        return VoxelSample(
            points=sample,
            indices=cuda_ops.morton_decode(keys)[:, 1:].numpy(),
            feats=cuda_ops.voxel_mean(feats, point2voxel, counts).numpy(),
            segment=(
                None
                if sample.segment is None
                else majority_label(sample.segment, point2voxel.numpy(), len(keys))
            ),
            point2voxel=point2voxel.numpy(),
        )

    def _cells(self, sample: PointSample) -> NDArray[np.int32]:
        cells = voxel_cells(sample.xyz, self.voxel_size)
        reach = max(-cells.min(), cells.max())
        if reach > cuda_ops.MAX_COORDINATE:
            extent = sample.xyz.max(axis=0) - sample.xyz.min(axis=0)
            raise ValueError(
                f"scene {sample.name} does not fit the voxel coordinates "
                f"-{cuda_ops.MAX_COORDINATE}..{cuda_ops.MAX_COORDINATE}: it spans "
                f"{' x '.join(f'{e:.1f}' for e in extent)} m and reaches voxel {reach} at "
                f"voxel_size {self.voxel_size} m. Center it (CenterShift), use a larger "
                "voxel_size, or cut it into tiles."
            )
        return cells.astype(np.int32)


def voxel_cells(xyz: NDArray[np.floating], voxel_size: float) -> NDArray[np.int64]:
    """[P, 3] int64 voxel coordinates of points ([P, 3] metres), rounded towards minus infinity."""
    return np.floor(np.asarray(xyz, dtype=np.float64) / voxel_size).astype(np.int64)


def majority_label(segment: Int, point2voxel: Int, num_voxels: int) -> Int:
    """The label of every voxel: the majority of its labelled points.

    Args:
        segment: [P] classes; negative where unlabelled.
        point2voxel: [P] row of every point's voxel.
        num_voxels: N.

    Returns:
        [N] int64; the smallest class on a tie, `IGNORE_INDEX` where no point has a label.
    """
    labels = np.full(num_voxels, IGNORE_INDEX, dtype=np.int64)
    labelled = segment >= 0
    if not labelled.any():
        return labels
    num_classes = int(segment.max()) + 1
    votes = point2voxel[labelled] * num_classes + segment[labelled]
    unique, _, num_votes = cuda_ops.voxelize(torch.from_numpy(votes.astype(np.int64, copy=False)))
    candidates, counts = unique.numpy(), num_votes.numpy()
    voxel, label = candidates // num_classes, candidates % num_classes
    # Candidates are sorted by voxel, so each voxel is one run. The largest score in the run is
    # the largest count and, among equal counts, the smallest class.
    starts = np.flatnonzero(np.diff(voxel, prepend=-1))
    score = np.maximum.reduceat(counts * num_classes + (num_classes - 1 - label), starts)
    labels[voxel[starts]] = num_classes - 1 - score % num_classes
    return labels


@dataclass(frozen=True, kw_only=True)
class CropVoxels:
    """Of a scene with more than `max_voxels` voxels, keep those nearest to a random voxel.

    Args:
        max_voxels: largest number of voxels that stay.
    """

    max_voxels: int

    def __post_init__(self) -> None:
        if self.max_voxels < 1:
            raise ValueError(f"max_voxels must be at least 1; got {self.max_voxels}")

    def __call__(self, sample: VoxelSample, rng: np.random.Generator) -> VoxelSample:
        if sample.num_voxels <= self.max_voxels:
            return sample
        cells = sample.indices.astype(np.int64)
        squared_distance = ((cells - cells[rng.integers(len(cells))]) ** 2).sum(axis=1)
        keep = np.zeros(len(cells), dtype=np.bool_)
        keep[np.argsort(squared_distance, kind="stable")[: self.max_voxels]] = True
        return sample.select(keep)
