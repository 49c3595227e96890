"""SemanticKITTI scans, labels and the form of submissions.

A scan is named `<sequence>/<frame>`, e.g. `"08/000123"`. A sequence is a number, whose files lie
in `sequences/<number>/`, or the path of any other folder with `velodyne/` and `labels/` in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pc3d.io.binary import num_rows, read_ids, read_rows
from pc3d.io.submission import SubmissionFormat, little_endian

_CHANNELS = ("x", "y", "z", "remission")
_INSTANCE_SHIFT = 16  # a label holds the class in its low and the instance in its high 16 bits


class Labels(NamedTuple):
    """The labels of one scan of P points.

    Attributes:
        semantic: [P] int64 raw ids, e.g. 40 for road, 252 for a moving car.
        instance: [P] int64, 0 where none.
    """

    semantic: NDArray[np.int64]
    instance: NDArray[np.int64]


def sequence_folder(root: str | Path, sequence: str) -> Path:
    """The folder of a sequence: `root/sequences/08` for `"08"`, `root/extra` for `"extra"`."""
    return Path(root, "sequences", sequence) if sequence.isdigit() else Path(root, sequence)


def scan_path(root: str | Path, scan: str) -> Path:
    """The points of a scan."""
    return _file(root, scan, "velodyne", ".bin")


def label_path(root: str | Path, scan: str) -> Path:
    """The labels of a scan."""
    return _file(root, scan, "labels", ".label")


def prediction_path(scan: str) -> str:
    """Where a submission keeps the predictions of a scan, relative to its root."""
    return _file("", scan, "predictions", ".label").as_posix()


def _file(root: str | Path, scan: str, kind: str, suffix: str) -> Path:
    sequence, _, frame = scan.rpartition("/")
    return sequence_folder(root, sequence) / kind / f"{frame}{suffix}"


def read_scan(path: str | Path) -> NDArray[np.float32]:
    """[P, 4] float32: x, y, z in metres from the sensor, and the remission in 0..1.

    Raises:
        ValueError: the size is no whole number of points.
    """
    return read_rows(path, _CHANNELS)


def num_scan_points(path: str | Path) -> int:
    """Number of points of a scan, from the size of its file."""
    return num_rows(path, _CHANNELS)


def read_labels(path: str | Path, num_points: int) -> Labels:
    """Read the labels of a scan of `num_points` points.

    Raises:
        ValueError: another number of labels than points.
    """
    packed = read_ids(path, "<u4", num_points)
    return Labels(packed & ((1 << _INSTANCE_SHIFT) - 1), packed >> _INSTANCE_SHIFT)


SUBMISSION = SubmissionFormat(
    prediction_path,
    *little_endian("<u4"),
    "predictions/*.label",
    server="the CodaLab competition of semantic-kitti.org",
)
"""`sequences/11/predictions/000000.label` and so on: raw ids as uint32, without instances."""
