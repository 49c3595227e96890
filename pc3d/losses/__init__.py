"""Losses: modules from (logits [N, C], target [N]) to a scalar."""

from pc3d.losses.cross_entropy import CrossEntropy
from pc3d.losses.lovasz import Lovasz
from pc3d.losses.sum import WeightedSum

__all__ = ["CrossEntropy", "Lovasz", "WeightedSum"]
