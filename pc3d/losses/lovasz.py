"""Lovasz-softmax, a surrogate of the IoU (Berman et al. 2018, arXiv 1705.08790, algorithm 1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pc3d.losses.precision import full_precision


class Lovasz(nn.Module):
    """Mean over the classes present in the batch of the Lovasz extension of the Jaccard loss.

    Computed in float32, or float64 if given, over all rows of the batch at once; 0 with a zero
    gradient where no row is labelled.

    Args:
        ignore_index: label of rows that do not count.

    Shape: logits [N, C], target [N] int64, to a scalar.
    """

    def __init__(self, ignore_index: int = -1) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        probability = full_precision(logits).softmax(dim=1)
        counted = target != self.ignore_index
        per_class, present = [], []
        # Of all classes, and rows without a label as rows without error, which change nothing: to
        # select classes or rows is to wait for a GPU.
        for index in range(logits.shape[1]):
            truth = ((target == index) & counted).to(probability.dtype)
            error, order = ((truth - probability[:, index]).abs() * counted).sort(descending=True)
            # No product of matrices: autocast would take it in half precision.
            per_class.append((error * jaccard_gradient(truth[order])).sum())
            present.append(truth.any())
        share = torch.stack(present).to(probability.dtype)
        return (torch.stack(per_class) * share).sum() / share.sum().clamp(min=1)


def jaccard_gradient(truth: Tensor) -> Tensor:
    """Gradient of the Lovasz extension of the Jaccard loss.

    Args:
        truth: [N] 1 where the row belongs to the class, sorted by descending error.

    Returns:
        [N], the increase of the Jaccard loss as each row becomes an error in turn.
    """
    positives = truth.sum()
    intersection = positives - truth.cumsum(0)
    union = positives + (1 - truth).cumsum(0)
    jaccard = 1 - intersection / union
    return torch.cat([jaccard[:1], jaccard.diff()])
