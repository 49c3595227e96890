"""Confusion matrices: counting points, and int64 sums over scenes and over ranks."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

IGNORE_INDEX = -1


def count_pairs(
    prediction: Tensor, target: Tensor, num_classes: int, ignore_index: int = IGNORE_INDEX
) -> Tensor:
    """Count the pairs of (true class, predicted class) of all labelled points.

    Args:
        prediction: [P] integer classes in `[0, C)`.
        target: [P] integer classes in `[0, C)`, or `ignore_index`.
        num_classes: number of classes C.
        ignore_index: label of points that do not count.

    Returns:
        [C, C] int64; row = true class, column = predicted class.

    Raises:
        ValueError: different lengths.
    """
    if prediction.shape != target.shape:
        raise ValueError(
            f"every point needs one prediction and one label; got {tuple(prediction.shape)} "
            f"and {tuple(target.shape)}"
        )
    counted = target != ignore_index
    cell = target[counted].long() * num_classes + prediction[counted].long()
    return torch.bincount(cell, minlength=num_classes**2).view(num_classes, num_classes)


class ConfusionMatrix(Metric):
    """The sum of `count_pairs` over scenes and ranks.

    Args:
        num_classes: number of classes C.
        ignore_index: label of points that do not count.
    """

    full_state_update = False
    matrix: Tensor

    def __init__(self, num_classes: int, ignore_index: int = IGNORE_INDEX) -> None:
        super().__init__()
        self.num_classes, self.ignore_index = num_classes, ignore_index
        zeros = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.add_state("matrix", default=zeros, dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count points; the arguments are those of `count_pairs`."""
        self.matrix += count_pairs(prediction, target, self.num_classes, self.ignore_index)

    def compute(self) -> Tensor:
        """[C, C] int64; row = true class, column = predicted class."""
        return self.matrix
