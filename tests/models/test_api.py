"""`SegmentationOutput`: scores at points for both supports."""

from __future__ import annotations

import torch

from pc3d.models import SegmentationOutput
from tests.attack import CLOUDS, asymmetric
from tests.sparse.test_points import batch_of


def test_voxel_scores_go_to_all_points_of_the_voxel():
    batch = batch_of(CLOUDS["two"])
    logits = asymmetric(len(batch.voxels.coords), 4)
    scores = SegmentationOutput(logits).at_points(batch)
    assert scores.shape == (batch.points.num_points, 4)
    for point, voxel in enumerate(batch.point2voxel.tolist()):
        assert torch.equal(scores[point], logits[voxel])


def test_point_scores_stay_where_they_are():
    batch = batch_of(CLOUDS["two"])
    logits = asymmetric(batch.points.num_points, 4)
    assert SegmentationOutput(logits, support="point").at_points(batch) is logits
