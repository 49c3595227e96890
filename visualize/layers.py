"""What a view can show of the points: colours, classes, a scalar, or categories of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.spec import IGNORE_INDEX, DatasetSpec
from visualize.palette import check_classes, class_colors, code_colors, ramp_places, ramp_table

MAX_CATEGORIES = 256
"""Categories that fit the byte which a page keeps per point."""


@dataclass(frozen=True)
class Layer:
    """Colours or classes.

    Attributes:
        name: caption of the view, e.g. `"ground truth"`.
        values: [P, 3] uint8 RGB, or [P] integer classes with `IGNORE_INDEX` where unlabelled.
    """

    name: str
    values: NDArray[Any]

    def __post_init__(self) -> None:
        is_rgb = self.values.ndim == 2 and self.values.shape[1] == 3
        if not (is_rgb and self.values.dtype == np.uint8) and not (
            self.values.ndim == 1 and np.issubdtype(self.values.dtype, np.integer)
        ):
            raise ValueError(
                f"layer {self.name!r} must be [P, 3] uint8 colours or [P] integer classes; got "
                f"{self.values.shape} {self.values.dtype}. Scalars: visualize.layers.Scalars."
            )

    @property
    def is_classes(self) -> bool:
        return self.values.ndim == 1


@dataclass(frozen=True)
class Scalars:
    """A number per point, drawn with a ramp of 256 colours.

    Attributes:
        name: caption of the view, e.g. `"height"`.
        values: [P] finite numbers.
        unit: e.g. `"m"`; the empty string for none.
        limits: values of the first and last colour; None takes the 1st and 99th percentile, so that
            a few outliers (retro-reflectors, birds) do not leave everything else in one colour.
        meaning: what low and high values say, a few words for the colour bar, or empty.
    """

    name: str
    values: NDArray[Any]
    unit: str = ""
    limits: tuple[float, float] | None = None
    meaning: str = ""

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or self.values.dtype.kind not in "iuf":
            raise ValueError(
                f"layer {self.name!r} must be [P] numbers; got {self.values.shape} "
                f"{self.values.dtype}"
            )
        bad = int((~np.isfinite(self.values)).sum())
        if bad:
            raise ValueError(
                f"layer {self.name!r}: {bad} of {len(self.values)} values are NaN or infinite. "
                "Replace them, or leave the column out."
            )

    @property
    def range(self) -> tuple[float, float]:
        """Values of the first and the last colour."""
        if self.limits is not None or not len(self.values):
            return self.limits or (0.0, 0.0)
        low, high = np.percentile(self.values, (1, 99))
        return float(low), float(high)

    @property
    def places(self) -> NDArray[np.uint8]:
        """[P] uint8, the colour of every point as a place in the ramp."""
        return ramp_places(self.values, *self.range)


@dataclass(frozen=True)
class Categories:
    """One of a few kinds per point that are no classes, with a legend of their own.

    Attributes:
        name: caption of the view, e.g. `"error"`.
        labels: names of the D kinds.
        palette: [D, 3] uint8 RGB.
        values: [P] integers, the kind of every point.
    """

    name: str
    labels: tuple[str, ...]
    palette: NDArray[np.uint8]
    values: NDArray[np.integer]

    def __post_init__(self) -> None:
        number = len(self.labels)
        if not 0 < number <= MAX_CATEGORIES or self.palette.shape != (number, 3):
            raise ValueError(
                f"layer {self.name!r} must have 1 to {MAX_CATEGORIES} kinds with a colour "
                f"each; got {number} names and colours of shape {self.palette.shape}"
            )
        low, high = (self.values.min(), self.values.max()) if len(self.values) else (0, 0)
        if self.values.ndim != 1 or not 0 <= low <= high < number:
            raise ValueError(
                f"layer {self.name!r} must be [P] kinds 0..{number - 1}; got {self.values.shape} "
                f"with {low}..{high}"
            )

    @property
    def shares(self) -> NDArray[np.floating]:
        """[D] floats, the fraction of the points of each kind."""
        counts = np.bincount(self.values, minlength=len(self.labels))
        shares: NDArray[np.floating] = counts / max(len(self.values), 1)
        return shares


AnyLayer = Layer | Scalars | Categories


def error_layer(prediction: NDArray[np.integer], truth: NDArray[np.integer]) -> Categories:
    """Where a prediction is right and where it is wrong.

    Args:
        prediction: [P] classes; `IGNORE_INDEX` is wrong where there is a label.
        truth: [P] classes, `IGNORE_INDEX` where unlabelled.
    """
    kinds = np.where(truth == IGNORE_INDEX, 2, prediction != truth).astype(np.uint8)
    # Pale, strong, grey: what is wrong is what one looks for.
    palette = np.array([(150, 190, 220), (213, 60, 0), (170, 170, 170)], dtype=np.uint8)
    return Categories("error", ("right", "wrong", "unlabelled"), palette, kinds)


def tile_layer(tiles: NDArray[np.integer]) -> Categories:
    """The tile of each point: [P] integers from 1, P > 0, at most `MAX_CATEGORIES`."""
    labels = tuple(f"tile {number}" for number in range(1, int(tiles.max()) + 1))
    return Categories("tiles", labels, code_colors(len(labels)), tiles - 1)


def stage_layer(stages: NDArray[np.integer]) -> Categories:
    """How long each point stays: [P] integers from 0, P > 0, the last stage that it is part of."""
    labels = tuple(f"up to stage {number}" for number in range(int(stages.max()) + 1))
    # Most points are in the first stage only; the few that stay are to be seen among them.
    palette = code_colors(len(labels))
    palette[0] = (205, 210, 216)
    return Categories("sampled points", labels, palette, stages)


def normal_layer(normals: NDArray[np.floating]) -> Layer:
    """Directions as colours: red, green and blue grow with x, y and z from -1 to 1.

    Args:
        normals: [P, 3] of any length; where it is 0 or not finite, the point is mid-grey.
    """
    normals = np.where(np.isfinite(normals).all(axis=1, keepdims=True), normals, 0.0)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    unit = normals / np.where(length > 0, length, 1.0)
    return Layer("normals", ((unit + 1.0) * 127.5).round().astype(np.uint8))


def layer_colors(layer: AnyLayer, spec: DatasetSpec) -> NDArray[np.uint8]:
    """[P, 3] uint8 RGB, the colours that a layer has in a picture."""
    if isinstance(layer, Scalars):
        return ramp_table()[layer.places]
    if isinstance(layer, Categories):
        return layer.palette[layer.values]
    return class_colors(layer.values, spec) if layer.is_classes else layer.values


def check_layers(layers: Sequence[AnyLayer], num_points: int, spec: DatasetSpec) -> None:
    """Refuse layers that do not fit the points.

    Raises:
        ValueError: no layers, two of one name, lengths that differ, unknown classes.
    """
    if not layers:
        raise ValueError("a page needs at least one layer; got none")
    names = [layer.name for layer in layers]
    if len(set(names)) < len(names):
        raise ValueError(f"layers must have different names; got {', '.join(names)}")
    for layer in layers:
        if len(layer.values) != num_points:
            raise ValueError(
                f"layer {layer.name!r} has {len(layer.values)} rows but xyz has {num_points}. "
                "Predictions must be per input point, in input order."
            )
        if isinstance(layer, Layer) and layer.is_classes:
            check_classes(layer.values, spec, f"layer {layer.name!r}")
