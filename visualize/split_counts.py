"""A tested split counted scene by scene, and the order in which its scenes are to be looked at."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pc3d.data.datasets import SceneReader
from pc3d.data.datasets.base import listed_scenes
from pc3d.data.sample import PointSample
from pc3d.data.spec import DatasetSpec
from pc3d.metrics import Scores, count_pairs, scores
from pc3d.runs.results import read_result
from pc3d.utils.parallel import parallel_map
from pc3d.utils.run_folder import TestedScenes, read_run
from visualize.sources import read_prediction, reader_of, tested_scene

SORTS = ("miou", "name")
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
    points, prediction = read_scene(reader, tested, name)
    number = reader.spec.num_classes
    matrix = torch.zeros(number, number, dtype=torch.int64)
    if points.segment is not None:
        matrix = count_pairs(torch.from_numpy(prediction), torch.from_numpy(points.segment), number)
    found, flat = scores(matrix), matrix.flatten().numpy()
    (position,) = np.nonzero(flat)
    return SceneCounts(name, len(points), position, flat[position], found.miou, found.oa)


def read_scene(
    reader: SceneReader, tested: TestedScenes, name: str
) -> tuple[PointSample, NDArray[np.int64]]:
    """A scene, and the class that was predicted for each of its points."""
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
