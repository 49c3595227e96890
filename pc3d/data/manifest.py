"""How many points and voxels every scene has, what batches are packed by, and of which classes."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Set
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pc3d.data.datasets.base import SceneReader
from pc3d.data.sample import bounds
from pc3d.data.spec import DatasetSpec
from pc3d.data.voxelize import voxel_cells
from pc3d.utils.files import write_bytes
from pc3d.utils.parallel import parallel_map

_log = logging.getLogger(__name__)


class SceneSize(NamedTuple):
    """Size of a scene as its files hold it, before any transform."""

    num_points: int
    num_voxels: int


def scene_sizes(
    reader: SceneReader,
    split: str,
    voxel_size: float,
    cache_dir: str | Path,
    num_workers: int = 0,
) -> list[SceneSize]:
    """Sizes of the scenes of a split, in the order of `reader.scenes(split)`.

    They are kept in a JSON file under `cache_dir`, one per data set, split and voxel size. A scene
    is measured again when the size or modification time of one of its files differs.

    Args:
        reader: the data set.
        split: `"train"`, `"val"` or `"test"`.
        voxel_size: metres.
        cache_dir: is made if need be.
        num_workers: processes that measure; 0 measures in this one.

    Raises:
        FileNotFoundError: the data set is not there.
        ValueError: a scene cannot be read; the message names the file.
    """
    entries = _entries(reader, split, voxel_size, cache_dir, num_workers, {})
    return [SceneSize(entry["num_points"], entry["num_voxels"]) for entry in entries]


def largest_extent(
    reader: SceneReader,
    split: str,
    voxel_size: float,
    cache_dir: str | Path,
    num_workers: int = 0,
) -> float:
    """Metres, the longer horizontal side of the largest scene of a split.

    It is measured and kept together with the sizes of scenes. Arguments and errors are those of
    `scene_sizes`.
    """
    entries = _entries(reader, split, voxel_size, cache_dir, num_workers, {}, {"extent"})
    return max(entry["extent"] for entry in entries)


def class_counts(
    reader: SceneReader,
    split: str,
    voxel_size: float,
    cache_dir: str | Path,
    num_workers: int = 0,
) -> list[int]:
    """Points of each class in a split, as the files hold them; unlabelled points do not count.

    They are measured and kept together with the sizes of scenes, and measured again for another
    label space. Arguments and errors are those of `scene_sizes`.
    """
    wanted = {"label_space": _label_space(reader.spec)}
    entries = _entries(reader, split, voxel_size, cache_dir, num_workers, wanted)
    counts = np.array([entry["class_counts"] for entry in entries], dtype=np.int64)
    return counts.reshape(-1, reader.spec.num_classes).sum(axis=0).tolist()


def _entries(
    reader: SceneReader,
    split: str,
    voxel_size: float,
    cache_dir: str | Path,
    num_workers: int,
    wanted: dict[str, str],
    needed: Set[str] = frozenset(),
) -> list[dict[str, Any]]:
    """What is known of every scene; scenes that changed or lack what is wanted are measured."""
    scenes = reader.scenes(split)
    path = Path(cache_dir) / _file_name(reader, split, voxel_size)
    expected = {s: {"files": file_states(reader.source_files(s)), **wanted} for s in scenes}
    entries = _load(path)
    stale = []
    for scene in scenes:
        known = entries.get(scene, {})
        if not (expected[scene].items() <= known.items() and needed <= known.keys()):
            stale.append(scene)
    measure = partial(_measure, reader, split, voxel_size)
    measured = parallel_map(measure, stale, num_workers, f"measuring {split} scenes", "fork")
    try:
        for scene, entry in zip(stale, measured, strict=True):
            entries[scene] = {**expected[scene], **entry}
    finally:  # what is done stays done, whatever the next scene is like
        if stale:
            write_bytes(path, json.dumps(entries).encode())
    return [entries[scene] for scene in scenes]


def _label_space(spec: DatasetSpec) -> str:
    key = json.dumps([spec.name, spec.class_names, sorted(spec.raw_to_class.items())])
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _file_name(reader: SceneReader, split: str, voxel_size: float) -> str:
    name = type(reader).__name__
    key = json.dumps([type(reader).__module__, name, str(reader.root.resolve()), voxel_size])
    key += json.dumps([dict(reader.settings), _label_space(reader.spec)], sort_keys=True)
    return f"{name}-{split}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def file_states(paths: Iterable[Path]) -> list[list[Any]]:
    """Name, bytes and modification time of the files that exist."""
    stats = [(path.name, path.stat()) for path in paths if path.exists()]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]


def _load(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        entries: dict[str, Any] = json.loads(path.read_bytes())
    except json.JSONDecodeError:
        _log.warning("%s is damaged; the scenes are measured again", path)
        return {}
    return entries


def _measure(reader: SceneReader, split: str, voxel_size: float, scene: str) -> dict[str, Any]:
    # NumPy only: the pool may be forked, and torch's threads do not survive that.
    sample = reader.read(scene, split)
    cells = voxel_cells(sample.xyz, voxel_size)
    cells -= bounds(cells)[0]
    _, num_y, num_z = bounds(cells)[1] + 1
    keys = (cells[:, 0] * num_y + cells[:, 1]) * num_z + cells[:, 2]
    segment = np.empty(0, np.int64) if sample.segment is None else sample.segment
    counts = np.bincount(segment[segment >= 0], minlength=reader.spec.num_classes)
    low, high = bounds(sample.xyz[:, :2])
    return {
        "num_points": len(sample),
        "extent": float((high - low).max()),
        "num_voxels": len(np.unique(keys)),
        "label_space": _label_space(reader.spec),
        "class_counts": counts.tolist(),
    }
