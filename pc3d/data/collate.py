"""From scenes to a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pc3d.data.sample import VoxelSample
from pc3d.sparse import Batch, CoordSet, PointBatch, SparseTensor


def collate(samples: Sequence[VoxelSample]) -> Batch:
    """Put scenes one after the other. The batch column is written here and nowhere else.

    Args:
        samples: at least one voxelized scene, all with labels or all without.

    Returns:
        A batch on the CPU, its clouds in the order of `samples`.

    Raises:
        ValueError: no scenes, or only some of them have labels.
    """
    if not samples:
        raise ValueError("collate needs at least one scene; got an empty list")
    unlabelled = [s.points.name for s in samples if s.segment is None]
    if 0 < len(unlabelled) < len(samples):
        raise ValueError(
            f"scenes of one batch must all have labels or none; {len(unlabelled)} of "
            f"{len(samples)} have none: {', '.join(unlabelled[:5])}"
        )
    num_voxels = np.array([s.num_voxels for s in samples])
    first_voxel = np.cumsum(num_voxels) - num_voxels
    indices = torch.empty(int(num_voxels.sum()), 4, dtype=torch.int32)
    indices[:, 0] = torch.from_numpy(np.repeat(np.arange(len(samples)), num_voxels))
    indices[:, 1:] = _concatenate([s.indices for s in samples])
    coords = CoordSet(indices, batch_size=len(samples))
    return Batch(
        points=_collate_points(samples),
        voxels=SparseTensor(coords, _concatenate([s.feats for s in samples])),
        point2voxel=_concatenate(
            [s.point2voxel + first for s, first in zip(samples, first_voxel, strict=True)]
        ),
        segment=_concatenate_labels([s.segment for s in samples]),
    )


def _collate_points(samples: Sequence[VoxelSample]) -> PointBatch:
    points = [s.points for s in samples]
    return PointBatch(
        names=tuple(p.name for p in points),
        offsets=torch.from_numpy(np.cumsum([0, *(len(p) for p in points)])),
        xyz=_concatenate([p.xyz for p in points]),
        origin=torch.from_numpy(np.stack([p.origin for p in points])),
        row=_concatenate([p.row for p in points]),
        segment=_concatenate_labels([p.segment for p in points]),
    )


def _concatenate(arrays: Sequence[NDArray[np.generic]]) -> Tensor:
    return torch.from_numpy(np.concatenate(arrays))


def _concatenate_labels(arrays: Sequence[NDArray[np.int64] | None]) -> Tensor | None:
    labels = [array for array in arrays if array is not None]
    return _concatenate(labels) if labels else None
