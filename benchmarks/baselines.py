"""What the generated rooms ask for: classifiers without a network, for comparison with one.

`python -m benchmarks.baselines root=PATH` generates the rooms of each seed under PATH, fits two
classifiers on the training rooms and prints their mIoU on all points of the validation rooms:

* histogram: the most frequent class in a cell of height x red x green x blue;
* forest: extremely randomized trees on height and colour of a voxel and on statistics of height
  and colour over its neighbourhoods of 0.3 m and 1 m.

The network is trained elsewhere (`python train.py experiment=demo`); its mIoU per seed can be put
into the table with `minkunet=0.74,0.73,0.75`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.spatial import KDTree
from sklearn.ensemble import ExtraTreesClassifier

from data_prep.synthetic import generate
from pc3d.data.datasets.scannet import ScanNet
from pc3d.data.spec import IGNORE_INDEX
from pc3d.data.specs import SCANNET20
from pc3d.metrics import ConfusionMatrix, scores

VOXEL_SIZE = 0.08  # metres; of the forest's samples
NEIGHBORHOODS = ((0.3, 1), (1.0, 5))  # radius in metres, and every how many voxels count
NUM_BINS = (16, 8, 8, 8)  # of the histogram: height, red, green, blue
MAX_HEIGHT = 2.6  # metres
SAMPLES_PER_ROOM = 2500  # voxels that the forest is fitted on
KEYS = ("root", "seeds", "minkunet")


class RoomPoints(NamedTuple):
    """P points: xyz [P, 3] in metres, height in metres and RGB in 0..1 [P, 4], classes [P]."""

    xyz: NDArray[np.float64]
    values: NDArray[np.float64]
    segment: NDArray[np.int64]


Predict = Callable[[RoomPoints], NDArray[np.int64]]


def read_split(root: Path, split: str) -> list[RoomPoints]:
    """The rooms of a split, with the two features that the network gets: colour and height."""
    reader = ScanNet(root)
    rooms = []
    for scene in reader.scenes(split):
        sample = reader.read(scene, split)
        if sample.color is None or sample.segment is None:
            raise ValueError(f"{root}: {scene} has no colours or no labels")
        xyz = sample.xyz.astype(np.float64)
        height = xyz[:, 2] - np.quantile(xyz[:, 2], 0.01)
        values = np.column_stack([height, sample.color / 255.0])
        rooms.append(RoomPoints(xyz, values, sample.segment))
    return rooms


def mean_iou(rooms: Sequence[RoomPoints], predict: Predict) -> float:
    """mIoU of one confusion matrix over all labelled points of all rooms."""
    confusion = ConfusionMatrix(SCANNET20.num_classes, IGNORE_INDEX)
    for room in rooms:
        confusion.update(torch.from_numpy(predict(room)), torch.from_numpy(room.segment))
    return scores(confusion.compute()).miou


def fit_histogram(rooms: Sequence[RoomPoints]) -> Predict:
    """The most frequent class per cell; where a cell was never seen, per slice of height."""
    num_classes = SCANNET20.num_classes
    counts = np.zeros((int(np.prod(NUM_BINS)), num_classes))
    for room in rooms:
        valid = room.segment != IGNORE_INDEX
        np.add.at(counts, (_cells(room.values[valid]), room.segment[valid]), 1)
    per_height = counts.reshape(NUM_BINS[0], -1, num_classes).sum(axis=1)
    prior = np.repeat(per_height, np.prod(NUM_BINS[1:]), axis=0)
    best = (counts + 1e-6 * prior).argmax(axis=1)
    return lambda room: best[_cells(room.values)]


def _cells(values: NDArray[np.float64]) -> NDArray[np.int64]:
    scaled = values / (MAX_HEIGHT, 1.0, 1.0, 1.0) * NUM_BINS
    bins = np.clip(scaled.astype(np.int64), 0, np.array(NUM_BINS) - 1)
    return np.ravel_multi_index(tuple(bins.T), NUM_BINS)


def fit_forest(rooms: Sequence[RoomPoints], seed: int) -> Predict:
    """Trees on voxels, each described by itself and by the statistics around it."""
    rng = np.random.default_rng(seed)
    features, labels = [], []
    for room in rooms:
        centers, values, point2voxel = _voxelized(room)
        segment = np.zeros(len(centers), dtype=np.int64)
        segment[point2voxel] = room.segment  # of any of its points
        labelled = np.flatnonzero(segment != IGNORE_INDEX)
        chosen = rng.permutation(labelled)[:SAMPLES_PER_ROOM]
        features.append(_context(centers, values, chosen))
        labels.append(segment[chosen])
    forest = ExtraTreesClassifier(
        n_estimators=100, min_samples_leaf=2, max_features=0.3, n_jobs=-1, random_state=seed
    )
    forest.fit(np.concatenate(features), np.concatenate(labels))

    def predict(room: RoomPoints) -> NDArray[np.int64]:
        centers, values, point2voxel = _voxelized(room)
        return forest.predict(_context(centers, values, np.arange(len(centers))))[point2voxel]

    return predict


def _voxelized(
    room: RoomPoints,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Mean position and values of every voxel, and the voxel of every point."""
    cell = np.floor(room.xyz / VOXEL_SIZE).astype(np.int64)
    _, point2voxel, count = np.unique(cell, axis=0, return_inverse=True, return_counts=True)
    point2voxel = point2voxel.ravel()
    columns = np.column_stack([room.xyz, room.values]).T
    mean = np.stack([np.bincount(point2voxel, c) / count for c in columns], axis=1)
    return mean[:, :3], mean[:, 3:], point2voxel


def _context(
    centers: NDArray[np.float64], values: NDArray[np.float64], rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """[Q, F] own values; mean, deviation, extremes and heights of those around each row."""
    parts = [values[rows]]
    slices = np.linspace(0.0, MAX_HEIGHT, 10)
    one_hot = np.eye(len(slices) + 1)[np.digitize(values[:, 0], slices)]
    for radius, step in NEIGHBORHOODS:
        support = np.arange(0, len(centers), step)
        lists = KDTree(centers[support]).query_ball_point(centers[rows], radius)
        # The row itself as well, so that no neighbourhood is empty.
        members = [np.append(support[near], row) for near, row in zip(lists, rows, strict=True)]
        size = np.array([len(near) for near in members])[:, None]
        flat = np.concatenate(members)
        start = np.cumsum(size) - size[:, 0]
        near = values[flat]
        mean = np.add.reduceat(near, start) / size
        square = np.add.reduceat(near**2, start) / size
        parts += [
            mean,
            np.sqrt(np.maximum(square - mean**2, 0.0)),
            np.minimum.reduceat(near, start),
            np.maximum.reduceat(near, start),
            values[rows] - mean,
            np.add.reduceat(one_hot[flat], start) / size,
        ]
    return np.concatenate(parts, axis=1).astype(np.float32)


def main(arguments: Sequence[str]) -> int:
    """Run from a command line of `key=value` arguments; returns the exit status."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    console = Console()
    unknown = sorted(set(given) - set(KEYS))
    if unknown or "root" not in given:
        console.print(f"expected root=PATH and optionally seeds=, minkunet=; got {arguments}")
        return 2
    seeds = [int(seed) for seed in given.get("seeds", "0,1,2").split(",")]
    columns: dict[str, list[float]] = {"histogram": [], "forest": []}
    for seed in seeds:
        root = generate(Path(given["root"]) / f"seed{seed}", seed=seed)
        train, val = read_split(root, "train"), read_split(root, "val")
        columns["histogram"].append(mean_iou(val, fit_histogram(train)))
        columns["forest"].append(mean_iou(val, fit_forest(train, seed)))
    if "minkunet" in given:
        columns["MinkUNet14A"] = [float(value) for value in given["minkunet"].split(",")]
    console.print(_table(seeds, columns))
    return 0


def _table(seeds: Sequence[int], columns: dict[str, list[float]]) -> Table:
    table = Table("seed", *columns, title="mIoU on the validation rooms, 20 classes, all points")
    for row, seed in enumerate(seeds):
        table.add_row(str(seed), *(f"{values[row]:.3f}" for values in columns.values()))
    table.add_row("mean", *(f"{np.mean(values):.3f}" for values in columns.values()))
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
