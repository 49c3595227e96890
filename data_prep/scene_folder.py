"""The folder of a prepared scene: arrays, and a record of what they are and what they come from."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.remarks import kept_remarks
from data_prep.tiles import TiledFiles
from pc3d.data.datasets.layout import RECORD, Arrays, Layout, unlabelled_sample
from pc3d.utils.files import file_hash, write_json

_PARTIAL = ".partial"


def remove_stale(parent: Path) -> None:
    """Remove what a run that was killed left beside the folders of scenes."""
    for stale in parent.glob(f".*{_PARTIAL}"):
        if not _is_alive(stale):
            shutil.rmtree(stale)


def _is_alive(partial: Path) -> bool:
    """Whether the process that writes a partial scene still runs, on this machine."""
    try:
        os.kill(int(partial.name.split(".")[-2]), 0)
    except (OSError, ValueError):
        return False
    return True


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a prepared scene; None if there is none, or no readable one."""
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_bytes())
        sizes = {name: facts["bytes"] for name, facts in record["arrays"].items()}
        whole = all((folder / f"{n}.npy").stat().st_size == size for n, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # it is made again
    return record if whole else None


def write_scene(
    layout: Layout, folder: Path, scene: str, wanted: dict[str, Any]
) -> dict[str, Any] | str:
    """Write the folder of a scene, whole or not at all.

    Args:
        layout: of the source.
        folder: of the prepared scene.
        scene: its name.
        wanted: what the record says besides, such as sources and settings.

    Returns:
        The record, or why the source cannot be read.

    Raises:
        OSError: the folder cannot be written.
    """
    record = {**wanted, "scene": scene, "num_points": 0, "parts": [], "arrays": {}, "labels": {}}
    partial = folder.with_name(f".{folder.name}.{os.getpid()}{_PARTIAL}")
    partial.mkdir(parents=True)
    try:
        with kept_remarks() as record["remarks"]:
            for part, arrays in _parts(layout, scene, partial):
                record["parts"] += [part] * bool(part)
                record["num_points"] += len(arrays["coord"])
                for name, array in arrays.items():
                    path = f"{part}/{name}" if part else name
                    record["arrays"][path] = _write(partial, path, array)
                _add_histograms(record["labels"], arrays)
        write_json(partial / RECORD, record)
        partial.rename(folder)
    except _SceneError as error:
        return str(error)
    except OSError as error:
        # Writes name no file, and NumPy's no reason.
        reason = error.strerror or f"{error}: is the disk full?"
        raise OSError(error.errno or errno.ENOSPC, reason, str(folder)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return record


class _SceneError(Exception):
    """Why a scene cannot be prepared."""


def _parts(layout: Layout, scene: str, scratch: Path) -> Iterator[tuple[str, Arrays]]:
    """The tiles of a scene by name, or all of it by no name; refuses bad values."""
    try:
        parts: Iterable[tuple[str, Arrays]]
        if isinstance(layout, TiledFiles):
            parts = layout.parts(scene, scratch)
        else:
            parts = [("", layout.arrays(scene))]
        for part, arrays in parts:
            unlabelled_sample(scene, arrays, layout.files(scene))
            yield part, arrays
    except (ValueError, OSError) as error:
        raise _SceneError(str(error)) from error


def _write(folder: Path, name: str, array: NDArray[Any]) -> dict[str, Any]:
    path = folder / f"{name}.npy"
    path.parent.mkdir(exist_ok=True)
    np.save(path, _compact(path.stem, array))
    stored = np.load(path, mmap_mode="r")
    return {
        "dtype": str(stored.dtype),
        "shape": list(stored.shape),
        "bytes": path.stat().st_size,
        "sha256": file_hash(path, 64),
    }


def _compact(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """In the smallest type that holds it: labels in two bytes, or four for many instances."""
    if name.startswith("segment") or name == "instance":
        return array.astype(np.int16 if array.max(initial=0) < 2**15 else np.int32)
    return np.ascontiguousarray(array)


def _add_histograms(found: dict[str, dict[str, int]], arrays: Arrays) -> None:
    """Add the points of every class, for each array of labels."""
    for name, array in arrays.items():
        if name.startswith("segment"):
            counts = found.setdefault(name, {})
            for value, number in zip(*np.unique(array, return_counts=True), strict=True):
                counts[str(value)] = counts.get(str(value), 0) + int(number)
