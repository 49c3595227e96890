"""What a test counts in a scene, and the sum of it over a split."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from pc3d.metrics.confusion import IGNORE_INDEX, count_pairs

DISTANCES = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0, math.inf)
"""Metres: bin i holds the points at `DISTANCES[i] <= distance < DISTANCES[i + 1]` from the sensor.

The bins of semantic-kitti-api's evaluation by distance, which ends at 50 m, and one for the rest.
"""
NUM_BINS = len(DISTANCES) - 1


class SceneCounts(NamedTuple):
    """Counts of a scene or, summed, of a split.

    Attributes:
        matrix: [C, C] int64, `count_pairs` of all points.
        by_distance: [NUM_BINS, C, C] int64, the same for each bin of `DISTANCES`; zeros where the
            distance is not known.
        num_points: [] int64, points with and without labels.
    """

    matrix: Tensor
    by_distance: Tensor
    num_points: Tensor


def count_scene(
    prediction: Tensor, segment: Tensor | None, distance: Tensor | None, num_classes: int
) -> SceneCounts:
    """Count the points of a scene.

    Args:
        prediction: [P] integer classes in `[0, C)`.
        segment: [P] integer classes, -1 where unlabelled, or None where the scene has no labels.
        distance: [P] metres from the sensor, or None.
        num_classes: number of classes C.
    """
    if segment is None:
        segment = torch.full_like(prediction, IGNORE_INDEX)
    matrix = count_pairs(prediction, segment, num_classes)
    by_distance = matrix.new_zeros(NUM_BINS, num_classes, num_classes)
    if distance is not None:
        edges = torch.tensor(DISTANCES[1:-1], dtype=distance.dtype, device=distance.device)
        bins = torch.bucketize(distance, edges, right=True)
        by_distance = torch.stack(
            [
                count_pairs(prediction[bins == i], segment[bins == i], num_classes)
                for i in range(NUM_BINS)
            ]
        )
    return SceneCounts(matrix, by_distance, torch.tensor(len(prediction), device=matrix.device))


class SplitCounts(Metric):
    """The sum of `SceneCounts` over scenes and ranks.

    Args:
        num_classes: number of classes C.
    """

    full_state_update = False
    matrix: Tensor
    by_distance: Tensor
    num_points: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        shapes = {"matrix": (), "by_distance": (NUM_BINS,)}
        for name, leading in shapes.items():
            zeros = torch.zeros(*leading, num_classes, num_classes, dtype=torch.int64)
            self.add_state(name, default=zeros, dist_reduce_fx="sum")
        self.add_state("num_points", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, counts: SceneCounts) -> None:
        """Add a scene."""
        self.matrix += counts.matrix.to(self.matrix)
        self.by_distance += counts.by_distance.to(self.by_distance)
        self.num_points += counts.num_points.to(self.num_points)

    def compute(self) -> SceneCounts:
        """The sums."""
        return SceneCounts(self.matrix, self.by_distance, self.num_points)
