"""The score of a network on few scenes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from pc3d.models.api import SegmentationOutput
from pc3d.search.fitness import Fitness
from pc3d.sparse import Batch
from tests.profiling.scenes import make_batch
from tests.search.spaces import supernet


class Says(nn.Module):
    """Says of every point what it is told to."""

    def __init__(self, classes: Tensor) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, batch: Batch) -> SegmentationOutput:
        return SegmentationOutput(nn.functional.one_hot(self.classes, 5).float(), "point")


def test_classes_that_the_scenes_lack_do_not_count():
    batch = make_batch(100)
    segment = torch.arange(batch.points.num_points) % 2
    scene = replace(batch, points=replace(batch.points, segment=segment))
    fitness = Fitness(supernet(), [scene], [scene], torch.device("cpu"), None)
    assert fitness.score(Says(segment)) == 1.0
    said = segment.clone()
    said[0] = 4
    zeros = int((segment == 0).sum())
    assert fitness.score(Says(said)) == pytest.approx(((zeros - 1) / zeros + 1) / 2)
