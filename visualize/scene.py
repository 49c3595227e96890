"""One scene as a web page: linked 3D views of what is known of its points.

The page is one file without references to anything outside it: plotly.js and the points stand
in it, so it opens without a network and can be mailed or put on any server. Coordinates are stored
once and shared by all views.
"""

from __future__ import annotations

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
from visualize.geometry import check_cloud, thin
from visualize.grid import VoxelGrid
from visualize.layers import AnyLayer, Layer, check_layers, layer_colors
from visualize.page_data import (
    CODES,
    codes_json,
    css_color,
    geometry_json,
    grid_json,
    layer_json,
    present_classes,
    ramp_json,
)
from visualize.palette import UNLABELLED_COLOR, UNLABELLED_NAME
from visualize.render import render_png

MAX_POINTS = 150_000
"""Points of a view that browsers still turn smoothly, and a page of about 9 MB."""

MOST_POINTS = 300_000
"""Points beyond which browsers stutter, and a page of about 15 MB."""

SCRIPTS = ("scene.js", "camera.js", "neighbors.js", "views.js")
"""Parts of the page's script, in the order in which they run."""

ROOF = ("ceiling",)
"""Classes that would hide a room from above and are therefore not shown at first."""


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
    layers: Sequence[AnyLayer],
    spec: DatasetSpec,
    *,
    metrics: str = "",
    max_points: int = MAX_POINTS,
    hidden: Collection[str] = ROOF,
    codes: CodeView | None = None,
    shown: Collection[str] | None = None,
    grid: VoxelGrid | None = None,
) -> PageInfo:
    """Write a self-contained page with a 3D view for each layer.

    The cameras are linked, one legend shows and hides classes in all views, and hovering names the
    point. Layers other than classes are split by the first layer of classes, so the legend acts on
    them too. A click on a point shows its neighbours under a kernel.

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
        shown: names of the views that are open at first; the others wait for a click on their
            name. None opens all.
        grid: the voxels of the points, for kernels on voxels; None leaves the nearest points.

    Raises:
        ValueError: no layers, no points, NaN coordinates, lengths that differ, unknown classes,
            unknown views, or more than `MOST_POINTS` points.
    """
    check_cloud(xyz)
    check_layers(layers, len(xyz), spec)
    _check_codes(codes, len(xyz))
    if max_points > MOST_POINTS:
        raise ValueError(
            f"max_points={max_points:,}: a page holds at most {MOST_POINTS:,} points, more than "
            "which browsers do not turn. A picture (.png) draws all."
        )
    names = [layer.name for layer in layers] + [CODES] * (codes is not None)
    open_views = names if shown is None else _checked_views(shown, names)
    kept = thin(xyz, max_points)
    present = present_classes(layers, kept)
    classes = [UNLABELLED_NAME if c == IGNORE_INDEX else spec.class_names[c] for c in present]
    views = [layer_json(layer, kept, present) for layer in layers]
    views += [codes_json(codes, kept)] if codes else []
    scene = {
        "title": title,
        "classes": [
            {"name": name, "color": _css(c, spec), "visible": name not in hidden}
            for name, c in zip(classes, present, strict=True)
        ],
        "layers": [{**view, "open": view["name"] in open_views} for view in views],
        "ramp": ramp_json(),
        "grid": None if grid is None else grid_json(grid, kept),
        "num_points": len(xyz),
        **geometry_json(xyz[kept].astype(np.float64)),
    }
    target = Path(path)
    write_bytes(target, _page_text(scene, _subtitle(xyz, len(kept), metrics)))
    return PageInfo(target, len(xyz), len(kept), target.stat().st_size, tuple(classes))


def write_picture(
    path: str | Path,
    xyz: NDArray[np.floating],
    layers: Sequence[AnyLayer],
    spec: DatasetSpec,
    *,
    hidden: Collection[str] = ROOF,
    codes: CodeView | None = None,
    shown: Collection[str] | None = None,
) -> None:
    """Write a PNG with one view per layer, side by side, of all points (see `visualize.render`).

    Args:
        path: the file to write (`.png`), atomically.
        xyz: [P, 3] metres.
        layers: the views from left to right, each with P rows.
        spec: names and colours of the classes.
        hidden: names of classes whose points, by the first layer of classes, are left out.
        codes: one more view, of the codes that the points' voxels chose in one block.
        shown: names of the views that are drawn; None draws all.

    Raises:
        ValueError: no layers, no points, NaN coordinates, lengths that differ, unknown classes,
            unknown views, or nothing left to show.
    """
    check_cloud(xyz)
    check_layers(layers, len(xyz), spec)
    _check_codes(codes, len(xyz))
    names = [layer.name for layer in layers] + [CODES] * (codes is not None)
    drawn = names if shown is None else _checked_views(shown, names)
    kept = np.ones(len(xyz), dtype=np.bool_)
    for layer in layers:
        if isinstance(layer, Layer) and layer.is_classes:
            roof = [c for c, name in enumerate(spec.class_names) if name in hidden]
            kept = ~np.isin(layer.values, roof)
            break
    panels = [layer_colors(layer, spec)[kept] for layer in layers if layer.name in drawn]
    if codes is not None and CODES in drawn:
        panels.append(codes.shown.palette[codes.shown.codes[kept]])
    render_png(path, xyz[kept], panels)


def _checked_views(asked: Collection[str], names: Sequence[str]) -> Collection[str]:
    unknown = [name for name in asked if name not in names]
    if unknown or not asked:
        raise ValueError(
            f"there is no layer {', '.join(unknown) or 'named'}; this scene has {', '.join(names)}"
        )
    return asked


def _check_codes(codes: CodeView | None, num_points: int) -> None:
    for block in codes.blocks if codes else ():
        if len(block.codes) != num_points:
            raise ValueError(
                f"block {block.name} has codes of {len(block.codes)} points but xyz has "
                f"{num_points}. Codes must be per input point, in input order."
            )


def _css(class_index: int, spec: DatasetSpec) -> str:
    return css_color(UNLABELLED_COLOR if class_index < 0 else spec.palette[class_index])


def _subtitle(xyz: NDArray[np.floating], num_shown: int, metrics: str) -> list[str]:
    size = " \u00d7 ".join(f"{extent:.1f}" for extent in np.ptp(xyz, axis=0))
    parts = [f"{num_shown:,} of {len(xyz):,} points", f"{size} m", metrics]
    return [part for part in parts if part]


def _page_text(scene: dict[str, Any], subtitle: Sequence[str]) -> bytes:
    """The page; its size stands in its second line."""

    def part(name: str) -> str:
        return files("visualize").joinpath(name).read_text(encoding="utf-8")

    text = part("scene.html")
    for mark, content in (
        ("/*STYLE*/", part("scene.css")),
        ("/*SCRIPT*/", "\n".join(part(name) for name in SCRIPTS)),
        ("/*PLOTLY*/", get_plotlyjs()),
    ):
        before, after = text.split(mark)
        text = before + content + after
    before, after = text.split("/*SCENE*/null")
    size = len(before.encode("utf-8")) + len(after.encode("utf-8"))
    lines = [*subtitle, ""]
    for _ in range(2):
        # "<" would allow a title to close the script element.
        data = json.dumps({**scene, "subtitle": " \u00b7 ".join(lines)}).replace("<", "\\u003c")
        lines[-1] = f"{(size + len(data)) / 1e6:.1f} MB"
    return "".join((before, data, after)).encode("utf-8")
