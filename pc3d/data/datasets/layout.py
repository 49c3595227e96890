"""How the scenes of a data set lie on disk, and the layout that all data sets share."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pc3d.data.datasets.base import check_finite
from pc3d.data.sample import PointSample, read_points
from pc3d.data.spec import IGNORE_INDEX, DatasetSpec
from pc3d.io.arrays import INTEGERS, NUMBERS, read_array
from pc3d.io.reading import read_json

_log = logging.getLogger(__name__)

Arrays = dict[str, NDArray[Any]]
"""A scene as named arrays: `coord` [P, 3] metres, and where present `color` [P, 3] 0..255, `normal`
[P, 3], `intensity` [P], `returns` [P, 2] number of the return and returns of its pulse,
`segment...` [P] classes or `IGNORE_INDEX`, `instance` [P] or -1."""

PREPARED = "prepared.json"
"""Beside the scenes that `data_prep` has prepared: what with."""
RECORD = "scene.json"
"""In the folder of a scene that `data_prep` has prepared: what it holds."""
_RELEASED = ("velodyne", "labels")
"""Folders of SemanticKITTI that scenes may have been prepared beside."""
COLUMNS: Mapping[str, int | None] = {
    "coord": 3,
    "color": 3,
    "normal": 3,
    "intensity": None,
    "returns": 2,
}
"""Width of the arrays that are not [P] integers."""


class Layout(Protocol):
    """The files of a data set in one of the forms that they exist in."""

    @property
    def root(self) -> Path: ...

    def is_there(self) -> bool:
        """Whether `root` looks like this layout."""
        ...

    def scenes(self, split: str) -> list[str]:
        """Names of the scenes of a split, in a fixed order."""
        ...

    def files(self, scene: str) -> list[Path]:
        """The files that a scene is made of; optional ones need not exist."""
        ...

    def shared_files(self, scene: str) -> list[Path]:
        """Further files that a scene follows from, in common with other scenes."""
        ...

    def label_path(self, scene: str) -> Path:
        """The file that holds the labels of a scene, or should."""
        ...

    def num_points(self, scene: str) -> int:
        """Number of points of a scene, found without reading all of it where that is possible."""
        ...

    def arrays(self, scene: str) -> Arrays:
        """A scene. Labels are absent where there is no file of labels.

        Raises:
            FileNotFoundError, ValueError: missing or damaged files, named in the message.
        """
        ...


@dataclass(frozen=True)
class ProcessedLayout:
    """A folder of `.npy` arrays per scene: `<group>/<scene>/{coord,color,segment,...}.npy`.

    What `data_prep` writes, and what other programs write for ScanNet and S3DIS. Hidden folders do
    not count; `data_prep` renames them when they are whole.

    Attributes:
        root: the folder of the data set.
        groups: from a split to the folders below `root` that its scenes lie in.
        segments: names of label arrays, the first that is there counts.
        names_hold_group: scenes are named `<last folder of the group>/<scene>`, not `<scene>`.
    """

    root: Path
    groups: Mapping[str, Sequence[str]]
    segments: tuple[str, ...] = ("segment",)
    names_hold_group: bool = False

    def is_there(self) -> bool:
        groups = {self.root / group for names in self.groups.values() for group in names}
        return any((f / "coord.npy").exists() for group in groups for f in subfolders(group))

    def scenes(self, split: str) -> list[str]:
        missing = [group for group in self.groups[split] if not (self.root / group).is_dir()]
        if missing:
            raise FileNotFoundError(
                f"{self.root}: of the prepared {split} split, the folders {', '.join(missing)} are "
                "missing. Prepare them too, or name a part of the data set in dataset.reader."
            )
        return [
            f"{_last(group)}/{folder.name}" if self.names_hold_group else folder.name
            for group in self.groups[split]
            for folder in subfolders(self.root / group)
            if _is_scene(folder)
        ]

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Refuse scenes that were prepared with other settings, or not to the end.

        Args:
            settings: what is asked for.

        Raises:
            ValueError: says what to do.
        """
        prepared = read_prepared(self.root)
        if prepared is None:
            return  # other programs write none
        if pending := prepared["pending"]:
            shown = ", ".join(pending[:5]) + ", ..." * (len(pending) > 5)
            raise ValueError(
                f"{self.root}: the preparation did not end, or scenes failed; {len(pending)} are "
                f"missing ({shown}). Run the same command again: only these are left to do. To go "
                f"without them, remove them from `pending` in {PREPARED}."
            )
        found = prepared["settings"]
        differing = [key for key, value in settings.items() if found.get(key, value) != value]
        if differing:
            given = ", ".join(f"{key}={found[key]}" for key in differing)
            asked = ", ".join(f"{key}={settings[key]}" for key in differing)
            raise ValueError(
                f"{self.root} was prepared with {given}, and the reader is asked for {asked}. "
                f"Say dataset.reader.{differing[0]}={found[differing[0]]}, or prepare again."
            )

    def folder(self, scene: str) -> Path:
        """The folder of a scene.

        Raises:
            ValueError: two splits have it.
        """
        groups = dict.fromkeys(group for names in self.groups.values() for group in names)
        if self.names_hold_group:
            prefix, _, name = scene.rpartition("/")
            group = next((group for group in groups if _last(group) == prefix), prefix)
            return self.root / group / name
        candidates = [self.root / group / scene for group in groups]
        found = [folder for folder in candidates if folder.is_dir()]
        if len(found) > 1:
            raise ValueError(f"{found[0]}: the scene is also in {found[1]}; a split has its own")
        return found[0] if found else candidates[0]

    def files(self, scene: str) -> list[Path]:
        folder = self.folder(scene)
        names = (*COLUMNS, self.label_path(scene).stem, "instance")
        return [folder / f"{name}.npy" for name in names]

    def shared_files(self, scene: str) -> list[Path]:
        return []

    def label_path(self, scene: str) -> Path:
        folder = self.folder(scene)
        name = next((s for s in self.segments if (folder / f"{s}.npy").exists()), self.segments[0])
        return folder / f"{name}.npy"

    def num_points(self, scene: str) -> int:
        return len(read_array(self.files(scene)[0], 3))

    def arrays(self, scene: str) -> Arrays:
        coord, *others = self.files(scene)
        found = {"coord": read_array(coord, 3)}
        for path in others:
            if path.exists():
                name = path.stem
                kinds = NUMBERS if name in COLUMNS else INTEGERS
                found[name] = read_array(path, COLUMNS.get(name), kinds)
                if len(found[name]) != len(found["coord"]):
                    raise ValueError(
                        f"{path}: {len(found[name])} rows, but {coord.name} beside it has "
                        f"{len(found['coord'])}. Prepare the scene again."
                    )
        return found


def read_prepared(root: Path) -> dict[str, Any] | None:
    """What `data_prep` says of a folder that it prepared: `dataset`, `settings`, `pending`.

    Returns:
        None for a folder of other programs.

    Raises:
        ValueError: a damaged file.
    """
    path = root / PREPARED
    if not path.exists():
        return None
    prepared = read_json(path)
    kinds = {"dataset": str, "settings": dict, "pending": list}
    if not isinstance(prepared, dict) or not all(
        isinstance(prepared.get(key), kind) for key, kind in kinds.items()
    ):
        raise ValueError(f"{path}: not what data_prep writes there. Prepare again.")
    return prepared


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder by name, without hidden ones; none if it is not there."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.is_dir())


def _last(group: str) -> str:
    return group.rpartition("/")[2]


def _is_scene(folder: Path) -> bool:
    """Whether a folder holds a scene; says so of one that holds nothing that is known."""
    if (folder / "coord.npy").exists():
        return True
    if next(folder.glob("*.npy"), None) is not None:
        raise FileNotFoundError(
            f"{folder / 'coord.npy'}: missing, but other arrays are there. Prepare or copy the "
            "scene again."
        )
    if folder.name not in _RELEASED:
        _log.warning("%s: no scene, since there is no coord.npy; it is left out", folder)
    return False


def scene_sample(
    scene: str, arrays: Arrays, files: Sequence[Path], spec: DatasetSpec, segments: Sequence[str]
) -> PointSample:
    """Make a sample of a scene's arrays, and check what has not been checked.

    Args:
        scene: its name.
        arrays: as a layout returns them.
        files: the files that they come from, named in errors.
        spec: the label space of the first of `segments` that is there.
        segments: names of label arrays.

    Raises:
        ValueError: no points, values that are not finite, or labels outside the label space.
    """
    sample = unlabelled_sample(scene, arrays, files)
    label = next((name for name in segments if name in arrays), None)
    if label is None:
        return sample
    segment = np.array(arrays[label], dtype=np.int64)
    check_classes(_file_of(files, label), segment, spec)
    return sample.with_(segment=segment)


def unlabelled_sample(scene: str, arrays: Arrays, files: Sequence[Path]) -> PointSample:
    """`scene_sample` of all arrays but the labels."""
    fields: dict[str, NDArray[Any]] = {}
    for name in ("color", "normal", "intensity", "returns"):
        if name in arrays:
            fields[name] = np.array(arrays[name], dtype=np.float32)
            check_finite(_file_of(files, name), name, fields[name])
    if "instance" in arrays:
        fields["instance"] = np.array(arrays["instance"], dtype=np.int64)
    return read_points(scene, str(files[0]), arrays["coord"], **fields)


def check_classes(source: Path, segment: NDArray[np.int64], spec: DatasetSpec) -> None:
    """Raise `ValueError` naming `source` if a label is neither a class nor `IGNORE_INDEX`."""
    wrong = (segment < IGNORE_INDEX) | (segment >= spec.num_classes)
    if wrong.any():
        raise ValueError(
            f"{source}: {int(wrong.sum())} of {len(segment)} labels are not in "
            f"{IGNORE_INDEX}..{spec.num_classes - 1} (first: {int(segment[wrong][0])}). "
            f"Expected classes of {spec.name}, not ids of the released files."
        )


def _file_of(files: Sequence[Path], name: str) -> Path:
    return next((path for path in files if path.stem == name), files[0])
