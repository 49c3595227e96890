"""Focal loss (Lin et al. 2017, arXiv 1708.02002, equation 5), for one of several classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pc3d.losses.precision import full_precision


class Focal(nn.Module):
    """Weighted mean over labelled rows of `-(1 - p)^gamma log p`, p the probability of the label.

    0 with a zero gradient where no row is labelled. With `gamma=0` it is `CrossEntropy`.

    Args:
        gamma: how much rows that are right already count less, from 0.
        class_weights: one factor per class (alpha in the paper), or None.
        ignore_index: label of rows that do not count.

    Raises:
        ValueError: negative `gamma`.

    Shape: logits [N, C], target [N] int64, to a scalar.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        gamma: float = 2.0,
        class_weights: Sequence[float] | None = None,
        ignore_index: int = -1,
    ) -> None:
        super().__init__()
        if gamma < 0:
            raise ValueError(f"Focal: gamma must not be negative; got {gamma}")
        self.gamma, self.ignore_index = gamma, ignore_index
        weights = None if class_weights is None else torch.tensor(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        counted = target != self.ignore_index
        label = target.where(counted, 0)
        log_p = full_precision(logits).log_softmax(dim=1).gather(1, label[:, None]).squeeze(1)
        weight = counted.to(log_p.dtype)
        if self.class_weights is not None:
            weight = weight * self.class_weights[label]
        # 1 - p is 0 for rows that are surely right, where a power below 1 has no slope.
        miss = (-log_p.expm1()).clamp(min=torch.finfo(log_p.dtype).tiny)
        mass = weight.sum()
        return -(weight * miss**self.gamma * log_p).sum() / mass.where(mass > 0, 1.0)
