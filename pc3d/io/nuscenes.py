"""Tables, sweeps and labels of nuScenes-lidarseg."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pc3d.io.binary import num_rows, read_ids, read_rows
from pc3d.io.reading import read_json, reading
from pc3d.io.submission import SubmissionFormat, little_endian

_CHANNELS = ("x", "y", "z", "intensity", "ring")
_KEYFRAME = b'"samples/LIDAR_TOP/'  # how the paths of LiDAR keyframes begin
_MAX_TEXT = 255  # of the name of a file; names and tokens are shorter
_NUM_IDS = 256  # a label is one byte
_META = {
    "use_camera": False,
    "use_lidar": True,
    "use_radar": False,
    "use_map": False,
    "use_external": False,
}


class Sweep(NamedTuple):
    """A LiDAR keyframe.

    Attributes:
        token: of its `sample_data`, which submissions name it by.
        scene: name of the drive that it belongs to, e.g. `"scene-0061"`.
        points: path of its points, relative to the data set.
        labels: path of its labels, or None.
    """

    token: str
    scene: str
    points: str
    labels: str | None


def read_sweeps(tables: str | Path) -> list[Sweep]:
    """The LiDAR keyframes of a folder of tables (`v1.0-trainval`), ordered by drive and time.

    Raises:
        FileNotFoundError: a table is missing.
        ValueError: a damaged table, or tables that do not fit each other.
    """
    folder = Path(tables)
    scenes = read_table(folder / "scene.json", token=str, name=str)
    samples = read_table(folder / "sample.json", token=str, scene_token=str, timestamp=int)
    drive_of = {row["token"]: row["name"] for row in scenes}
    when = {row["token"]: (row["scene_token"], row["timestamp"]) for row in samples}
    lidarseg = folder / "lidarseg.json"  # that of v1.0-test lists no labels, or is not there
    labels: dict[str, str] = {}
    if lidarseg.exists():
        rows = read_table(lidarseg, sample_data_token=str, filename=str)
        labels = {row["sample_data_token"]: row["filename"] for row in rows}
    path = folder / "sample_data.json"
    found = {}
    for row in _keyframe_rows(path):
        _check_row(path, row, token=str, sample_token=str, filename=str)
        drive_token, timestamp = when.get(row["sample_token"], (None, 0))
        if drive_token not in drive_of:
            raise ValueError(
                f"{path}: the drive of the keyframe {row['token']} is not in the tables beside it. "
                "Are they of the same version?"
            )
        drive, token = drive_of[drive_token], row["token"]
        sweep = Sweep(token, drive, row["filename"], labels.get(token))
        found[row["sample_token"]] = (drive, timestamp, sweep)
    if len(found) != len(when):
        raise ValueError(
            f"{path}: {len(found)} of the {len(when)} samples in sample.json have a LiDAR "
            "keyframe; expected all of them. Unpack the tables again."
        )
    return [sweep for *_, sweep in sorted(found.values(), key=lambda entry: entry[:2])]


def read_categories(tables: str | Path) -> dict[int, str]:
    """The name of every id in a label file, from `category.json`.

    Raises:
        FileNotFoundError: the table is missing.
        ValueError: a damaged table, or the one of nuScenes without lidarseg.
    """
    path = Path(tables, "category.json")
    rows = read_table(path, name=str)
    indices = [row.get("index") for row in rows]
    fits = all(isinstance(index, int) and 0 <= index < _NUM_IDS for index in indices)
    if not rows or not fits or len(set(indices)) < len(indices):
        raise ValueError(
            f"{path}: the categories have no index of their own in 0..{_NUM_IDS - 1}. Is this the "
            "table of nuScenes without lidarseg? Unpack nuScenes-lidarseg over it."
        )
    return {row["index"]: row["name"] for row in rows}


def read_table(path: str | Path, **columns: type) -> list[dict[str, Any]]:
    """The rows of a table.

    Args:
        path: the file.
        **columns: type of the columns that every row must have.

    Raises:
        ValueError: damaged JSON, not a list of objects, or a row without one of the columns.
    """
    rows = read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path}: expected a list of objects")
    for row in rows:
        _check_row(path, row, **columns)
    return rows


def _check_row(path: str | Path, row: dict[str, Any], **columns: type) -> None:
    wrong = [
        name
        for name, kind in columns.items()
        if not isinstance(row.get(name), kind) or len(str(row[name])) > _MAX_TEXT
    ]
    if wrong:
        raise ValueError(f"{path}: an entry has no proper {', '.join(wrong)}: {str(row)[:200]}")


def _keyframe_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of LiDAR keyframes: 34 thousand of the 2.6 million rows, 1 GB, of the table."""
    with reading(path), path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with content:
        if not content[-64:].rstrip().endswith(b"]"):
            raise ValueError(f"{path}: the table is cut off. Unpack it again.")
        place = content.find(_KEYFRAME)
        while place >= 0:  # rows hold no further objects
            start, end = content.rfind(b"{", 0, place), content.find(b"}", place) + 1
            with reading(path):
                row = json.loads(content[start:end])
            if row.get("is_key_frame"):
                yield row
            place = content.find(_KEYFRAME, place + 1)


def read_scan(path: str | Path) -> NDArray[np.float32]:
    """[P, 5] float32: x, y, z in metres from the sensor, intensity 0..255, ring.

    Raises:
        ValueError: the size is no whole number of points.
    """
    return read_rows(path, _CHANNELS)


def num_scan_points(path: str | Path) -> int:
    """Number of points of a sweep, from the size of its file."""
    return num_rows(path, _CHANNELS)


def read_labels(path: str | Path, num_points: int) -> NDArray[np.int64]:
    """[P] ids of a `_lidarseg.bin`; `read_categories` names them.

    Raises:
        ValueError: another number of labels than points.
    """
    return read_ids(path, "u1", num_points)


SUBMISSION = SubmissionFormat(
    lambda token: f"lidarseg/test/{token}_lidarseg.bin",
    *little_endian("u1"),
    "*_lidarseg.bin",
    {"test/submission.json": json.dumps({"meta": _META}, indent=2).encode()},
    server="the lidar segmentation challenge of nuscenes.org",
)
"""Classes from 1 as uint8, and what the method used; edit `_META` only if it used more."""
