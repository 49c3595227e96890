"""Soft Dice loss (Milletari et al. 2016, arXiv 1606.04797; per class, without squares)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pc3d.losses.precision import full_precision


class Dice(nn.Module):
    """Mean over the classes present in the batch of `1 - 2 sum(p t) / (sum(p) + sum(t))`.

    p is the probability of the class and t is 1 where it is the label, both over all labelled rows
    of the batch at once. 0 with a zero gradient where no row is labelled.

    Args:
        ignore_index: label of rows that do not count.

    Shape: logits [N, C], target [N] int64, to a scalar.
    """

    def __init__(self, ignore_index: int = -1) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        counted = (target != self.ignore_index)[:, None]
        probability = full_precision(logits).softmax(dim=1) * counted
        classes = torch.arange(logits.shape[1], device=target.device)
        truth = ((target[:, None] == classes) & counted).to(probability.dtype)
        overlap, predicted = (probability * truth).sum(0), probability.sum(0)
        size = truth.sum(0)
        present = size > 0
        loss = 1 - 2 * overlap / (predicted + size).where(present, 1.0)
        return loss.where(present, 0.0).sum() / present.sum().clamp(min=1)
