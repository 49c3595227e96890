"""IoU, accuracy and their means, from a confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ABSENT_CLASS_POLICY = "mean over the classes that occur in labels or predictions of the split"
"""Published mIoUs differ here: others count an absent class as 0 or as 1."""


@dataclass(frozen=True)
class Scores:
    """Scores in 0..1; NaN where undefined.

    Attributes:
        iou: [C] float64, TP / (TP + FP + FN); NaN for a class in neither labels nor predictions.
        accuracy: [C] float64, TP / (TP + FN); NaN where a class has no labels.
        num_labels: [C] int64, labelled points per class.
        miou: mean of `iou` over the classes where it is defined.
        macc: mean of `accuracy` over the classes where it is defined.
        oa: overall accuracy, correct points / labelled points.
    """

    iou: Tensor
    accuracy: Tensor
    num_labels: Tensor
    miou: float
    macc: float
    oa: float


def scores(matrix: Tensor) -> Scores:
    """Scores of a [C, C] integer confusion matrix (row = true class, column = predicted class)."""
    counts = matrix.to(torch.float64).cpu()
    hits, labels, predictions = counts.diagonal(), counts.sum(dim=1), counts.sum(dim=0)
    iou = hits / (labels + predictions - hits)  # 0 / 0 is NaN: the class is absent
    accuracy = hits / labels
    return Scores(
        iou=iou,
        accuracy=accuracy,
        num_labels=labels.to(torch.int64),
        miou=float(iou.nanmean()),
        macc=float(accuracy.nanmean()),
        oa=float(hits.sum() / counts.sum()),
    )
