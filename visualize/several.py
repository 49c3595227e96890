"""Several runs on one scene: what each predicts, and where which of them is right."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.data.spec import IGNORE_INDEX
from visualize.layers import AnyLayer, Categories, Layer
from visualize.palette import code_colors
from visualize.sources import COMPARISONS, Scene, scene_of_run

COMPARED = ("prediction", "error", "confidence", "entropy")
"""Layers that every run has of its own."""
MAX_RUNS = 6
"""A kind for every set of runs that may be right: more could not be told apart."""
_UNLABELLED = (170, 170, 170)
_ALL_RIGHT, _ALL_WRONG = (150, 190, 220), (90, 20, 20)


def scene_of_runs(
    folders: Sequence[Path], split: str, name: str, block: str = "", explain: str = ""
) -> Scene:
    """A scene as the first run saw it, with the predictions of the others beside its own.

    Args:
        folders: two or more run folders, tested on the same split.
        split: the split that was tested.
        name: name of the scene; the empty string takes the first one of the first run.
        block: of the first run, see `scene_of_run`.
        explain: likewise.

    Raises:
        FileNotFoundError: a run or its prediction of the scene is missing.
        ValueError: a run is named twice, or has other classes or another scene of that name.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError(f"run= names a folder twice: {', '.join(map(str, folders))}")
    if len(folders) > MAX_RUNS:
        raise ValueError(f"at most {MAX_RUNS} runs fit on a page; got {len(folders)}")
    names = run_names(folders)
    first = scene_of_run(folders[0], split, name, block, explain)
    scenes = [first, *(scene_of_run(folder, split, first.title) for folder in folders[1:])]
    for folder, scene in zip(folders[1:], scenes[1:], strict=True):
        _check_same(folders[0], first, folder, scene)
    of_runs = list(zip(names, scenes, strict=True))
    layers: list[AnyLayer] = [layer for layer in first.layers if layer.name not in COMPARED]
    for kind in COMPARED:
        for run, scene in of_runs:
            own = (layer for layer in scene.layers if layer.name == kind)
            layers += [dataclasses.replace(layer, name=f"{kind} {run}") for layer in own]
    truth = next((layer.values for layer in layers if layer.name == "ground truth"), None)
    predictions = [_layer_of(scene, "prediction") for scene in scenes]
    layers.append(
        agreement_layer(predictions, names)
        if truth is None
        else who_is_right_layer(predictions, truth, names)
    )
    captions = [f"{run}: {scene.caption}" for run, scene in of_runs]
    return dataclasses.replace(first, layers=layers, caption="; ".join(captions))


def run_names(folders: Sequence[Path]) -> list[str]:
    """The last parts of the paths, as many as it takes to tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(path[-depth:]) for path in parts]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f"run= names a folder twice: {', '.join(map(str, folders))}")


def who_is_right_layer(
    predictions: Sequence[NDArray[np.integer]], truth: NDArray[np.integer], names: Sequence[str]
) -> Categories:
    """Which runs are right at each point.

    Args:
        predictions: of every run, [P] classes.
        truth: [P] classes, `IGNORE_INDEX` where unlabelled.
        names: of the runs.
    """
    right = np.stack([prediction == truth for prediction in predictions])
    sets = (1 << np.arange(len(names))) @ right  # a bit for each run
    everyone = (1 << len(names)) - 1
    sets[truth == IGNORE_INDEX] = everyone + 1
    some = [s for s in range(1, everyone) if (sets == s).any()]
    order = [everyone, *some, 0, everyone + 1]
    labels = ["all right"]
    for s in some:
        labels.append("only " + ", ".join(n for k, n in enumerate(names) if s >> k & 1))
    labels += ["all wrong", "unlabelled"]
    colors = [_ALL_RIGHT, *code_colors(len(some)).tolist(), _ALL_WRONG, _UNLABELLED]
    place = np.zeros(everyone + 2, dtype=np.int64)
    place[order] = np.arange(len(order))
    palette = np.array(colors, dtype=np.uint8)
    return Categories(COMPARISONS[0], tuple(labels), palette, place[sets])


def agreement_layer(predictions: Sequence[NDArray[np.integer]], names: Sequence[str]) -> Categories:
    """Where all runs predict the same class, for scenes without labels.

    Args:
        predictions: of every run, [P] classes.
        names: of the runs.
    """
    differ = np.any(np.stack(predictions) != predictions[0], axis=0).astype(np.uint8)
    palette = np.array([_ALL_RIGHT, (213, 60, 0)], dtype=np.uint8)
    return Categories(COMPARISONS[1], (f"all {len(names)} agree", "they differ"), palette, differ)


def _layer_of(scene: Scene, name: str) -> NDArray[np.integer]:
    layer = next(layer for layer in scene.layers if layer.name == name)
    assert isinstance(layer, Layer)
    return layer.values


def _check_same(first_folder: Path, first: Scene, folder: Path, scene: Scene) -> None:
    if scene.spec.class_names != first.spec.class_names:
        raise ValueError(
            f"{folder} has other classes than {first_folder}: "
            f"{', '.join(scene.spec.class_names)}; expected {', '.join(first.spec.class_names)}. "
            "Compare runs of one data set."
        )
    if scene.xyz.shape != first.xyz.shape or not np.allclose(scene.xyz, first.xyz, atol=1e-3):
        raise ValueError(
            f"scene {scene.title} of {folder} has {len(scene.xyz):,} points, that of "
            f"{first_folder} {len(first.xyz):,}, or they lie elsewhere: are both of the same data?"
        )
