"""Losses: modules from (logits [N, C], target [N]) to a scalar."""

from pc3d.losses.class_weights import effective_number, inverse_frequency, log_frequency
from pc3d.losses.cross_entropy import CrossEntropy
from pc3d.losses.dice import Dice
from pc3d.losses.focal import Focal
from pc3d.losses.lovasz import Lovasz
from pc3d.losses.sum import WeightedSum

__all__ = [
    "CrossEntropy",
    "Dice",
    "Focal",
    "Lovasz",
    "WeightedSum",
    "effective_number",
    "inverse_frequency",
    "log_frequency",
]
