"""Cross-entropy that survives a batch without labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pc3d.losses.precision import full_precision


class CrossEntropy(nn.Module):
    """Mean cross-entropy over labelled rows; 0 with a zero gradient where none is labelled.

    Args:
        class_weights: one factor per class, or None.
        label_smoothing: share of the target spread over all classes, 0..1.
        ignore_index: label of rows that do not count.

    Shape: logits [N, C], target [N] int64, to a scalar.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        ignore_index: int = -1,
    ) -> None:
        super().__init__()
        self.label_smoothing, self.ignore_index = label_smoothing, ignore_index
        weights = None if class_weights is None else torch.tensor(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        logits = full_precision(logits)
        weights = None if self.class_weights is None else self.class_weights.to(logits.dtype)
        total = nn.functional.cross_entropy(
            logits,
            target,
            weight=weights,
            ignore_index=self.ignore_index,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        counted = target != self.ignore_index
        if weights is None:
            mass = counted.sum()
        else:
            mass = (weights[target.where(counted, 0)] * counted).sum()
        # The sum over no rows is 0 and keeps the graph: every rank still has a gradient.
        return total / mass.clamp(min=torch.finfo(torch.float32).tiny)
