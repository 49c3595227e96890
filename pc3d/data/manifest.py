"""How many points and voxels every scene has: what batches are packed by."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track

from pc3d.data.datasets.base import SceneReader
from pc3d.data.voxelize import voxel_cells
from pc3d.utils.files import write_bytes

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
    scenes = reader.scenes(split)
    path = Path(cache_dir) / _file_name(reader, split, voxel_size)
    files = {scene: file_states(reader.source_files(scene)) for scene in scenes}
    entries = _load(path)
    stale = [scene for scene in scenes if entries.get(scene, {}).get("files") != files[scene]]
    if stale:
        sizes = _measure_all(reader, split, voxel_size, stale, num_workers)
        new = {
            scene: {"files": files[scene], **size._asdict()}
            for scene, size in zip(stale, sizes, strict=True)
        }
        entries = {**entries, **new}
        write_bytes(path, json.dumps(entries).encode())
    return [
        SceneSize(entries[scene]["num_points"], entries[scene]["num_voxels"]) for scene in scenes
    ]


def _file_name(reader: SceneReader, split: str, voxel_size: float) -> str:
    name = type(reader).__name__
    key = json.dumps([type(reader).__module__, name, str(reader.root.resolve()), voxel_size])
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


def _measure_all(
    reader: SceneReader, split: str, voxel_size: float, scenes: Sequence[str], num_workers: int
) -> list[SceneSize]:
    measure = partial(_measure, reader, split, voxel_size)
    show = partial(
        track,
        description=f"Measuring {split} scenes",
        total=len(scenes),
        console=Console(stderr=True),
        transient=True,
    )
    if num_workers == 0:
        return list(show(map(measure, scenes)))
    with ProcessPoolExecutor(num_workers) as pool:
        return list(show(pool.map(measure, scenes, chunksize=8)))


def _measure(reader: SceneReader, split: str, voxel_size: float, scene: str) -> SceneSize:
    # NumPy only: the pool may be forked, and torch's threads do not survive that.
    xyz = reader.read(scene, split).xyz
    cells = voxel_cells(xyz, voxel_size)
    cells -= cells.min(axis=0)
    _, num_y, num_z = cells.max(axis=0) + 1
    keys = (cells[:, 0] * num_y + cells[:, 1]) * num_z + cells[:, 2]
    return SceneSize(len(xyz), len(np.unique(keys)))
