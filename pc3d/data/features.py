"""Named point features: what a network is given about each point."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.sample import Float, PointSample, bounds
from pc3d.data.transforms.base import require_field

_MAX_RETURNS = 8  # more are rare, even where LAS could number 15


@dataclass(frozen=True)
class _Feature:
    field: str  # of PointSample
    num_channels: int
    compute: Callable[[NDArray[Any]], NDArray[Any]]


def _height(xyz: Float) -> Float:
    # A quantile instead of the minimum: a few stray points below the floor are common in scans.
    height: Float = xyz[:, 2] - np.quantile(xyz[:, 2], 0.01)
    return height


def _relative(xyz: Float) -> Float:
    low, high = bounds(xyz)
    extent = np.maximum(high - low, np.finfo(np.float32).tiny)
    relative: Float = (xyz - low) / extent - 0.5
    return relative


def _returns(returns: Float) -> Float:
    number, total = returns[:, 0], returns[:, 1]
    # A single return is 1 like every last one; the second channel tells them apart.
    depth = np.clip(number / np.maximum(total, 1), 0, 1)
    return np.stack([depth, np.clip(total / _MAX_RETURNS, 0, 1)], axis=1)


FEATURES: Mapping[str, _Feature] = MappingProxyType(
    {
        "color": _Feature("color", 3, lambda color: color / 255 - 0.5),
        "normal": _Feature("normal", 3, lambda normal: normal),
        "intensity": _Feature("intensity", 1, lambda intensity: intensity),
        "xyz": _Feature("xyz", 3, lambda xyz: xyz),
        "height": _Feature("xyz", 1, _height),
        "relative_xyz": _Feature("xyz", 3, _relative),
        "returns": _Feature("returns", 2, _returns),
    }
)
"""The features that a configuration can name, all computed after augmentation.

| name | channels | value |
|---|---|---|
| color | 3 | RGB in -0.5..0.5 |
| normal | 3 | unit vector |
| intensity | 1 | as the file holds it (SemanticKITTI: 0..1) |
| xyz | 3 | coordinates in metres |
| height | 1 | metres above the 1 % quantile of z of the scene |
| relative_xyz | 3 | place in the scene's bounding box, -0.5..0.5 along each axis |
| returns | 2 | number of the return / returns of its pulse; returns of its pulse / 8, at most 1 |
"""


def num_channels(names: Sequence[str]) -> int:
    """Width C of the named features together.

    Raises:
        ValueError: no name, or an unknown one.
    """
    unknown = [name for name in names if name not in FEATURES]
    if unknown or not names:
        raise ValueError(
            f"features must name at least one of {', '.join(FEATURES)}; got {list(names)}"
            + (f", of which {unknown} are unknown" if unknown else "")
        )
    return sum(FEATURES[name].num_channels for name in names)


def point_features(sample: PointSample, names: Sequence[str]) -> Float:
    """The named features of every point, side by side.

    Args:
        sample: P points.
        names: keys of `FEATURES`, in the order of the channels.

    Returns:
        [P, C] float32 with C = `num_channels(names)`.

    Raises:
        ValueError: the scene lacks the field that a feature needs.
    """
    columns = []
    for name in names:
        feature = FEATURES[name]
        values = feature.compute(require_field(sample, feature.field, f"feature {name!r}"))
        columns.append(values.reshape(len(sample), feature.num_channels))
    return np.concatenate(columns, axis=1, dtype=np.float32)
