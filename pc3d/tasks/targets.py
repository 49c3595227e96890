"""What a voxel is trained to be: rules from the labels of its points to one label."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from pc3d.data.spec import IGNORE_INDEX
from pc3d.sparse import Batch


def majority(batch: Batch) -> Tensor | None:
    """The majority of the voxel's labelled points, the smallest class on a tie."""
    return batch.segment


def unanimous(batch: Batch) -> Tensor | None:
    """The label that all labelled points of the voxel have; none where they differ.

    As MinkowskiEngine's `sparse_quantize`, except that points without a label do not count.
    """
    if batch.segment is None or batch.points.segment is None:
        return None
    labels = batch.points.segment
    differs = (labels != IGNORE_INDEX) & (labels != batch.segment[batch.point2voxel])
    return batch.segment.index_fill(0, batch.point2voxel[differs], IGNORE_INDEX)


def first(batch: Batch) -> Tensor | None:
    """The label of the voxel's first point, even if that has none.

    What torchsparse's `sparse_quantize` makes of labels.
    """
    if batch.segment is None or batch.points.segment is None:
        return None
    rows = torch.arange(len(batch.point2voxel), device=batch.point2voxel.device)
    none = torch.full_like(batch.segment, len(rows))
    return batch.points.segment[none.scatter_reduce(0, batch.point2voxel, rows, "amin")]


VOXEL_LABELS: Mapping[str, Callable[[Batch], Tensor | None]] = MappingProxyType(
    {"majority": majority, "unanimous": unanimous, "first": first}
)
"""From a batch of P points in N voxels to [N] int64 classes or `IGNORE_INDEX`, or None."""
