"""One int64 confusion matrix per split, summed over scenes and over ranks."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class ConfusionMatrix(Metric):
    """Counts of (true class, predicted class) over all labelled points.

    Args:
        num_classes: number of classes C.
        ignore_index: label of points that do not count.
    """

    full_state_update = False
    matrix: Tensor

    def __init__(self, num_classes: int, ignore_index: int = -1) -> None:
        super().__init__()
        self.num_classes, self.ignore_index = num_classes, ignore_index
        zeros = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.add_state("matrix", default=zeros, dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count points.

        Args:
            prediction: [P] integer classes in `[0, C)`.
            target: [P] integer classes in `[0, C)`, or `ignore_index`.

        Raises:
            ValueError: different lengths.
        """
        if prediction.shape != target.shape:
            raise ValueError(
                f"every point needs one prediction and one label; got {tuple(prediction.shape)} "
                f"and {tuple(target.shape)}"
            )
        counted = target != self.ignore_index
        cell = target[counted].long() * self.num_classes + prediction[counted].long()
        counts = torch.bincount(cell, minlength=self.num_classes**2)
        self.matrix += counts.view(self.num_classes, self.num_classes)

    def compute(self) -> Tensor:
        """[C, C] int64; row = true class, column = predicted class."""
        return self.matrix
