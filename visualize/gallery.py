"""A tested split as a web page: a card for each scene, and the confusion matrix that orders them.

The page is one file without references to anything outside it, like that of a scene. Scenes are
read one at a time: once to count, and those that are shown once more to be drawn.
"""

from __future__ import annotations

import base64
import json
import math
import re
import shlex
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pc3d.data.datasets import SceneReader
from pc3d.data.datasets.base import listed_scenes
from pc3d.data.sample import PointSample
from pc3d.data.spec import DatasetSpec
from pc3d.metrics import ABSENT_POLICIES, Scores, count_pairs, scores
from pc3d.runs.results import read_result
from pc3d.utils.files import write_text
from pc3d.utils.parallel import parallel_map
from pc3d.utils.run_folder import TestedScenes, read_run
from visualize.layers import error_layer
from visualize.palette import class_colors
from visualize.render import encode_png, render_panels
from visualize.sources import read_prediction, reader_of, tested_scene

SORTS = ("miou", "name")
_SIZE = (360, 270)  # pixels of a picture: twice what a card is wide for on most screens
_MAX_NAMED = 5


class Cell(NamedTuple):
    """A cell of a confusion matrix: the classes of its row and its column."""

    truth: int
    prediction: int


@dataclass(frozen=True)
class SceneCounts:
    """What was counted in a scene.

    Attributes:
        name: of the scene.
        num_points: with and without labels.
        position: [K] int64, the cells that are not 0, as row * C + column.
        count: [K] int64, their points.
        miou: mean over the classes that occur in labels or predictions of the scene, as test.py
            has it for a split; NaN without labels.
        oa: right points / labelled points; NaN without labels.
    """

    name: str
    num_points: int
    position: NDArray[np.int64]
    count: NDArray[np.int64]
    miou: float
    oa: float

    @property
    def num_labelled(self) -> int:
        return int(self.count.sum())

    def matrix(self, num_classes: int) -> Tensor:
        """[C, C] int64; row = true class, column = predicted class."""
        flat = torch.zeros(num_classes**2, dtype=torch.int64)
        flat[torch.from_numpy(self.position)] = torch.from_numpy(self.count)
        return flat.view(num_classes, num_classes)


@dataclass(frozen=True)
class TestedSplit:
    """A split that was tested, counted scene by scene.

    Attributes:
        folder: of the run.
        tested: where the predictions are.
        reader: of the data set.
        scenes: of the split, by name; numbers in names count as numbers.
        matrix: [C, C] int64, the sum over all scenes; row = true class.
    """

    __test__ = False  # pytest: this is no test
    folder: Path
    tested: TestedScenes
    reader: SceneReader
    scenes: list[SceneCounts]
    matrix: Tensor

    @property
    def spec(self) -> DatasetSpec:
        return self.reader.spec

    @property
    def scores(self) -> Scores:
        """Of the summed matrix, as test.py computes them."""
        return scores(self.matrix)

    @property
    def has_labels(self) -> bool:
        return bool(self.matrix.any())

    def in_cell(self, cell: Cell) -> list[tuple[int, int]]:
        """Of each scene, the points in a cell, and those of its row: with that true class."""
        number = self.spec.num_classes
        rows = [scene.matrix(number)[cell.truth] for scene in self.scenes]
        return [(int(row[cell.prediction]), int(row.sum())) for row in rows]


def count_split(folder: Path, split: str, cell: str = "") -> tuple[TestedSplit, Cell | None]:
    """Count the newest test of a split.

    Args:
        folder: run folder of train.py, tested with test.py.
        split: the split that was tested.
        cell: as for `cell_of`, or the empty string; a wrong one is refused before counting.

    Returns:
        What was counted, and the cell.

    Raises:
        FileNotFoundError: no run, no test of that split, or scenes or predictions are missing.
        ValueError: a wrong cell, or one of a split without labels; a prediction does not fit its
            scene.
    """
    config, _ = read_run(folder)
    tested, _ = tested_scene(folder, split, "")
    reader = reader_of(config)
    chosen = cell_of(cell, reader.spec) if cell else None
    names = sorted(listed_scenes(reader, split), key=_natural)
    missing = [name for name in names if not (tested.folder / f"{name}.npy").is_file()]
    if missing:
        shown = ", ".join(missing[:_MAX_NAMED]) + ", ..." * (len(missing) > _MAX_NAMED)
        raise FileNotFoundError(
            f"{tested.folder} has no prediction of {len(missing)} of {len(names)} scenes: {shown}. "
            f"End the test: python test.py run={folder} split={split}"
        )
    counts = list(parallel_map(partial(_count, reader, tested), names, 0, "counting"))
    matrix = torch.zeros(reader.spec.num_classes, reader.spec.num_classes, dtype=torch.int64)
    for scene in counts:
        matrix += scene.matrix(len(matrix))
    found = TestedSplit(folder, tested, reader, counts, matrix)
    if chosen is not None and not found.has_labels:
        raise ValueError(
            f"cell={cell}: split {split} has no labels, so nothing is known of its errors. Leave "
            "cell= out for its predictions."
        )
    return found, chosen


def _natural(name: str) -> tuple[list[str | int], str]:
    """A key that puts `scene2` before `scene10`."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if k % 2 else part for k, part in enumerate(parts)], name


def _count(reader: SceneReader, tested: TestedScenes, name: str) -> SceneCounts:
    points, prediction = _read(reader, tested, name)
    number = reader.spec.num_classes
    matrix = torch.zeros(number, number, dtype=torch.int64)
    if points.segment is not None:
        matrix = count_pairs(torch.from_numpy(prediction), torch.from_numpy(points.segment), number)
    found, flat = scores(matrix), matrix.flatten().numpy()
    (position,) = np.nonzero(flat)
    return SceneCounts(name, len(points), position, flat[position], found.miou, found.oa)


def _read(
    reader: SceneReader, tested: TestedScenes, name: str
) -> tuple[PointSample, NDArray[np.int64]]:
    points = reader.read(name, tested.split)
    return points, read_prediction(tested, points, reader.spec)


def cell_of(text: str, spec: DatasetSpec) -> Cell:
    """The cell that `<true class>:<predicted class>` names.

    Raises:
        ValueError: not of that form, or an unknown class; lists the known ones.
    """
    names = spec.class_names
    truth, colon, prediction = text.partition(":")
    if not colon:
        raise ValueError(
            f"cell={text} is not <true class>:<predicted class>, such as cell={names[0]}:{names[1]}"
        )
    unknown = [name for name in (truth, prediction) if name not in names]
    if unknown:
        raise ValueError(
            f"cell={text}: {spec.name} has no class {' and no class '.join(map(repr, unknown))}; "
            f"it has {', '.join(names)}"
        )
    return Cell(names.index(truth), names.index(prediction))


def order_of(split: TestedSplit, sort: str, cell: Cell | None = None) -> list[int]:
    """Positions of the scenes, the one to look at first first.

    Args:
        split: what was counted.
        sort: `"miou"` (lowest first, without labels last) or `"name"`; of scenes that are alike in
            it, the one whose name comes first is first.
        cell: goes before `sort`: most points in it first, then by mIoU.

    Raises:
        ValueError: an unknown sort.
    """
    if sort not in SORTS:
        raise ValueError(f"sort must be one of {', '.join(SORTS)}; got {sort}")
    positions = list(range(len(split.scenes)))  # by name; sorting is stable
    if sort == "miou" or cell is not None:
        mious = [math.inf if math.isnan(scene.miou) else scene.miou for scene in split.scenes]
        positions.sort(key=lambda i: mious[i])
    if cell is not None:
        counts = split.in_cell(cell)
        positions.sort(key=lambda i: -counts[i][0])
    return positions


def doubts(split: TestedSplit) -> list[str]:
    """What speaks against these numbers being those of the test, in words; usually nothing."""
    tested = split.tested
    stem = f"{tested.split}-{tested.checkpoint_hash}-{tested.folder.name}"
    path = split.folder / "test" / f"{stem}.json"
    if not path.is_file():
        return []
    try:
        same = read_result(path)["confusion"] == split.matrix.tolist()
    except ValueError as error:
        return [str(error)]
    if same:
        return []
    return [
        f"{path} has another confusion matrix than predictions and labels have now: did the labels "
        "change since the test? Run test.py again."
    ]


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
    points, prediction = _read(split.reader, split.tested, name)
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
