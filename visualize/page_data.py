"""The data of a page, as its script reads them: JSON with arrays in base64."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from math import ceil, log10
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.spec import IGNORE_INDEX
from visualize.codes import CodeView
from visualize.geometry import core_box, overview, point_spacing
from visualize.grid import VoxelGrid, index_type, shown_voxels
from visualize.layers import AnyLayer, Categories, Layer, Scalars
from visualize.palette import ramp_table


def encode(array: NDArray[Any], dtype: str) -> str:
    """The bytes of an array in a little-endian type, as base64."""
    return base64.b64encode(np.ascontiguousarray(array, dtype=dtype).tobytes()).decode("ascii")


def css_color(rgb: Sequence[int]) -> str:
    """A colour as in CSS: `"#e69f00"`."""
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def layer_json(layer: AnyLayer, kept: NDArray[np.int64], present: Sequence[int]) -> dict[str, Any]:
    """A layer at the points that are shown.

    Args:
        layer: of all P points.
        kept: [Q] rows of the points that are shown.
        present: the classes of the legend; classes become positions in it.
    """
    if isinstance(layer, Scalars):
        return _scalars_json(layer, kept)
    if isinstance(layer, Categories):
        percentages = [f"{100 * share:.1f} %" for share in layer.shares]
        block = _block_json(layer.name, layer.labels, percentages, layer.palette)
        block["codes"] = encode(layer.values[kept], "u1")
        return {"name": layer.name, "blocks": [block], "first": 0}
    values = layer.values[kept]
    if not layer.is_classes:
        return {"name": layer.name, "rgb": encode(values, "u1")}
    position = np.zeros(max(present) + 2, dtype=np.int64)
    position[np.asarray(present)] = np.arange(len(present))  # IGNORE_INDEX = -1 is the last entry
    return {"name": layer.name, "classes": encode(position[values], "<u2")}


def _scalars_json(layer: Scalars, kept: NDArray[np.int64]) -> dict[str, Any]:
    low, high = layer.range
    step = (high - low) / 100
    return {
        "name": layer.name,
        "ramp": encode(layer.places[kept], "u1"),
        "low": low,
        "high": high,
        "digits": min(max(ceil(-log10(step)), 0), 6) if step > 0 else 2,
        # Whether the first and the last colour stand for what lies beyond, too.
        "beyond": [bool((layer.values < low).any()), bool((layer.values > high).any())],
        "unit": layer.unit,
        "meaning": layer.meaning,
    }


def _block_json(
    title: str, labels: Sequence[str], percentages: Sequence[str], palette: NDArray[np.uint8]
) -> dict[str, Any]:
    rows = zip(labels, percentages, palette.tolist(), strict=True)
    legend = [{"label": a, "share": b, "color": css_color(c)} for a, b, c in rows]
    return {"title": title, "legend": legend}


def codes_json(codes: CodeView, kept: NDArray[np.int64]) -> dict[str, Any]:
    """The view of the codes, with all blocks, at the points that are shown."""
    blocks = []
    for block in codes.blocks:
        entry = _block_json(block.title, block.labels, block.percentages, block.palette)
        blocks.append({**entry, "codes": encode(block.codes[kept], "u1")})
    return {"name": CODES, "blocks": blocks, "first": codes.first, "menu": True}


CODES = "chosen code"
"""Name of the view of the codes."""


def present_classes(layers: Sequence[AnyLayer], kept: NDArray[np.int64]) -> list[int]:
    """The classes that layers have at the points that are shown; `IGNORE_INDEX` comes last."""
    found = {
        int(c)
        for layer in layers
        if isinstance(layer, Layer) and layer.is_classes
        for c in np.unique(layer.values[kept])
    }
    return sorted(found, key=lambda c: (c == IGNORE_INDEX, c))


def ramp_json() -> list[str]:
    """The colours of a scalar, from dark to bright."""
    return [css_color(rgb) for rgb in ramp_table().tolist()]


def grid_json(grid: VoxelGrid, kept: NDArray[np.int64]) -> dict[str, Any]:
    """The voxels of the points that are shown, and those of others."""
    voxels = shown_voxels(grid, kept)
    dtype = index_type(voxels.shape)
    return {
        "size": grid.voxel_size,
        "wide": dtype == "<u4",
        "shape": voxels.shape,
        "indices": encode(voxels.indices, dtype),
        "others": encode(voxels.others, dtype),
        "complete": voxels.is_complete,
    }


def geometry_json(xyz: NDArray[np.float64]) -> dict[str, Any]:
    """Coordinates relative to an origin, and what the cameras start from."""
    # float32 near zero is exact to micrometres; at map coordinates its steps are 0.25 m.
    origin = np.floor(xyz.min(axis=0))
    local = xyz - origin
    low, high = local.min(axis=0), local.max(axis=0)
    margin = 0.001 * float((high - low).max()) + 1e-3  # a flat or single-point cloud needs a box
    view = overview(local)
    return {
        "xyz": encode(local, "<f4"),
        "origin": origin.tolist(),
        "range": np.stack([low - margin, high + margin], axis=1).tolist(),
        "core": core_box(local).tolist(),
        "spacing": point_spacing(local),
        "azimuth": view.azimuth,
        "elevation": view.elevation,
    }
