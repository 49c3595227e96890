"""Classes from files: of labels, of test.py, of `pc3d predict`."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.columns import fields_of, to_arrays
from pc3d.data.spec import IGNORE_INDEX, DatasetSpec
from pc3d.inference.files import class_ids, entropy, unlabelled_id
from pc3d.io.cloud import open_cloud, read_all
from pc3d.io.clouds.file import CloudFile
from visualize.palette import check_classes


@dataclass(frozen=True)
class Predicted:
    """What is predicted of P points.

    Attributes:
        classes: [P] int64, `IGNORE_INDEX` for none.
        confidence: [P] the probability of that class, 0 to 1, or None.
        entropy: [P] of the probabilities, 0 (sure) to 1 (all are equal), or None.
    """

    classes: NDArray[np.int64]
    confidence: NDArray[Any] | None = None
    entropy: NDArray[Any] | None = None


def read_classes(
    path: Path, spec: DatasetSpec, num_points: int, ignore: Collection[str] = ()
) -> NDArray[np.int64]:
    """[P] classes of a npy file, or of the column of labels in a file of points.

    Args:
        path: a npy file holds classes; any other, ids as the data set's files have them.
        spec: the label space.
        num_points: P of the scene.
        ignore: ids of points that have no class; `"others"` for all that `spec` does not know.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no labels in it, another number of them, or unknown ones.
    """
    if path.suffix == ".npy":
        if not path.is_file():
            raise FileNotFoundError(f"no file {path}")
        classes = np.load(path, allow_pickle=False)
        if classes.ndim != 1 or classes.dtype.kind not in "iu":
            raise ValueError(
                f"{path} must hold one class per point, [P] integers; got {list(classes.shape)} "
                f"{classes.dtype}"
            )
        _check_length(path, len(classes), num_points)
        check_classes(classes, spec, str(path))
        return classes.astype(np.int64)
    cloud = open_cloud(path)
    _check_length(path, cloud.num_points, num_points)
    ids = _ids(cloud)
    left_out = {int(i) for i in np.unique(ids) if _is_ignored(int(i), spec, ignore)}
    known = {**spec.raw_to_class, **dict.fromkeys(left_out, IGNORE_INDEX)}
    return replace(spec, raw_to_class=known).to_class(ids, str(path))


def _is_ignored(raw: int, spec: DatasetSpec, ignore: Collection[str]) -> bool:
    return str(raw) in ignore or ("others" in ignore and raw not in spec.raw_to_class)


def read_predicted(path: Path, spec: DatasetSpec, num_points: int) -> Predicted:
    """Classes, and what a file of `pc3d predict` says beside them.

    That are the columns `confidence` and `entropy`, or else the probabilities `p_<class>` from
    which both follow.

    Arguments and errors are those of `read_classes`; every id must be known.
    """
    if path.suffix == ".npy":
        return Predicted(read_classes(path, spec, num_points))
    cloud = open_cloud(path)
    _check_length(path, cloud.num_points, num_points)
    classes = _predicted_classes(cloud, spec)
    wanted = [re.sub(r"[/\\\0:]", "_", f"p_{name}") for name in spec.class_names]
    names = [name for name in ("confidence", "entropy", *wanted) if name in cloud.columns]
    _, columns = read_all(cloud, names)
    confidence, undecided = columns.get("confidence"), columns.get("entropy")
    if all(name in columns for name in wanted):
        probabilities = np.stack([columns[name] for name in wanted], axis=1).astype(np.float32)
        if confidence is None:
            rows = classes.clip(0)[:, None]
            confidence = np.take_along_axis(probabilities, rows, axis=1)[:, 0]
        if undecided is None:
            undecided = entropy(probabilities)
    return Predicted(classes, confidence, undecided)


def _predicted_classes(cloud: CloudFile, spec: DatasetSpec) -> NDArray[np.int64]:
    """Classes from the ids that `pc3d predict` writes, which depend on the format."""
    ids, _ = class_ids(spec, cloud.path)
    known = dict(zip(ids.tolist(), range(spec.num_classes), strict=True))
    if ids.tolist() == list(spec.raw_ids):
        known = {**spec.raw_to_class}
    as_written = replace(spec, raw_to_class={unlabelled_id(ids): IGNORE_INDEX, **known})
    return as_written.to_class(_ids(cloud), str(cloud.path))


def _ids(cloud: CloudFile) -> NDArray[np.int64]:
    fields = fields_of(cloud.columns, source=str(cloud.path))
    if "label" not in fields:
        raise ValueError(
            f"{cloud.path} has no column of labels, such as classification or label; got "
            f"{', '.join(cloud.columns) or 'coordinates only'}"
        )
    label = {"label": fields["label"]}
    xyz, columns = read_all(cloud, label["label"])
    arrays, _ = to_arrays(xyz, columns, label, source=str(cloud.path))
    ids: NDArray[np.int64] = arrays["label"]
    return ids


def _check_length(path: Path, found: int, num_points: int) -> None:
    if found != num_points:
        raise ValueError(
            f"{path} has {found:,} points, but the scene has {num_points:,}: labels and "
            "predictions must be per point of the scene, in its order"
        )
