"""The rules of the official evaluators, from ids as they stand in files.

Re-implemented from what the public scripts compute, to hold our own evaluator against them. They
differ in what they do with classes that do not occur and with predictions of no class. Scenes are
pooled by concatenating their points, as all three sum their counts over scenes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.integer]
_EPSILON = 1e-15


class OfficialScores(NamedTuple):
    """What an evaluator prints, in 0..1.

    Attributes:
        iou: [C] float64, one entry per class.
        miou: their mean.
        further: other numbers that the evaluator prints, by name.
    """

    iou: NDArray[np.float64]
    miou: float
    further: Mapping[str, float]


def scannet(prediction: Ids, truth: Ids, valid_ids: Sequence[int]) -> OfficialScores:
    """ScanNet's `evaluate_semantic_label.py`; with raw ids also the rule of ScanNet200.

    Only points whose true id is valid count. A predicted id that is not valid goes to the column
    UNKNOWN: a miss of the true class, and nobody's false positive. A class with neither labels nor
    predictions has no IoU (NaN; the script itself stops there) and does not enter the mean.

    Args:
        prediction: [P] ids.
        truth: [P] ids.
        valid_ids: the C ids that are evaluated.

    Raises:
        ValueError: different lengths.
    """
    _check_lengths(prediction, truth)
    unknown = len(valid_ids)
    class_of = {raw: index for index, raw in enumerate(valid_ids)}
    rows, columns = _mapped(truth, class_of, unknown), _mapped(prediction, class_of, unknown)
    matrix = _count(rows, columns, unknown + 1)[:unknown]  # true classes that are valid
    hits = matrix.diagonal()
    iou = _ratio(hits, matrix.sum(axis=1) + matrix.sum(axis=0)[:unknown] - hits)
    return OfficialScores(iou, _nanmean(iou), {})


def semantic_kitti(prediction: Ids, truth: Ids, learning_map: Mapping[int, int]) -> OfficialScores:
    """semantic-kitti-api's `evaluate_semantics.py` with `np_ioueval.py`.

    Both sides go through the learning map, in which 0 is ignored. Points whose true class is 0 do
    not count; a prediction of 0 elsewhere is a miss. The denominators have 1e-15 added, so a class
    that does not occur has IoU 0, and it enters the mean over all classes but 0.

    Args:
        prediction: [P] ids.
        truth: [P] ids.
        learning_map: from ids to 0 (ignored) or 1..C. Ids that are not in it are ignored.

    Returns:
        IoU of the classes 1..C; `further["accuracy"]`, TP / (TP + FP) over these classes.

    Raises:
        ValueError: different lengths.
    """
    _check_lengths(prediction, truth)
    size = max(learning_map.values()) + 1
    rows, columns = _mapped(truth, learning_map, 0), _mapped(prediction, learning_map, 0)
    matrix = _count(rows, columns, size)
    matrix[0] = 0
    hits = matrix.diagonal()
    false_alarms, misses = matrix.sum(axis=0) - hits, matrix.sum(axis=1) - hits
    iou = (hits / (hits + false_alarms + misses + _EPSILON))[1:]
    accuracy = hits.sum() / (hits[1:].sum() + false_alarms[1:].sum() + _EPSILON)
    return OfficialScores(iou, float(iou.mean()), {"accuracy": float(accuracy)})


def nuscenes(prediction: Ids, truth: Ids, coarse_of: Mapping[int, int]) -> OfficialScores:
    """The lidarseg evaluation of nuscenes-devkit.

    Points whose true class is 0 do not count. Classes that do not occur have no IoU and do not
    enter the mean. (The devkit rounds unions to float32, which is not repeated here.)

    Args:
        prediction: [P] classes 1..C, as submissions hold them.
        truth: [P] ids of the label files.
        coarse_of: from every id to 0 (ignored) or 1..C.

    Returns:
        IoU of the classes 1..C; `further["fwiou"]`, their mean weighted with their labels.

    Raises:
        ValueError: different lengths, or predictions outside 1..C.
    """
    _check_lengths(prediction, truth)
    size = max(coarse_of.values()) + 1
    if len(prediction) and not (prediction.min() >= 1 and prediction.max() < size):
        raise ValueError(
            f"predictions must be classes 1..{size - 1}; got "
            f"{int(prediction.min())}..{int(prediction.max())}"
        )
    matrix = _count(_mapped(truth, coarse_of, 0), prediction.astype(np.int64), size)[1:, 1:]
    hits, labels = matrix.diagonal(), matrix.sum(axis=1)
    iou = _ratio(hits, labels + matrix.sum(axis=0) - hits)
    total = matrix.sum()
    weighted = float(np.nansum(labels * iou) / total) if total else float("nan")
    return OfficialScores(iou, _nanmean(iou), {"fwiou": weighted})


def _check_lengths(prediction: Ids, truth: Ids) -> None:
    if prediction.shape != truth.shape:
        raise ValueError(
            f"every point needs one prediction and one label; got {prediction.shape} and "
            f"{truth.shape}"
        )


def _mapped(ids: Ids, table: Mapping[int, int], other: int) -> NDArray[np.int64]:
    unique, inverse = np.unique(ids, return_inverse=True)
    classes = np.array([table.get(int(raw), other) for raw in unique], dtype=np.int64)
    mapped: NDArray[np.int64] = classes[inverse]
    return mapped


def _count(rows: Ids, columns: Ids, size: int) -> NDArray[np.int64]:
    """[size, size]; row = true class, column = predicted class."""
    return np.bincount(rows * size + columns, minlength=size * size).reshape(size, size)


def _ratio(hits: Ids, union: Ids) -> NDArray[np.float64]:
    undefined = np.full(len(hits), np.nan)
    ratio: NDArray[np.float64] = np.divide(hits, union, out=undefined, where=union > 0)
    return ratio


def _nanmean(values: NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")
