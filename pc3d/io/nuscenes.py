"""Tables, sweeps and labels of nuScenes-lidarseg."""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pc3d.io.submission import SubmissionFormat, little_endian

_CHANNELS = 5  # x, y, z, intensity, ring
_OBJECT = re.compile(rb"\{[^{}]*\}")
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
    """The LiDAR keyframes of a folder of tables (`v1.0-trainval`), ordered by scene and time.

    Raises:
        FileNotFoundError: a table is missing.
        ValueError: a damaged table, or tables that do not fit each other.
    """
    folder = Path(tables)
    drives = {row["token"]: row["name"] for row in read_table(folder / "scene.json")}
    samples = {row["token"]: row for row in read_table(folder / "sample.json")}
    lidarseg = folder / "lidarseg.json"  # that of v1.0-test lists no labels, or is not there
    labels = (
        {r["sample_data_token"]: r["filename"] for r in read_table(lidarseg)}
        if (lidarseg.exists())
        else {}
    )
    path = folder / "sample_data.json"
    found = []
    for row in _flat_objects(path, b"LIDAR_TOP"):
        if not row.get("is_key_frame") or "/LIDAR_TOP/" not in str(row.get("filename")):
            continue
        try:
            sample = samples[row["sample_token"]]
            drive = drives[sample["scene_token"]]
            order = (drive, sample["timestamp"])
            token = row["token"]
            found.append((order, Sweep(token, drive, row["filename"], labels.get(token))))
        except KeyError as error:
            raise ValueError(f"{path}: no entry {error} in the tables beside it") from error
    return [sweep for _, sweep in sorted(found)]


def read_table(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a table.

    Raises:
        ValueError: damaged JSON, or not a list of objects.
    """
    try:
        rows = json.loads(Path(path).read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: damaged JSON ({error}). Unpack the table again.") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path}: expected a list of objects")
    return rows


def _flat_objects(path: Path, needle: bytes) -> Iterator[dict[str, Any]]:
    """The rows that contain `needle`, one at a time: the table of 2.6 million rows takes 1 GB."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if not content[-64:].rstrip().endswith(b"]"):
            raise ValueError(f"{path}: the table is cut off. Unpack it again.")
        for match in _OBJECT.finditer(content):
            if needle in match.group():
                try:
                    yield json.loads(match.group())
                except (json.JSONDecodeError, UnicodeDecodeError) as error:
                    raise ValueError(f"{path}: damaged JSON ({error})") from error


def read_scan(path: str | Path) -> NDArray[np.float32]:
    """[P, 5] float32: x, y, z in metres from the sensor, intensity 0..255, ring.

    Raises:
        ValueError: the size is no multiple of five float32 numbers.
    """
    num_bytes = Path(path).stat().st_size
    if num_bytes % (4 * _CHANNELS):
        raise ValueError(
            f"{path}: {num_bytes} bytes are not a whole number of points (20 bytes each: x, y, z, "
            "intensity, ring as float32). Copy or download the file again."
        )
    values = np.fromfile(path, dtype="<f4").astype(np.float32, copy=False)
    return values.reshape(-1, _CHANNELS)


def num_scan_points(path: str | Path) -> int:
    """Number of points of a sweep, from the size of its file."""
    return Path(path).stat().st_size // (4 * _CHANNELS)


def read_labels(path: str | Path, num_points: int) -> NDArray[np.int64]:
    """[P] raw category indices of a `_lidarseg.bin`.

    Raises:
        ValueError: another number of labels than points.
    """
    labels = np.fromfile(path, dtype=np.uint8)
    if len(labels) != num_points:
        raise ValueError(
            f"{path}: {len(labels)} labels, but the sweep has {num_points} points. Do the two "
            "files come from the same release?"
        )
    return labels.astype(np.int64)


SUBMISSION = SubmissionFormat(
    lambda token: f"lidarseg/test/{token}_lidarseg.bin",
    *little_endian("u1"),
    "*_lidarseg.bin",
    {"test/submission.json": json.dumps({"meta": _META}, indent=2).encode()},
)
"""Classes from 1 as uint8, and what the method used; edit `_META` only if it used more."""
