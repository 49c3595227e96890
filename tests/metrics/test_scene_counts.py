"""What is counted in a scene, and its sum over scenes and processes."""

from __future__ import annotations

import torch

from pc3d.metrics import DISTANCES, SceneCounts, SplitCounts, count_scene

PREDICTION = torch.tensor([0, 1, 1, 0, 1, 0])
SEGMENT = torch.tensor([0, 0, 1, -1, 1, 1])
#                         on the edge  unlabelled       beyond the last
DISTANCE = torch.tensor([0.0, 10.0, 9.999, 25.0, 49.0, 80.0])


def test_distances_are_half_open_bins_of_ten_metres():
    assert DISTANCES[:-1] == (0, 10, 20, 30, 40, 50) and DISTANCES[-1] == float("inf")
    counts = count_scene(PREDICTION, SEGMENT, DISTANCE, 2)
    assert counts.matrix.tolist() == [[1, 1], [1, 2]]
    assert counts.by_distance.tolist() == [
        [[1, 0], [0, 1]],
        [[0, 1], [0, 0]],
        [[0, 0], [0, 0]],
        [[0, 0], [0, 0]],
        [[0, 0], [0, 1]],
        [[0, 0], [1, 0]],
    ]
    assert torch.equal(counts.by_distance.sum(dim=0), counts.matrix)
    assert counts.num_points == 6


def test_without_distance_or_labels():
    counts = count_scene(PREDICTION, SEGMENT, None, 2)
    assert counts.by_distance.shape == (6, 2, 2) and counts.by_distance.sum() == 0
    unlabelled = count_scene(PREDICTION, None, DISTANCE, 2)
    assert unlabelled.matrix.sum() == 0 and unlabelled.by_distance.sum() == 0
    assert unlabelled.num_points == 6


def test_scenes_add_up_over_updates_and_processes():
    whole = count_scene(PREDICTION, SEGMENT, DISTANCE, 2)
    parts = [slice(0, 2), slice(2, 2), slice(2, 6)]
    split = SplitCounts(2)
    for part in parts:
        split.update(count_scene(PREDICTION[part], SEGMENT[part], DISTANCE[part], 2))
    for found, expected in zip(split.compute(), whole, strict=True):
        assert torch.equal(found, expected)
    for name in SceneCounts._fields:
        stacked = torch.stack([getattr(whole, name), getattr(whole, name)])
        assert torch.equal(split._reductions[name](stacked), 2 * getattr(whole, name))
