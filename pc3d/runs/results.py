"""What `test.py` left in run folders: scores with their protocol, and counts of every scene."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEEDED = ("metric", "label_space", "confusion", "classes", "scenes", "settings", "num_points")
"""What a result must hold to be weighed against another one."""
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
_PROTOCOL = ("views", "fragments")
"""The settings that are the protocol; the others are those of the network."""
_MAX_SHOWN = 5
Counts = NDArray[np.int64]


def read_result(path: Path) -> dict[str, Any]:
    """What test.py wrote.

    Raises:
        ValueError: not a result, or one of an older pc3d.
    """
    try:
        result: Any = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a result of test.py: {error}") from error
    missing = [key for key in NEEDED if key not in result] if isinstance(result, dict) else NEEDED
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}: it was not written by test.py, or by that of an "
            "older pc3d. Run test.py again."
        )
    return result


@dataclass(frozen=True)
class TestResult:
    """A result of test.py.

    Attributes:
        path: its JSON file, `<run>/test/<split>-<checkpoint>-<protocol>.json`.
        content: what it holds.
    """

    __test__ = False  # pytest: this is no test
    path: Path
    content: Mapping[str, Any]

    @property
    def metric(self) -> str:
        """The name of its mIoU, which says split, views and fragments."""
        return str(self.content["metric"])

    @property
    def miou(self) -> float | None:
        value = self.content.get("miou")
        return None if value is None else float(value)

    @property
    def split(self) -> str:
        return str(self.content.get("split") or self.metric.split("/")[0])

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(str(row["name"]) for row in self.content["classes"])

    @cached_property
    def protocol(self) -> str:
        """What must be alike in scores that are averaged or compared, as JSON.

        Name, views, fragments, label space, classes, scenes. Voxel size, features and such belong
        to the network, whoever compares may well want to know what they do.
        """
        settings = {key: self.content["settings"].get(key) for key in _PROTOCOL}
        known = {key: self.content[key] for key in ("metric", "label_space")}
        known["scenes"] = sorted(self.content["scenes"])
        return json.dumps({**known, "classes": self.class_names, **settings}, sort_keys=True)

    def deviations(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of the test that are others than in the configuration of the run, by name."""
        settings = self.content["settings"]
        places = {
            "max_eval_voxels": "task.max_eval_voxels",
            "voxel_size": "dataset.voxel_size",
            "features": "dataset.features",
            "precision": "trainer.precision",
        }
        found = {f"reader.{k}": (f"dataset.reader.{k}", v) for k, v in _reader(settings).items()}
        found |= {n: (place, settings[n]) for n, place in places.items() if n in settings}
        return {n: v for n, (key, v) in found.items() if key in config and config[key] != v}


def _reader(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    reader = settings.get("reader")
    return reader if isinstance(reader, Mapping) else {}


def read_results(folder: Path) -> tuple[list[TestResult], list[str]]:
    """The results of a run, oldest first, and what is wrong with those that cannot be read."""
    results, problems = [], []
    paths = [path for path in (folder / "test").glob("*.json") if not path.name.startswith(".")]
    for path in sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name)):
        try:
            results.append(TestResult(path, read_result(path)))
        except (ValueError, OSError) as error:
            problems.append(str(error))
    return results, problems


def differences(one: TestResult, other: TestResult) -> list[str]:
    """What forbids comparing two results, in words; nothing if they may be compared."""
    a, b = one.content, other.content
    found = []
    if a["label_space"] != b["label_space"] or one.class_names != other.class_names:
        sizes = [
            f"{len(r.class_names)} classes of {r.content['label_space']}" for r in (one, other)
        ]
        found.append(f"other classes: {sizes[0]} and {sizes[1]}")
    if one.split != other.split:
        found.append(f"other splits: {one.split} and {other.split}")
    elif one.metric != other.metric:
        found.append(f"other protocols: {one.metric} and {other.metric}")
    for key in _PROTOCOL:
        x, y = a["settings"].get(key), b["settings"].get(key)
        if x != y and one.metric == other.metric:
            found.append(f"other protocols: {key} {x} and {y}")
    if sorted(a["scenes"]) != sorted(b["scenes"]):
        ours, theirs = set(a["scenes"]), set(b["scenes"])
        lists = [_some(sorted(ours - theirs)), _some(sorted(theirs - ours))]
        found.append(f"other scenes: only the first has {lists[0]}, only the second {lists[1]}")
    return found


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MAX_SHOWN]) + ", ..." * (len(names) > _MAX_SHOWN)
    return shown or "none"


def scene_counts(result: TestResult) -> Counts:
    """The confusion matrix of every scene of a result, from the predictions that its test kept.

    Returns:
        [S, C, C] int64 in the order of the result's scenes; row = true class, column = predicted.

    Raises:
        FileNotFoundError: the predictions were not kept, or are not there any more.
        ValueError: they are damaged, or of another test: their sum is not the result's matrix.
    """
    content, run = result.content, result.path.parent.parent
    digest = str(content.get("checkpoint_hash"))
    protocol = result.path.stem.removeprefix(f"{result.split}-{digest}-")
    folder = run / "predictions" / digest / result.split / protocol / "counts"
    again = f"Test it again: python test.py run={run} split={result.split}"
    matrices = []
    for scene in content["scenes"]:
        path = folder / f"{scene}.npz"
        if not path.is_file():
            raise FileNotFoundError(
                f"{result.path} says nothing of single scenes, and {path}, which its test kept "
                f"unless predictions=false, is not there. {again}"
            )
        try:
            with np.load(path, allow_pickle=False) as record:
                matrices.append(record["matrix"].astype(np.int64))
        except _DAMAGED as error:
            raise ValueError(f"{path} is damaged: {error}. {again}") from error
    total = np.asarray(content["confusion"], dtype=np.int64)
    if any(matrix.shape != total.shape for matrix in matrices):
        raise ValueError(f"{folder} has matrices of other classes than {result.path}. {again}")
    counts = np.stack(matrices) if matrices else np.zeros((0, *total.shape), dtype=np.int64)
    if not np.array_equal(counts.sum(axis=0), total):
        raise ValueError(
            f"the scenes in {folder} do not add up to the confusion matrix of {result.path}: they "
            f"are of different tests. {again}"
        )
    return counts
