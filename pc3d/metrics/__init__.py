"""Metrics from one confusion matrix, with the policy stated."""

from pc3d.metrics.confusion import ConfusionMatrix
from pc3d.metrics.scores import ABSENT_CLASS_POLICY, Scores, scores

__all__ = ["ABSENT_CLASS_POLICY", "ConfusionMatrix", "Scores", "scores"]
