"""Transforms of colour, in 0..255. All raise `ValueError` on a scene without colour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pc3d.data.sample import PointSample, bounds
from pc3d.data.transforms.base import require_field


@dataclass(frozen=True, kw_only=True)
class ChromaticAutoContrast:
    """Stretch each channel to 0..255 and blend the result with the original by a factor U(0, 1).

    A channel with a single value has no contrast to stretch and stays.

    Args:
        p: probability of the transform.
    """

    p: float = 0.2

    def __call__(self, sample: PointSample, rng: np.random.Generator) -> PointSample:
        color = require_field(sample, "color", type(self).__name__)
        if rng.random() >= self.p:
            return sample
        low, high = bounds(color)
        spread = high - low
        stretched = (color - low) * (255.0 / np.where(spread > 0, spread, 1.0))
        blend = np.where(spread > 0, rng.random(), 0.0)
        return sample.with_(color=(color + blend * (stretched - color)).astype(np.float32))


@dataclass(frozen=True, kw_only=True)
class ChromaticTranslation:
    """Add one random colour to all points, then clip to 0..255.

    Args:
        ratio: largest change of a channel, as a fraction of 255.
        p: probability of the transform.
    """

    ratio: float = 0.05
    p: float = 0.95

    def __call__(self, sample: PointSample, rng: np.random.Generator) -> PointSample:
        color = require_field(sample, "color", type(self).__name__)
        if rng.random() >= self.p:
            return sample
        shift = (rng.random(3, dtype=np.float32) - 0.5) * 255 * 2 * self.ratio
        return sample.with_(color=np.clip(color + shift, 0, 255).astype(np.float32))


@dataclass(frozen=True, kw_only=True)
class ChromaticJitter:
    """Add normal noise to every channel of every point, then clip to 0..255.

    Args:
        std: standard deviation, as a fraction of 255.
        p: probability of the transform.
    """

    std: float = 0.05
    p: float = 0.95

    def __call__(self, sample: PointSample, rng: np.random.Generator) -> PointSample:
        color = require_field(sample, "color", type(self).__name__)
        if rng.random() >= self.p:
            return sample
        noise = rng.standard_normal(color.shape, dtype=np.float32) * (255 * self.std)
        return sample.with_(color=np.clip(color + noise, 0, 255).astype(np.float32))
