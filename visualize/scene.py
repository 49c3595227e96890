"""One scene as a web page: linked 3D views of input, ground truth, prediction and chosen codes.

The page is one file without references to anything outside it: plotly.js and the points stand
in it, so it opens without a network and can be mailed or put on any server. Coordinates are stored
once and shared by all views.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs

from pc3d.data.spec import IGNORE_INDEX, DatasetSpec
from pc3d.utils.files import write_bytes
from visualize.codes import CodeView
from visualize.geometry import check_cloud, core_box, overview, point_spacing, thin
from visualize.palette import (
    UNLABELLED_COLOR,
    UNLABELLED_NAME,
    check_classes,
    class_colors,
)
from visualize.render import render_png

MAX_POINTS = 150_000
"""Points of a view that browsers still turn smoothly, and a page of about 9 MB."""

ROOF = ("ceiling",)
"""Classes that would hide a room from above and are therefore not shown at first."""


@dataclass(frozen=True)
class Layer:
    """What one view shows.

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
                f"{self.values.shape} {self.values.dtype}. Scalars: visualize.palette.ramp_colors."
            )

    @property
    def is_classes(self) -> bool:
        return self.values.ndim == 1


@dataclass(frozen=True)
class PageInfo:
    """What a written page holds.

    Attributes:
        path: the file.
        num_points: points of the scene.
        num_shown: points in the page.
        num_bytes: size of the file.
        classes: names in the legend, in class order; `"unlabelled"` comes last.
    """

    path: Path
    num_points: int
    num_shown: int
    num_bytes: int
    classes: tuple[str, ...]


def write_page(
    path: str | Path,
    title: str,
    xyz: NDArray[np.floating],
    layers: Sequence[Layer],
    spec: DatasetSpec,
    *,
    metrics: str = "",
    max_points: int = MAX_POINTS,
    hidden: Collection[str] = ROOF,
    codes: CodeView | None = None,
) -> PageInfo:
    """Write a self-contained page with one 3D view per layer.

    The cameras are linked, one legend shows and hides classes in all views, and hovering names the
    point. A layer of colours is split by the first layer of classes, so the legend acts on
    it too; so is the view of the codes, which has a menu of the blocks and a legend of its own.

    Args:
        path: the file to write (`.html`); replaced only when the new page is complete.
        title: heading, e.g. the scene's name.
        xyz: [P, 3] metres; float64 for world coordinates.
        layers: the views from left to right, each with P rows.
        spec: names and colours of the classes.
        metrics: text for the second line, e.g. `"mIoU of this scene 0.71 (points, no TTA)"`.
        max_points: points to keep, chosen evenly in space; the page says "n of N points".
        hidden: names of classes that are switched off at first, because they hide the rest.
        codes: the codes that the points' voxels chose, with P rows; None for no such view.

    Raises:
        ValueError: no layers, no points, NaN coordinates, lengths that differ, unknown classes.
    """
    check_cloud(xyz)
    _check_layers(layers, len(xyz), spec)
    _check_codes(codes, len(xyz))
    kept = thin(xyz, max_points)
    shown_xyz = xyz[kept].astype(np.float64)
    shown = [Layer(layer.name, layer.values[kept]) for layer in layers]
    present = _present_classes(shown)
    names = [UNLABELLED_NAME if c == IGNORE_INDEX else spec.class_names[c] for c in present]

    scene = {
        "title": title,
        "subtitle": _subtitle(xyz, len(kept), metrics),
        "classes": [
            {"name": name, "color": _css(c, spec), "visible": name not in hidden}
            for name, c in zip(names, present, strict=True)
        ],
        "layers": [_layer_json(layer, present) for layer in shown] + _code_layers(codes, kept),
        **_geometry_json(shown_xyz),
    }
    target = Path(path)
    write_bytes(target, _page_text(scene).encode("utf-8"))
    return PageInfo(target, len(xyz), len(kept), target.stat().st_size, tuple(names))


def write_picture(
    path: str | Path,
    xyz: NDArray[np.floating],
    layers: Sequence[Layer],
    spec: DatasetSpec,
    *,
    hidden: Collection[str] = ROOF,
    codes: CodeView | None = None,
) -> None:
    """Write a PNG with one view per layer, side by side, of all points (see `visualize.render`).

    Args:
        path: the file to write (`.png`), atomically.
        xyz: [P, 3] metres.
        layers: the views from left to right, each with P rows.
        spec: names and colours of the classes.
        hidden: names of classes whose points, by the first layer of classes, are left out.
        codes: one more view, of the codes that the points' voxels chose in one block.

    Raises:
        ValueError: no layers, no points, NaN coordinates, lengths that differ, unknown classes,
            or nothing left to show.
    """
    check_cloud(xyz)
    _check_layers(layers, len(xyz), spec)
    _check_codes(codes, len(xyz))
    kept = np.ones(len(xyz), dtype=np.bool_)
    for layer in [layer for layer in layers if layer.is_classes][:1]:
        roof = [c for c, name in enumerate(spec.class_names) if name in hidden]
        kept = ~np.isin(layer.values, roof)
    panels = [
        class_colors(layer.values[kept], spec) if layer.is_classes else layer.values[kept]
        for layer in layers
    ]
    if codes is not None:
        panels.append(codes.shown.palette[codes.shown.codes[kept]])
    render_png(path, xyz[kept], panels)


def _check_layers(layers: Sequence[Layer], num_points: int, spec: DatasetSpec) -> None:
    if not layers:
        raise ValueError("a page needs at least one layer; got none")
    for layer in layers:
        if len(layer.values) != num_points:
            raise ValueError(
                f"layer {layer.name!r} has {len(layer.values)} rows but xyz has {num_points}. "
                "Predictions must be per input point, in input order."
            )
        if layer.is_classes:
            check_classes(layer.values, spec, f"layer {layer.name!r}")


def _check_codes(codes: CodeView | None, num_points: int) -> None:
    for block in codes.blocks if codes else ():
        if len(block.codes) != num_points:
            raise ValueError(
                f"block {block.name} has codes of {len(block.codes)} points but xyz has "
                f"{num_points}. Codes must be per input point, in input order."
            )


def _present_classes(layers: Sequence[Layer]) -> list[int]:
    """The classes of all layers in class order, `IGNORE_INDEX` last."""
    found = {int(c) for layer in layers if layer.is_classes for c in np.unique(layer.values)}
    return sorted(found, key=lambda c: (c == IGNORE_INDEX, c))


def _css(class_index: int, spec: DatasetSpec) -> str:
    rgb = UNLABELLED_COLOR if class_index == IGNORE_INDEX else spec.palette[class_index]
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def _subtitle(xyz: NDArray[np.floating], num_shown: int, metrics: str) -> str:
    size = " \u00d7 ".join(f"{extent:.1f}" for extent in np.ptp(xyz, axis=0))
    parts = [f"{num_shown:,} of {len(xyz):,} points", f"{size} m", metrics]
    return " \u00b7 ".join(part for part in parts if part)


def _layer_json(layer: Layer, present: Sequence[int]) -> dict[str, Any]:
    """The layer's colours, or its classes as positions in the legend."""
    if not layer.is_classes:
        return {"name": layer.name, "rgb": _base64(layer.values, "u1")}
    position = np.zeros(max(present) + 2, dtype=np.int64)
    position[np.asarray(present)] = np.arange(len(present))  # IGNORE_INDEX = -1 is the last entry
    return {"name": layer.name, "classes": _base64(position[layer.values], "<u2")}


def _code_layers(codes: CodeView | None, kept: NDArray[np.int64]) -> list[dict[str, Any]]:
    """The view of the codes at the points that are shown, if there is one."""
    if codes is None:
        return []
    blocks = []
    for block in codes.blocks:
        rows = zip(block.labels, block.percentages, block.colors, strict=True)
        legend = [{"label": a, "share": b, "color": c} for a, b, c in rows]
        points = _base64(block.codes[kept], "u1")
        blocks.append({"title": block.title, "legend": legend, "codes": points})
    return [{"name": "chosen code", "blocks": blocks, "first": codes.first}]


def _geometry_json(xyz: NDArray[np.float64]) -> dict[str, Any]:
    # float32 near zero is exact to micrometres; at map coordinates its steps are 0.25 m.
    origin = np.floor(xyz.min(axis=0))
    local = xyz - origin
    low, high = local.min(axis=0), local.max(axis=0)
    margin = 0.001 * float((high - low).max()) + 1e-3  # a flat or single-point cloud needs a box
    view = overview(local)
    return {
        "xyz": _base64(local, "<f4"),
        "origin": origin.tolist(),
        "range": np.stack([low - margin, high + margin], axis=1).tolist(),
        "core": core_box(local).tolist(),
        "spacing": point_spacing(local),
        "azimuth": view.azimuth,
        "elevation": view.elevation,
    }


def _base64(array: NDArray[Any], dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype=dtype).tobytes()).decode("ascii")


def _page_text(scene: dict[str, Any]) -> str:
    template = files("visualize").joinpath("scene.html").read_text(encoding="utf-8")
    before, rest = template.split("/*PLOTLY*/")
    between, after = rest.split("/*SCENE*/null")
    # "<" would allow a title to close the script element.
    data = json.dumps(scene).replace("<", "\\u003c")
    return "".join((before, get_plotlyjs(), between, data, after))
