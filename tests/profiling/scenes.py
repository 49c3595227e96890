"""A small network and a small scene to profile."""

from __future__ import annotations

import torch

from pc3d.models import MinkUNet
from pc3d.profiling.batches import generated_batch, maker
from pc3d.sparse import Batch


def small_network(channels: int = 8) -> MinkUNet:
    """Eight stages of a block each."""
    torch.manual_seed(0)
    widths = [channels, *[2 * channels] * 4, *[channels] * 3]
    sizes = {"widths": widths, "depths": [1] * 8, "stem_channels": channels}
    return MinkUNet(in_channels=4, num_classes=5, **sizes)


def make_batch(num_voxels: int = 400) -> Batch:
    """A room with fresh maps."""
    return maker(generated_batch("room", num_voxels, 4, 0.05), torch.device("cpu"))()
