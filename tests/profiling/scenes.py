"""A small network and a small scene to profile."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from pc3d.models import MinkUNet, PointTransformer
from pc3d.nn import PointTransformerBlock, VectorAttention
from pc3d.profiling.batches import generated_batch, maker
from pc3d.sparse import Batch


def small_network(channels: int = 8, **options: Any) -> MinkUNet:
    """Eight stages of a block each."""
    torch.manual_seed(0)
    widths = [channels, *[2 * channels] * 4, *[channels] * 3]
    sizes = {"widths": widths, "depths": [1] * 8, "stem_channels": channels}
    return MinkUNet(in_channels=4, num_classes=5, **(sizes | options))


def point_network() -> PointTransformer:
    """Two levels of points."""
    attention = partial(VectorAttention, group_channels=4)
    block = partial(PointTransformerBlock, attention=attention)
    sizes = {"widths": [8, 16], "depths": [1, 1], "num_neighbors": [4, 4]}
    search = {"kind": "knn", "radius": None}
    return PointTransformer(in_channels=4, num_classes=5, block=block, search=search, **sizes)


def make_batch(num_voxels: int = 400) -> Batch:
    """A room with fresh maps."""
    return maker(generated_batch("room", num_voxels, 4, 0.05), torch.device("cpu"))()
