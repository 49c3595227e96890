"""A weighted sum of losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class WeightedSum(nn.Module):
    """`sum of weights[i] * losses[i]`.

    Args:
        losses: modules from (logits, target) to a scalar.
        weights: one factor per loss.

    Raises:
        ValueError: not one weight per loss.
    """

    def __init__(self, losses: Sequence[nn.Module], weights: Sequence[float]) -> None:
        super().__init__()
        if len(losses) != len(weights) or not losses:
            raise ValueError(f"got {len(losses)} losses and {len(weights)} weights")
        self.losses, self.weights = nn.ModuleList(losses), tuple(weights)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        pairs = zip(self.weights, self.losses, strict=True)
        return torch.stack([weight * loss(logits, target) for weight, loss in pairs]).sum()
