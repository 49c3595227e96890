"""Colours of points: by class, by code, and by a scalar such as intensity or height."""

from __future__ import annotations

from itertools import islice

import numpy as np
from numpy.typing import NDArray

from pc3d.data.spec import IGNORE_INDEX, DatasetSpec
from pc3d.utils.colors import distinct_colors

UNLABELLED_COLOR = (170, 170, 170)
UNLABELLED_NAME = "unlabelled"

# Viridis at eight equal steps: even in lightness and readable with every colour vision.
_RAMP = np.array(
    [
        (68, 1, 84),
        (70, 51, 127),
        (54, 92, 141),
        (39, 127, 142),
        (31, 161, 135),
        (74, 194, 109),
        (159, 218, 58),
        (253, 231, 37),
    ],
    dtype=np.float64,
)


def check_classes(classes: NDArray[np.integer], spec: DatasetSpec, source: str) -> None:
    """Refuse class indices that `spec` has no name for.

    Args:
        classes: [P] integers, classes of `spec` or `IGNORE_INDEX`.
        spec: the label space.
        source: what the classes are, named in the error.

    Raises:
        ValueError: an index outside `[-1, num_classes)`.
    """
    if len(classes) == 0:
        return
    low, high = int(classes.min()), int(classes.max())
    if low < IGNORE_INDEX or high >= spec.num_classes:
        raise ValueError(
            f"{source}: class indices must be {IGNORE_INDEX}..{spec.num_classes - 1} of "
            f"{spec.name}; got {low}..{high}. Map the ids of a label file with spec.to_class first."
        )


def class_colors(classes: NDArray[np.integer], spec: DatasetSpec) -> NDArray[np.uint8]:
    """The palette colour of every point, grey where it has no label.

    Args:
        classes: [P] integers, classes of `spec` or `IGNORE_INDEX`.
        spec: the label space.

    Returns:
        [P, 3] uint8 RGB.

    Raises:
        ValueError: an index outside `[-1, num_classes)`.
    """
    check_classes(classes, spec, "class_colors")
    # IGNORE_INDEX is -1 and therefore reads the last row.
    table = np.array([*spec.palette, UNLABELLED_COLOR], dtype=np.uint8)
    return table[classes]


def code_colors(num_codes: int) -> NDArray[np.uint8]:
    """A colour for each code of a codebook; the first seven are the easiest to tell apart.

    Returns:
        [num_codes, 3] uint8 RGB.
    """
    return np.array([*islice(distinct_colors(), num_codes)], dtype=np.uint8).reshape(-1, 3)


def ramp_table() -> NDArray[np.uint8]:
    """[256, 3] uint8 RGB, the colours of a scalar, from dark to bright."""
    position = np.linspace(0, len(_RAMP) - 1, 256)
    channels = [np.interp(position, np.arange(len(_RAMP)), _RAMP[:, c]) for c in range(3)]
    return np.stack(channels, axis=1).round().astype(np.uint8)


def ramp_places(values: NDArray[np.number], low: float, high: float) -> NDArray[np.uint8]:
    """The place in `ramp_table` of every value: 0 at `low` and below, 255 at `high` and above.

    Args:
        values: [P] finite numbers.
        low: value of the first colour.
        high: value of the last colour.

    Returns:
        [P] uint8.
    """
    share = (values.astype(np.float64) - low) / max(high - low, 1e-12)
    return (np.clip(share, 0.0, 1.0) * 255).round().astype(np.uint8)


def ramp_colors(values: NDArray[np.number]) -> NDArray[np.uint8]:
    """Colours for a scalar per point, dark for low and bright for high values.

    The scale runs from the 1st to the 99th percentile, so that a few outliers (retro-reflectors
    in intensity, birds in height) do not leave everything else in one colour.

    Args:
        values: [P] numbers.

    Returns:
        [P, 3] uint8 RGB.

    Raises:
        ValueError: NaN or infinite values.
    """
    if not np.isfinite(values).all():
        raise ValueError(
            f"ramp_colors: {int((~np.isfinite(values)).sum())} of {len(values)} values are NaN or "
            "infinite. Replace them before colouring."
        )
    if len(values) == 0:
        return np.empty((0, 3), dtype=np.uint8)
    low, high = np.percentile(values, (1, 99))
    position = np.clip((values - low) / max(high - low, 1e-12), 0.0, 1.0) * (len(_RAMP) - 1)
    channels = [np.interp(position, np.arange(len(_RAMP)), _RAMP[:, c]) for c in range(3)]
    return np.stack(channels, axis=1).round().astype(np.uint8)
