"""Where a scene comes from: files, or the folder of a run with its predictions."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig

from pc3d.data.columns import fields_of, to_arrays
from pc3d.data.datasets import SceneReader
from pc3d.data.sample import PointSample
from pc3d.data.spec import DatasetSpec
from pc3d.data.specs import SPECS
from pc3d.inference import find_weights
from pc3d.inference.files import entropy
from pc3d.inference.predictor import spec_of
from pc3d.io.cloud import open_cloud, read_all
from pc3d.metrics import ConfusionMatrix, scores
from pc3d.models.weights import read_weights
from pc3d.utils.run_folder import TestedScenes, newest_prediction, read_run
from visualize.attribution import (
    EXPLAINED,
    Attribution,
    Target,
    attribution_layers,
    parse_target,
)
from visualize.codes import CodeView, view_of
from visualize.geometry import check_cloud
from visualize.grid import VoxelGrid, grid_of
from visualize.layers import (
    MAX_CATEGORIES,
    AnyLayer,
    Categories,
    Layer,
    Scalars,
    error_layer,
    normal_layer,
    stage_layer,
    tile_layer,
)
from visualize.page_data import CODES
from visualize.palette import check_classes
from visualize.predicted import Predicted, read_classes, read_predicted
from visualize.run_pass import RunPass, pass_of_run

COMPARISONS = ("who is right", "agreement")
"""Names of layers that compare runs, see `visualize.several`."""
_INPUTS = ("input", "intensity", "height")


@dataclass(frozen=True)
class Scene:
    """What there is to show.

    Attributes:
        title: name of the scene.
        xyz: [P, 3] float64 metres in world coordinates.
        layers: all that is known of the points.
        spec: names and colours of the classes.
        caption: a line about the prediction, or the empty string.
        codes: the codes that the points' voxels chose in the network, or None.
        grid: the voxels of the points, or None.
    """

    title: str
    xyz: NDArray[np.float64]
    layers: list[AnyLayer]
    spec: DatasetSpec
    caption: str = ""
    codes: CodeView | None = None
    grid: VoxelGrid | None = None

    @property
    def first_views(self) -> list[str]:
        """The views that one starts with: input, ground truth, predictions, what is asked for."""
        names = [layer.name for layer in self.layers]
        start = next(name for name in _INPUTS if name in names)
        wanted = {start, "ground truth", *COMPARISONS, *EXPLAINED}
        views = [name for name in names if name in wanted or name.split()[0] == "prediction"]
        return views + [CODES] * bool(self.codes)

    @property
    def all_layers(self) -> list[AnyLayer]:
        """The layers, and the codes of the block that is shown first."""
        if self.codes is None:
            return self.layers
        block = self.codes.shown
        return [*self.layers, Categories(CODES, tuple(block.labels), block.palette, block.codes)]


def scene_of_run(folder: Path, split: str, name: str, block: str = "", explain: str = "") -> Scene:
    """A scene as a run saw it, with its newest prediction and what led to it.

    Args:
        folder: run folder of train.py, tested with test.py.
        split: the split that was tested.
        name: name of the scene; the empty string takes the first one.
        block: the block whose codes are shown first; the empty string takes the last one of the
            finest resolution.
        explain: the score whose dependence is shown, see `attribution.parse_target`; the empty
            string for none.

    Raises:
        FileNotFoundError: no run, or no prediction of that scene.
        ValueError: the prediction does not fit the scene, the block has no codebook, or there is
            nothing to explain.
    """
    config, _ = read_run(folder)
    tested, name = tested_scene(folder, split, name)
    reader = reader_of(config)
    points = reader.read(name, split)
    prediction = read_prediction(tested, points, reader.spec)
    caption = f"checkpoint {tested.checkpoint_hash}"
    if points.segment is not None:
        caption = f"{_scores_of(prediction, points.segment, reader.spec)}; {caption}"
    xyz = points.xyz + points.origin
    target = parse_target(explain, reader.spec, xyz) if explain else None
    passed = pass_of_run(folder, config, tested, name, target)
    blocks = passed.seen.blocks if passed.seen else []
    if block and not blocks:
        why = passed.remark or "the network of this run has no codebooks"
        raise ValueError(f"block={block} cannot be shown: {why}")
    layers = input_layers(points)
    layers += class_layers(points.segment, _predicted(prediction, passed))
    layers += _network_layers(passed)
    codes = view_of(blocks, block) if blocks else None
    explained = ""
    if passed.attribution is not None:
        layers += attribution_layers(passed.attribution, codes.shown.name if codes else "")
        explained = _explained(passed.attribution, target, reader.spec)
    return Scene(
        title=name,
        xyz=xyz,
        layers=layers,
        spec=reader.spec,
        caption="; ".join(
            filter(None, (caption, passed.remark, _missing_tiles(passed), explained))
        ),
        codes=codes,
        grid=passed.grid,
    )


def reader_of(config: DictConfig) -> SceneReader:
    """The reader of the data set that a run was trained on."""
    reader: SceneReader = instantiate(config.dataset.reader, _convert_="all")
    return reader


def tested_scene(folder: Path, split: str, name: str) -> tuple[TestedScenes, str]:
    """The newest test of a scene, and its name; arguments are those of `newest_prediction`.

    Raises:
        FileNotFoundError: no prediction; says whether to test or to train first.
    """
    try:
        return newest_prediction(folder, split, name)
    except FileNotFoundError as error:
        if any((folder / "checkpoints").glob("*.ckpt")):
            raise
        raise FileNotFoundError(
            f"{error}; but {folder / 'checkpoints'} has no checkpoint: train first"
        ) from error


def read_prediction(
    tested: TestedScenes, points: PointSample, spec: DatasetSpec
) -> NDArray[np.int64]:
    """[P] int64, the class that test.py predicted for each point of a scene.

    Raises:
        FileNotFoundError: no prediction of that scene.
        ValueError: it is damaged, of another length, or of other classes; the file is named.
    """
    path = tested.folder / f"{points.name}.npy"
    try:
        prediction = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path}, the prediction of scene {points.name}, is not there. Run test.py again."
        ) from error
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path} is damaged: {error}. Run test.py again.") from error
    if prediction.ndim != 1 or prediction.dtype.kind not in "iu":
        raise ValueError(
            f"{path} must hold one class per point, [P] integers; got {list(prediction.shape)} "
            f"{prediction.dtype}. Run test.py again."
        )
    if len(prediction) != len(points):
        raise ValueError(
            f"{path} has {len(prediction)} predictions, but scene {points.name} has "
            f"{len(points)} points: did the data change since the test? Run test.py again."
        )
    check_classes(prediction, spec, str(path))
    if len(prediction) and prediction.min() < 0:
        raise ValueError(
            f"{path}: {int((prediction < 0).sum())} points have no class, but test.py gives every "
            "point one. Run test.py again."
        )
    return prediction.astype(np.int64)


def _explained(found: Attribution, target: Target | None, spec: DatasetSpec) -> str:
    name = spec.class_names[found.class_index]
    if target is not None and target.row is not None:
        return f"saliency of the score of {name} at one point, {found.score:.2f}"
    return f"saliency of the score of {name}, sum over the {found.num_points:,} points predicted so"


def _predicted(classes: NDArray[np.int64], passed: RunPass) -> Predicted:
    """A prediction, and the probability that one pass gives to its classes."""
    if passed.seen is None:
        return Predicted(classes)
    probabilities = passed.seen.probabilities
    confidence = np.take_along_axis(probabilities, classes.clip(0)[:, None], axis=1)[:, 0]
    return Predicted(classes, confidence, entropy(probabilities))


def _missing_tiles(passed: RunPass) -> str:
    """Why there is no layer of tiles although the scene is cut; or the empty string."""
    number = 0 if passed.tiles is None else int(passed.tiles.max())
    if number <= MAX_CATEGORIES:
        return ""
    return f"the {number} tiles are not shown: a layer tells {MAX_CATEGORIES} apart"


def _network_layers(passed: RunPass) -> list[AnyLayer]:
    layers: list[AnyLayer] = []
    if passed.seen is not None and passed.seen.stages is not None:
        layers.append(stage_layer(passed.seen.stages))
    if passed.tiles is not None and not _missing_tiles(passed):
        layers.append(tile_layer(passed.tiles))
    return layers


def input_layers(points: PointSample) -> list[AnyLayer]:
    """What a scene holds before any network: colours, intensity, height, normals."""
    layers: list[AnyLayer] = []
    if points.color is not None:
        layers.append(Layer("input", points.color.round().astype(np.uint8)))
    if points.intensity is not None:
        layers.append(Scalars("intensity", points.intensity))
    layers.append(Scalars("height", points.xyz[:, 2] + points.origin[2], unit="m"))
    if points.normal is not None:
        layers.append(normal_layer(points.normal))
    return layers


def class_layers(truth: NDArray[Any] | None, predicted: Predicted | None) -> list[AnyLayer]:
    """Ground truth, prediction, and what follows from them, as far as they are known."""
    layers: list[AnyLayer] = []
    if truth is not None:
        layers.append(Layer("ground truth", truth))
    if predicted is not None:
        layers.append(Layer("prediction", predicted.classes))
        if truth is not None:
            layers.append(error_layer(predicted.classes, truth))
        limits = (0.0, 1.0)
        if predicted.confidence is not None:
            meaning = "of the prediction"
            layers.append(Scalars("confidence", predicted.confidence, "", limits, meaning))
        if predicted.entropy is not None:
            meaning = "sure \u2013 undecided"
            layers.append(Scalars("entropy", predicted.entropy, "", limits, meaning))
    return layers


def _scores_of(prediction: NDArray[np.int64], segment: NDArray[np.int64], spec: DatasetSpec) -> str:
    confusion = ConfusionMatrix(spec.num_classes)
    confusion.update(torch.from_numpy(prediction), torch.from_numpy(segment))
    result = scores(confusion.compute())
    return f"this scene: mIoU {100 * result.miou:.1f} %, OA {100 * result.oa:.1f} %"


def scene_of_files(
    scene: Path,
    labels: str,
    pred: str,
    spec: DatasetSpec,
    voxel_size: float | None = None,
    ignore: Collection[str] = (),
) -> Scene:
    """A scene in a file of points, with labels and prediction in files of their own or none.

    Args:
        scene: a file of points (`docs/formats.md`).
        labels: a file of points with a column of labels in the ids of the data set's files, npy
            file of classes, or the empty string.
        pred: likewise, or what `pc3d predict` wrote.
        spec: the label space of both.
        voxel_size: metres, of the voxels that a click looks for neighbours in; None for none.
        ignore: ids of labels without a class, see `read_classes`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a damaged file, one of another length, or ids that the label space does not
            know.
    """
    cloud = open_cloud(scene)
    found = fields_of(cloud.columns, {"label": None, "returns": None}, str(scene))
    names = [column for columns in found.values() for column in columns]
    xyz, columns = read_all(cloud, names)
    check_cloud(xyz)
    arrays, _ = to_arrays(xyz, columns, found, source=str(scene))
    del arrays["coord"]
    points = PointSample(scene.stem, xyz.astype(np.float32), np.zeros(3), np.arange(len(xyz)))
    points = points.with_(**arrays)
    truth = read_classes(Path(labels), spec, len(xyz), ignore) if labels else None
    predicted = read_predicted(Path(pred), spec, len(xyz)) if pred else None
    layers = input_layers(points) + class_layers(truth, predicted)
    caption = ""
    if truth is not None and predicted is not None:
        caption = _scores_of(predicted.classes, truth, spec)
    grid = None if voxel_size is None else grid_of(xyz, voxel_size)
    return Scene(scene.stem, xyz, layers, spec, caption, grid=grid)


def label_space(name: str) -> DatasetSpec:
    """The label space of that name, or of weights.

    Raises:
        ValueError: lists the names that there are.
    """
    if name in SPECS:
        return SPECS[name]
    try:
        weights = read_weights(find_weights(name))
    except FileNotFoundError as error:
        raise ValueError(
            f"spec={name} is unknown; known: {', '.join(SPECS)}, and those of weights and "
            "run folders"
        ) from error
    return spec_of(weights.facts.get("spec", {}), weights.source)
