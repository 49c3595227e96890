"""Augmentations: pure functions of (sample, rng), composed as a plain sequence."""

from pc3d.data.transforms.base import Augmentation, Mix, OtherScenes, Transform
from pc3d.data.transforms.color import (
    ChromaticAutoContrast,
    ChromaticJitter,
    ChromaticTranslation,
)
from pc3d.data.transforms.cutmix import InstanceCutMix
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
from pc3d.data.transforms.mixing import LaserMix, OneOf, PolarMix
from pc3d.data.transforms.ranges import ClampRange, RangeFilter
from pc3d.data.transforms.sampling import GridSample, SphereCrop

__all__ = [
    "Augmentation",
    "CenterShift",
    "ChromaticAutoContrast",
    "ChromaticJitter",
    "ChromaticTranslation",
    "ClampRange",
    "ElasticDistortion",
    "GridSample",
    "InstanceCutMix",
    "LaserMix",
    "Mix",
    "OneOf",
    "OtherScenes",
    "PolarMix",
    "RandomDropout",
    "RandomFlip",
    "RandomJitter",
    "RandomRotate",
    "RandomScale",
    "RandomShift",
    "RangeFilter",
    "SphereCrop",
    "Transform",
]
