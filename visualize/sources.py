"""Where a scene comes from: files, or the folder of a run with its predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray

from pc3d.data.datasets import SceneReader
from pc3d.data.sample import PointSample
from pc3d.data.spec import DatasetSpec
from pc3d.data.specs import SPECS
from pc3d.io.ply import read_vertices
from pc3d.metrics import ConfusionMatrix, scores
from pc3d.utils.run_folder import newest_prediction, read_run
from visualize.choices import codes_of_run
from visualize.codes import CodeView, view_of
from visualize.palette import ramp_colors
from visualize.scene import Layer


@dataclass(frozen=True)
class Scene:
    """What there is to show.

    Attributes:
        title: name of the scene.
        xyz: [P, 3] float64 metres in world coordinates.
        layers: what is known of the points: input, ground truth, prediction.
        spec: names and colours of the classes.
        caption: a line about the prediction, or the empty string.
        codes: the codes that the points' voxels chose in the network, or None.
    """

    title: str
    xyz: NDArray[np.float64]
    layers: list[Layer]
    spec: DatasetSpec
    caption: str = ""
    codes: CodeView | None = None


def scene_of_run(folder: Path, split: str, name: str, block: str = "") -> Scene:
    """A scene as a run saw it, with its newest prediction and the codes chosen for it.

    Args:
        folder: run folder of train.py, tested with test.py.
        split: the split that was tested.
        name: name of the scene; the empty string takes the first one.
        block: the block whose codes are shown first; the empty string takes the last one of the
            finest resolution.

    Raises:
        FileNotFoundError: no run, or no prediction of that scene.
        ValueError: the prediction does not fit the scene, or the block has no codebook.
    """
    config, _ = read_run(folder)
    tested, name = newest_prediction(folder, split, name)
    reader: SceneReader = instantiate(config.dataset.reader, _convert_="all")
    points = reader.read(name, split)
    prediction = np.load(tested.folder / f"{name}.npy", allow_pickle=False).astype(np.int64)
    if len(prediction) != len(points):
        raise ValueError(
            f"{tested.folder / name}.npy has {len(prediction)} predictions, but scene {name} has "
            f"{len(points)} points: did the data change since the test?"
        )
    layers = [_input_of(points)]
    caption = f"checkpoint {tested.checkpoint_hash}"
    if points.segment is not None:
        layers.append(Layer("ground truth", points.segment))
        caption = f"{_scores_of(prediction, points.segment, reader.spec)}; {caption}"
    layers.append(Layer("prediction", prediction))
    blocks, reason = codes_of_run(folder, config, tested, name)
    if block and not blocks:
        why = reason or "the network of this run has no codebooks"
        raise ValueError(f"block={block} cannot be shown: {why}")
    codes = view_of(blocks, block) if blocks else None
    caption = "; ".join(filter(None, (caption, reason)))
    return Scene(name, points.xyz + points.origin, layers, reader.spec, caption, codes)


def _input_of(points: PointSample) -> Layer:
    if points.color is not None:
        return Layer("input", points.color.round().astype(np.uint8))
    if points.intensity is not None:
        return Layer("intensity", ramp_colors(points.intensity))
    return Layer("height", ramp_colors(points.xyz[:, 2]))


def _scores_of(prediction: NDArray[np.int64], segment: NDArray[np.int64], spec: DatasetSpec) -> str:
    confusion = ConfusionMatrix(spec.num_classes)
    confusion.update(torch.from_numpy(prediction), torch.from_numpy(segment))
    result = scores(confusion.compute())
    return f"this scene: mIoU {100 * result.miou:.1f} %, OA {100 * result.oa:.1f} %"


def scene_of_files(scene: Path, labels: str, pred: str, spec: DatasetSpec) -> Scene:
    """A scene in a ply file, with labels and prediction in files of their own or none.

    Args:
        scene: ply file.
        labels: ply file with a `label` per vertex in the ids of the data set's files, npy file of
            classes, or the empty string.
        pred: likewise.
        spec: the label space of both.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a damaged file, or ids that the label space does not know.
    """
    vertices = read_vertices(scene)
    xyz = np.stack([vertices[axis] for axis in "xyz"], axis=1).astype(np.float64)
    layers = [_input_layer(vertices, xyz)]
    if labels:
        layers.append(Layer("ground truth", _read_classes(Path(labels), spec)))
    if pred:
        layers.append(Layer("prediction", _read_classes(Path(pred), spec)))
    return Scene(scene.stem, xyz, layers, spec)


def _input_layer(vertices: Mapping[str, NDArray], xyz: NDArray[np.floating]) -> Layer:
    if all(channel in vertices for channel in ("red", "green", "blue")):
        return Layer("input", np.stack([vertices[c] for c in ("red", "green", "blue")], axis=1))
    if "intensity" in vertices:
        return Layer("intensity", ramp_colors(vertices["intensity"]))
    return Layer("height", ramp_colors(xyz[:, 2]))


def _read_classes(path: Path, spec: DatasetSpec) -> NDArray[np.integer]:
    """[P] classes of a npy file, or of the `label` ids in a ply file."""
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    vertices = read_vertices(path)
    if "label" not in vertices:
        raise ValueError(f"{path}: the vertices have no `label`; got {', '.join(vertices)}")
    return spec.to_class(vertices["label"], str(path))


def label_space(name: str) -> DatasetSpec:
    """The label space of that name.

    Raises:
        ValueError: lists the names that there are.
    """
    if name not in SPECS:
        raise ValueError(f"spec={name} is unknown; known: {', '.join(SPECS)}")
    return SPECS[name]
