"""Metrics from confusion matrices, with the policy stated."""

from pc3d.metrics.confusion import ConfusionMatrix, count_pairs
from pc3d.metrics.scene_counts import DISTANCES, SceneCounts, SplitCounts, count_scene
from pc3d.metrics.scores import ABSENT_POLICIES, Absent, Scores, scores

__all__ = [
    "ABSENT_POLICIES",
    "DISTANCES",
    "Absent",
    "ConfusionMatrix",
    "SceneCounts",
    "Scores",
    "SplitCounts",
    "count_pairs",
    "count_scene",
    "scores",
]
