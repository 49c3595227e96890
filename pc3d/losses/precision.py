"""The precision that losses are computed in."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(logits: Tensor) -> Tensor:
    """float32 for half precisions; float32 and float64 stay."""
    return logits if logits.dtype == torch.float64 else logits.float()
