"""Labelling files of points: what is read, what is assumed, what is written."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pc3d.data.columns import fields_of, to_arrays
from pc3d.data.sample import bounds
from pc3d.data.spec import DatasetSpec
from pc3d.inference.predictor import Predictor
from pc3d.io.cloud import check_target, open_cloud, read_all, write_cloud
from pc3d.io.clouds.file import CloudFile

_log = logging.getLogger(__name__)

NEUTRAL: Mapping[str, tuple[float, ...]] = {
    "color": (127.5, 127.5, 127.5),
    "normal": (0.0, 0.0, 1.0),
    "intensity": (0.0,),
    "returns": (1.0, 1.0),
}
"""What stands in for a field that a file lacks: grey, upwards, nothing, the only return."""
_FEWEST_VOXELS = 20
_HIGHEST = 20  # widths of the training's scenes
_LAS = (".las", ".laz")
LABEL = "classification"
"""The column that the ids of the classes are written to."""


@dataclass(frozen=True)
class Labelling:
    """How files are labelled.

    Attributes:
        names: of the columns of files that do not say.
        columns: from a field to its columns, where they are not found by their names.
        divide_by: scale of a field, such as `intensity`.
        fill: fields that get a neutral value where a file lacks them.
        extent: side of the windows, see `Predictor.scores`.
        overlap: share of a window that the next one covers too.
        confidence: write the probability of the class.
        entropy: write the entropy of the probabilities, 0 to 1.
        probabilities: write the probabilities of all classes.
    """

    names: Sequence[str] = ()
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    divide_by: Mapping[str, float] = field(default_factory=dict)
    fill: Sequence[str] = ()
    extent: float | None = None
    overlap: float = 0.25
    confidence: bool = False
    entropy: bool = False
    probabilities: bool = False


@dataclass(frozen=True)
class Labelled:
    """What became of a file of P points.

    Attributes:
        num_points: P.
        counts: [C], points of every class.
        num_skipped: points with coordinates or features that are NaN or infinite; they have no
            class.
        remarks: what was assumed about the file, and what the copy does not hold as the file does,
            a sentence each.
    """

    num_points: int
    counts: NDArray[np.int64]
    num_skipped: int
    remarks: tuple[str, ...]


def label_file(
    predictor: Predictor,
    source: Path,
    target: Path,
    how: Labelling,
    advance: Callable[[float], None] = lambda share: None,
) -> Labelled:
    """Write a copy of a file in which every point has a class.

    The order of the points and all that the file holds of them stay. Points whose coordinates or
    features are NaN or infinite, as some sensors write them, get an id that no class has.

    Args:
        predictor: the network.
        source: the file.
        target: the copy, of any format that can be written; made whole or not at all.
        how: see `Labelling`.
        advance: told the share of the points that is done, as it grows.

    Raises:
        FileNotFoundError, ValueError, OSError: what is wrong with the file, its columns, or the
            place to write to.
    """
    cloud = open_cloud(source, how.names)
    check_target(source, target)  # before the work
    how = as_trained(how, predictor.facts.get("conventions", {}), cloud)
    rows, xyz, fields, num_nowhere, assumed = read_fields(cloud, predictor.fields, how)
    if num_nowhere and target.suffix.lower() in _LAS:
        raise ValueError(
            f"{source}: {num_nowhere} points have no finite coordinates, which LAS cannot hold. "
            "Write .ply or .npy."
        )
    low, high = bounds(xyz)
    size = " x ".join(f"{side:.4g}" for side in high - low)
    assumed.append(f"it is {size} m large, if its coordinates are metres")
    if doubt := doubtful_unit(high - low, predictor.voxelize.voxel_size, predictor.extent):
        _log.warning("%s: it is %s m large, %s", source, size, doubt)  # before the work
    try:
        added = _label(predictor, xyz, fields, how, advance)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    counts = np.bincount(added[LABEL], minlength=predictor.spec.num_classes)
    ids, remark = class_ids(predictor.spec, target)
    legend = dict(zip(ids.tolist(), predictor.spec.class_names, strict=True))
    added[LABEL] = ids[added[LABEL]]
    if rows is not None:
        unlabelled = unlabelled_id(ids)
        added = {
            name: _spread(array, rows, cloud.num_points, unlabelled if name == LABEL else 0)
            for name, array in added.items()
        }
    written = write_cloud(cloud, target, added, legend)
    num_skipped = cloud.num_points - len(xyz)
    remarks = (*cloud.remarks, *assumed, *written, *remark)
    return Labelled(cloud.num_points, counts, num_skipped, remarks)


def doubtful_unit(
    size: NDArray[np.floating], voxel_size: float, extent: float | None
) -> str | None:
    """Why a cloud may not be in metres, in words; None if nothing speaks against it.

    Args:
        size: [3] of its bounding box.
        voxel_size: metres, of the network.
        extent: metres, of the largest scene in training, if it is known.
    """
    if size.max() < _FEWEST_VOXELS * voxel_size:
        return f"not {_FEWEST_VOXELS} voxels of {voxel_size:g} m: are its coordinates metres?"
    if extent is not None and size[2] > _HIGHEST * extent:
        return (
            f"and so {size[2] / extent:.0f} times as high as scenes of the training are wide "
            f"({extent:.3g} m): are its coordinates metres?"
        )
    return None


def as_trained(
    how: Labelling, conventions: Mapping[str, Mapping[str, Any]], cloud: CloudFile
) -> Labelling:
    """How a file is labelled where nothing else is said: as the files of the training data were.

    Args:
        how: what was said, which counts first.
        conventions: of the training data, see `SceneReader`.
        cloud: the file, which may lack their columns.
    """
    columns = conventions.get("columns", {})
    known = {name.lower() for name in cloud.columns}
    there = {f: names for f, names in columns.items() if {n.lower() for n in names} <= known}
    divide_by = {**conventions.get("divide_by", {}), **how.divide_by}
    return replace(how, columns={**there, **how.columns}, divide_by=divide_by)


class Fields(NamedTuple):
    """What a network is given of a file.

    Attributes:
        rows: [Q] the points without NaN or infinite values; None for all.
        xyz: [Q, 3] their coordinates.
        fields: [Q, ...] arrays of `PointSample`.
        num_nowhere: points of the file without finite coordinates.
        assumed: about the file, a sentence each.
    """

    rows: NDArray[np.int64] | None
    xyz: NDArray[np.float64]
    fields: dict[str, NDArray[Any]]
    num_nowhere: int
    assumed: list[str]


def read_fields(cloud: CloudFile, needed: Sequence[str], how: Labelling) -> Fields:
    """The coordinates of a file and the fields that a network needs.

    Raises:
        ValueError: a field that is neither there nor to be filled, or no point with finite values.
    """
    found = fields_of(cloud.columns, how.columns, str(cloud.path))
    missing = [name for name in needed if name not in found]
    if refused := [name for name in missing if name not in how.fill]:
        raise ValueError(
            f"{cloud.path}: this network needs {' and '.join(refused)}, and the file has no such "
            f"columns. {_advice(cloud, refused)} a neutral value stand in for them "
            f"(fill=[{','.join(refused)}]), which costs accuracy."
        )
    fields = {name: found[name] for name in needed if name in found}
    names = [column for columns in fields.values() for column in columns]
    xyz, columns = read_all(cloud, names)
    finite = np.asarray(np.isfinite(xyz).all(axis=1))
    num_nowhere = len(xyz) - int(finite.sum())
    for column in columns.values():
        finite &= np.isfinite(column)
    rows = None if finite.all() else np.flatnonzero(finite)
    if rows is not None:
        xyz, columns = xyz[rows], {name: column[rows] for name, column in columns.items()}
    if not len(xyz):
        raise ValueError(
            f"{cloud.path}: none of its {cloud.num_points} points has finite values of "
            f"{', '.join(['x', 'y', 'z', *names])}"
        )
    arrays, assumed = to_arrays(xyz, columns, fields, how.divide_by, str(cloud.path))
    scales = {name: how.divide_by[name] for name in fields if name in how.divide_by}
    assumed += [f"{name} is divided by {scale:g}" for name, scale in scales.items()]
    assumed += [f"{name} is missing and taken as {NEUTRAL[name]} everywhere" for name in missing]
    del arrays["coord"]
    for name in missing:
        value = np.array(NEUTRAL[name], dtype=np.float32)
        arrays[name] = np.broadcast_to(value if len(value) > 1 else value[0], _shape(xyz, value))
    return Fields(rows, xyz, arrays, num_nowhere, assumed)


def _advice(cloud: CloudFile, refused: Sequence[str]) -> str:
    if not cloud.columns:
        return "It has coordinates only: let"
    return (
        f"Its columns are {', '.join(cloud.columns)}: say which they are "
        f"(columns.{refused[0]}=[...]), or let"
    )


def _shape(xyz: NDArray[Any], value: NDArray[Any]) -> tuple[int, ...]:
    return (len(xyz), len(value)) if len(value) > 1 else (len(xyz),)


def _label(
    predictor: Predictor,
    xyz: NDArray[np.float64],
    fields: Mapping[str, NDArray[Any]],
    how: Labelling,
    advance: Callable[[float], None],
) -> dict[str, NDArray[Any]]:
    """The columns that are added, by name; of the label the class, not yet its id."""
    names = [re.sub(r"[/\\\0:]", "_", name) for name in predictor.spec.class_names]  # also of files
    added: dict[str, NDArray[Any]] = {LABEL: np.empty(len(xyz), np.uint16)}
    more = ["confidence"] * how.confidence + ["entropy"] * how.entropy
    more += [f"p_{name}" for name in names] * how.probabilities
    added |= {name: np.empty(len(xyz), np.float32) for name in more}
    num_done = 0
    for rows, scores in predictor.scores(xyz, fields, how.extent, how.overlap):
        added[LABEL][rows] = scores.argmax(axis=1)
        if how.confidence:
            added["confidence"][rows] = scores.max(axis=1)
        if how.entropy:
            added["entropy"][rows] = entropy(scores)
        for k, name in enumerate(names if how.probabilities else ()):
            added[f"p_{name}"][rows] = scores[:, k]
        num_done += len(rows)
        advance(num_done / len(xyz))
    return added


def entropy(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """[P] entropy of [P, C] probabilities, in units of that of C equal ones: 0 to 1."""
    logs = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    found: NDArray[np.float32] = -(probabilities * logs).sum(axis=1)
    return found / np.float32(np.log(max(probabilities.shape[1], 2)))


def class_ids(spec: DatasetSpec, target: Path) -> tuple[NDArray[np.int64], list[str]]:
    """[C], the id that a class has in a file, and a remark if it is not that of its data set."""
    ids = np.array(spec.raw_ids, dtype=np.int64)
    if target.suffix.lower() not in _LAS or (ids.min() >= 0 and ids.max() <= 255):
        return ids, []
    remark = f"classes are numbered from 0: the ids of {spec.name} do not fit into a byte of LAS"
    return np.arange(spec.num_classes), [remark]


def unlabelled_id(ids: NDArray[np.int64]) -> int:
    """The id of points without a class: 0, or where a class has that, the first that none has."""
    return next(i for i in range(len(ids) + 1) if i not in ids)


def _spread(values: NDArray[Any], rows: NDArray[np.int64], size: int, other: int) -> NDArray[Any]:
    """[size], `values` at `rows` and `other` everywhere else."""
    spread = np.full(size, other, dtype=values.dtype)
    spread[rows] = values
    return spread
