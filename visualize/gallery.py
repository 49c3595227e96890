"""A tested split as a web page: a card for each scene, and the confusion matrix that orders them.

The page is one file without references to anything outside it, like that of a scene. Scenes are
read one at a time: once to count, and those that are shown once more to be drawn.
"""

from __future__ import annotations

import base64
import json
import math
import shlex
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from pc3d.metrics import ABSENT_POLICIES
from pc3d.utils.files import write_text
from pc3d.utils.parallel import parallel_map
from visualize.layers import error_layer
from visualize.palette import class_colors
from visualize.render import encode_png, render_panels
from visualize.split_counts import Cell, SceneCounts, TestedSplit, doubts, order_of, read_scene

_SIZE = (360, 270)  # pixels of a picture: twice what a card is wide for on most screens


def write_gallery(
    path: str | Path,
    split: TestedSplit,
    *,
    sort: str = "miou",
    cell: Cell | None = None,
    max_scenes: int = 60,
) -> int:
    """Write a self-contained page.

    Args:
        path: the file (`.html`), atomically.
        split: what was counted.
        sort: how the page is sorted at first, see `order_of`.
        cell: chosen at first, and what it is sorted by then.
        max_scenes: scenes with pictures, at least 1: the worst ones by mIoU, or of the cell.

    Returns:
        The number of scenes with pictures.

    Raises:
        ValueError, FileNotFoundError: a scene or its prediction has changed since it was counted.
    """
    if max_scenes < 1:
        raise ValueError(f"max_scenes must be at least 1; got {max_scenes}")
    order_of(split, sort)  # refuses an unknown one
    worst = sorted(order_of(split, "miou", cell)[:max_scenes])
    draw = partial(_pictures, split)
    drawn = parallel_map(draw, [split.scenes[i].name for i in worst], 0, "drawing")
    cards = [_card(split, split.scenes[i], *pair) for i, pair in zip(worst, drawn, strict=True)]
    page = {
        "title": f"{split.folder.resolve().name}, split {split.tested.split}",
        "lines": _lines(split, len(cards), cell),
        "problems": doubts(split),
        "classes": [
            {"name": name, "color": "#{:02x}{:02x}{:02x}".format(*color)}
            for name, color in zip(split.spec.class_names, split.spec.palette, strict=True)
        ],
        "kinds": _kinds(),
        "matrix": split.matrix.tolist() if split.has_labels else None,
        "numScenes": len(split.scenes),
        "cards": cards,
        "command": _command("gallery", split),
        "sort": sort,
        "cell": cell,
    }
    template = files("visualize").joinpath("gallery.html").read_text(encoding="utf-8")
    before, after = template.split("/*PAGE*/null")
    # "<" would allow a name to close the script element.
    data = json.dumps(page, allow_nan=False).replace("<", "\\u003c")
    write_text(Path(path).expanduser(), "".join((before, data, after)))
    return len(cards)


def _lines(split: TestedSplit, num_shown: int, cell: Cell | None) -> list[str]:
    """What the numbers of the page are, sentence by sentence."""
    total, number = len(split.scenes), sum(scene.num_points for scene in split.scenes)
    scenes = "1 scene" if total == 1 else f"{total:,} scenes"
    tested = f"checkpoint {split.tested.checkpoint_hash}, test {split.tested.folder.name}"
    shown = f"{num_shown:,} of {scenes} shown" if num_shown < total else f"{scenes}, all shown"
    if not split.has_labels:
        return [
            f"The split has no labels: predictions alone, without scores and confusion matrix. "
            f"{number:,} points, {tested}.",
            f"{shown}.",
        ]
    found = split.scores
    worst = "the lowest mIoU"
    if cell is not None:
        truth, prediction = (split.spec.class_names[c] for c in cell)
        worst = f"most {truth} taken for {prediction}"
    lines = [
        f"mIoU {100 * found.miou:.2f} %, OA {100 * found.oa:.2f} % of the whole split, as test.py "
        f"has them: from one confusion matrix, the sum over all {scenes} ({number:,} points, "
        f"{int(split.matrix.sum()):,} labelled). The mean of the scenes' mIoUs is another number.",
        f"mIoU: {ABSENT_POLICIES['nan'].mean}; on a card, of the scene. {tested}.",
        f"{shown}." if num_shown == total else f"{shown}, those with {worst}; the matrix has all.",
    ]
    bare = sum(not scene.num_labelled for scene in split.scenes)
    return [*lines, f"{bare:,} of {scenes} without labels come last."] if bare else lines


def _kinds() -> list[dict[str, str]]:
    """Names and colours of right, wrong and unlabelled."""
    layer = error_layer(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    colors = ("#{:02x}{:02x}{:02x}".format(*color) for color in layer.palette)
    return [{"name": n, "color": c} for n, c in zip(layer.labels, colors, strict=True)]


def _pictures(split: TestedSplit, name: str) -> tuple[str, str | None]:
    """Prediction and errors of a scene as PNG in base64; no errors without labels."""
    points, prediction = read_scene(split.reader, split.tested, name)
    panels = [class_colors(prediction, split.spec)]
    if points.segment is not None and (points.segment >= 0).any():
        layer = error_layer(prediction, points.segment)
        panels.append(layer.palette[layer.values])
    try:
        drawn = render_panels(points.xyz, panels, size=_SIZE)
    except ValueError as error:  # no points, or coordinates that are none
        raise ValueError(f"scene {name}: {error}") from error
    images = [base64.b64encode(encode_png(image)).decode("ascii") for image in drawn]
    return images[0], images[1] if len(images) > 1 else None


def _card(
    split: TestedSplit, scene: SceneCounts, prediction: str, error: str | None
) -> dict[str, Any]:
    return {
        "name": scene.name,
        "points": scene.num_points,
        "labelled": scene.num_labelled,
        "miou": None if math.isnan(scene.miou) else scene.miou,
        "oa": None if math.isnan(scene.oa) else scene.oa,
        "cells": np.stack([scene.position, scene.count], axis=1).ravel().tolist(),
        "command": _command("view", split, f"scene={scene.name}"),
        "images": [prediction, error],
    }


def _command(verb: str, split: TestedSplit, *arguments: str) -> str:
    words = (f"run={split.folder}", f"split={split.tested.split}", *arguments)
    return shlex.join(("pc3d", verb, *words))
