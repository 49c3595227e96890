"""Augmentations: pure functions of (sample, rng), composed as a plain sequence."""

from pc3d.data.transforms.base import Augmentation, Transform
from pc3d.data.transforms.color import (
    ChromaticAutoContrast,
    ChromaticJitter,
    ChromaticTranslation,
)
from pc3d.data.transforms.geometry import (
    CenterShift,
    ElasticDistortion,
    RandomDropout,
    RandomFlip,
    RandomJitter,
    RandomRotate,
    RandomScale,
    RandomShift,
)

__all__ = [
    "Augmentation",
    "CenterShift",
    "ChromaticAutoContrast",
    "ChromaticJitter",
    "ChromaticTranslation",
    "ElasticDistortion",
    "RandomDropout",
    "RandomFlip",
    "RandomJitter",
    "RandomRotate",
    "RandomScale",
    "RandomShift",
    "Transform",
]
