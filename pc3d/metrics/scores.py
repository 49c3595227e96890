"""IoU, accuracy and their means, from a confusion matrix, under a stated policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Absent = Literal["nan", "zero", "one", "labelled"]


class AbsentPolicy(NamedTuple):
    """What a mean makes of classes that do not occur.

    Attributes:
        mean: what mIoU is the mean of.
        name: the same beside another mIoU.
        users: code that computes it so, as far as we know.
    """

    mean: str
    name: str
    users: str


ABSENT_POLICIES: Mapping[Absent, AbsentPolicy] = MappingProxyType(
    {
        "nan": AbsentPolicy(
            "mean over the classes that occur in labels or predictions of the split",
            "absent classes dropped",
            "ScanNet, nuscenes-devkit, mmdet3d, Open3D-ML, SPT, torchmetrics",
        ),
        "zero": AbsentPolicy(
            "mean over all classes, those in neither labels nor predictions as 0",
            "absent as 0",
            "Pointcept, semantic-kitti-api",
        ),
        "one": AbsentPolicy(
            "mean over all classes, those without labels as 1 even if predicted",
            "absent as 1 if no ground truth",
            "spvnas",
        ),
        "labelled": AbsentPolicy(
            "mean over the classes that occur in labels of the split",
            "only classes with ground truth",
            "ScanNet200",
        ),
    }
)
"""Published mIoUs differ here. `"nan"` is ours; its number is the one that is monitored."""


@dataclass(frozen=True)
class Scores:
    """Scores in 0..1; NaN where undefined.

    Attributes:
        iou: [C] float64, TP / (TP + FP + FN); of absent classes as the policy says.
        accuracy: [C] float64, TP / (TP + FN); NaN where a class has no labels, 0 under `"zero"`.
        num_labels: [C] int64, labelled points per class.
        miou: mean of `iou` over the classes where it is defined.
        macc: mean of `accuracy` over the classes where it is defined.
        oa: overall accuracy, correct points / labelled points.
    """

    iou: Tensor
    accuracy: Tensor
    num_labels: Tensor
    miou: float
    macc: float
    oa: float


def scores(matrix: Tensor, absent: Absent = "nan") -> Scores:
    """Scores of a confusion matrix.

    Args:
        matrix: [C, C] integers; row = true class, column = predicted class. A column C, if there is
            one, counts predictions of no class: misses of the true class, nobody's false positives.
        absent: a key of `ABSENT_POLICIES`.

    Returns:
        All NaN if no point has a label.

    Raises:
        ValueError: an unknown policy.
    """
    if absent not in ABSENT_POLICIES:
        raise ValueError(f"absent must be one of {', '.join(ABSENT_POLICIES)}; got {absent!r}")
    counts = matrix.to(torch.float64).cpu()
    hits, labels = counts.diagonal(), counts.sum(dim=1)
    predictions = counts.sum(dim=0)[: len(counts)]
    iou = hits / (labels + predictions - hits)  # 0 / 0 is NaN: the class is absent
    accuracy = hits / labels
    if labels.any():
        if absent == "zero":
            iou, accuracy = iou.nan_to_num(0.0), accuracy.nan_to_num(0.0)
        elif absent == "one":
            iou = iou.masked_fill(labels == 0, 1.0)
        elif absent == "labelled":
            iou = iou.masked_fill(labels == 0, torch.nan)
    return Scores(
        iou=iou,
        accuracy=accuracy,
        num_labels=labels.to(torch.int64),
        miou=float(iou.nanmean()),
        macc=float(accuracy.nanmean()),
        oa=float(hits.sum() / counts.sum()),
    )
