"""A bank of instances: the points of single objects, cut out of training scenes.

A folder, written by `python -m data_prep.instances`:

    bank.json      label space, class names, numbers of instances
    segment.npy    [I] the class of every instance, ascending
    offsets.npy    [I + 1] instance i holds the rows offsets[i]:offsets[i + 1] of every field
    xyz.npy        [P, 3] metres, relative to the sensor; and intensity.npy, color.npy, normal.npy,
                   returns.npy where the scenes have them

Fields are memory-mapped: processes on one machine share them, and only what is drawn is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.data.sample import PointSample
from pc3d.data.spec import DatasetSpec
from pc3d.data.transforms.base import require_field

_META = "bank.json"
_FIELDS = ("xyz", "color", "normal", "intensity", "returns")


class InstanceBank:
    """Reads a bank; opens it at the first use, and again in every process that it is sent to.

    Args:
        folder: where it was written.

    Raises:
        FileNotFoundError: on use, if there is no bank; the message names the command.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __getstate__(self) -> dict[str, Path]:
        return {"folder": self.folder}

    @cached_property
    def _meta(self) -> dict:
        path = self.folder / _META
        if not path.is_file():
            raise FileNotFoundError(
                f"there is no bank of instances at {self.folder}. Make it, with the dataset "
                f"arguments of the training: python -m data_prep.instances out={self.folder} "
                "dataset=..."
            )
        meta: dict = json.loads(path.read_text(encoding="utf-8"))
        return meta

    @cached_property
    def _fields(self) -> dict[str, NDArray]:
        return {name: np.load(self._path(name), mmap_mode="r") for name in self._meta["fields"]}

    @cached_property
    def _index(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return np.load(self._path("segment")), np.load(self._path("offsets"))

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    @property
    def label_space(self) -> str:
        """What marks that of its classes, as `label_space` finds it."""
        return str(self._meta["label_space"])

    @cached_property
    def classes(self) -> list[int]:
        """The classes that have instances, ascending."""
        return np.unique(self._index[0]).tolist()

    def draw(self, segment: int, rng: np.random.Generator) -> dict[str, NDArray]:
        """The fields of one instance of a class, each with the same probability."""
        classes, offsets = self._index
        first, end = np.searchsorted(classes, [segment, segment + 1])
        chosen = rng.integers(first, end)
        rows = slice(offsets[chosen], offsets[chosen + 1])
        return {name: np.array(values[rows]) for name, values in self._fields.items()}


def cut_instances(
    sample: PointSample, classes: Sequence[int], min_points: int = 1
) -> list[PointSample]:
    """The instances of a scene, each as a sample of its own.

    Args:
        sample: a scene with `segment` and `instance`.
        classes: those whose instances are wanted.
        min_points: smaller instances are left out.

    Raises:
        ValueError: the scene has no labels or no instances.
    """
    segment = require_field(sample, "segment", "a bank of instances")
    instance = require_field(sample, "instance", "a bank of instances")
    rows = np.flatnonzero(np.isin(segment, classes) & (instance >= 0))
    # The same id may stand for objects of two classes.
    _, objects = np.unique(np.stack([segment[rows], instance[rows]]), axis=1, return_inverse=True)
    order = np.argsort(objects, kind="stable")
    pieces = np.split(rows[order], np.flatnonzero(np.diff(objects[order])) + 1)
    return [sample.select(piece) for piece in pieces if len(piece) >= max(1, min_points)]


def label_space(spec: DatasetSpec) -> str:
    """A mark of classes and of the ids that become them, whatever the space is called."""
    key = json.dumps([spec.class_names, sorted(spec.raw_to_class.items())])
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def write_bank(folder: str | Path, instances: Sequence[PointSample], spec: DatasetSpec) -> None:
    """Write a bank, whole or not at all.

    Args:
        folder: must not exist.
        instances: objects of one class each, as `cut_instances` makes them.
        spec: their label space.

    Raises:
        FileExistsError: the folder exists.
        ValueError: no instances.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} exists; remove it to make the bank again")
    if not instances:
        raise ValueError(f"no instances for the bank {folder}")
    segments = [int(require_field(i, "segment", "a bank of instances")[0]) for i in instances]
    ordered = [instances[i] for i in np.argsort(segments, kind="stable")]
    fields = [name for name in _FIELDS if getattr(ordered[0], name) is not None]
    counts = np.bincount(segments, minlength=spec.num_classes).tolist()
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    partial.mkdir(parents=True)
    try:
        for name in fields:
            arrays = [require_field(i, name, "a bank of instances") for i in ordered]
            np.save(partial / f"{name}.npy", np.concatenate(arrays))
        np.save(partial / "segment.npy", np.sort(np.array(segments, dtype=np.int64)))
        np.save(partial / "offsets.npy", np.cumsum([0, *map(len, ordered)], dtype=np.int64))
        meta = {
            "label_space": label_space(spec),
            "fields": fields,
            "num_instances": dict(zip(spec.class_names, counts, strict=True)),
        }
        (partial / _META).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
