"""ScanNet v2, 20 classes, from the released files or from the common processed folders."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pc3d.data.datasets.base import (
    SPLITS,
    check_finite,
    check_split,
    missing_data,
    raw_predictions,
)
from pc3d.data.sample import PointSample, read_points
from pc3d.data.spec import IGNORE_INDEX, DatasetSpec
from pc3d.data.specs import SCANNET20
from pc3d.io.ply import read_vertices
from pc3d.io.submission import validate_submission
from pc3d.utils.files import write_bytes

_SCENE_NAME = re.compile(r"scene(\d{4})_\d{2}")
_FIRST_TEST_SCENE = 707
# fmt: off
_VAL_SCENES = frozenset((
    11, 15, 19, 25, 30, 46, 50, 63, 64, 77, 81, 84, 86, 88, 95, 100, 131, 139, 144, 146, 149,
    153, 164, 169, 187, 193, 196, 203, 207, 208, 217, 221, 222, 231, 246, 249, 251, 256, 257,
    277, 278, 300, 304, 307, 314, 316, 328, 329, 334, 338, 342, 343, 351, 353, 354, 355, 356,
    357, 377, 378, 382, 389, 406, 412, 414, 423, 426, 427, 430, 432, 435, 441, 458, 461, 462,
    474, 488, 490, 494, 496, 500, 518, 527, 535, 549, 550, 552, 553, 558, 559, 565, 568, 574,
    575, 578, 580, 583, 591, 593, 595, 598, 599, 606, 607, 608, 609, 616, 618, 621, 629, 633,
    643, 644, 645, 647, 648, 651, 652, 653, 655, 658, 660, 663, 664, 665, 670, 671, 678, 684,
    685, 686, 689, 690, 693, 695, 696, 697, 699, 700, 701, 702, 704,
))
# fmt: on
"""Numbers of the official validation scenes; all scans of a scene are in the same split."""

_SPLIT_LIST_FOLDERS = ("", "Tasks/Benchmark", "splits")
_DOWNLOAD = (
    "fill in the terms-of-use form at http://www.scan-net.org; the script that you are sent "
    "fetches <scene>_vh_clean_2.ply and <scene>_vh_clean_2.labels.ply of release v2"
)
_LAYOUT = """\
  scans/scene0000_00/scene0000_00_vh_clean_2.ply and ..._vh_clean_2.labels.ply
  scans_test/scene0707_00/scene0707_00_vh_clean_2.ply
or processed:
  {train,val,test}/scene0000_00/{coord,color,normal,segment20}.npy"""


class ScanNet:
    """Reader of ScanNet v2. Scenes are named `"scene0000_00"`.

    Two layouts are recognized; where both are present, the processed one is read.

    * processed: `{train,val,test}/<scene>/coord.npy`, `color.npy`, and where present `normal.npy`,
      `segment20.npy` or `segment.npy` (classes, -1 unlabelled) and `instance.npy`;
    * released: `scans/<scene>/` and `scans_test/<scene>/` with `<scene>_vh_clean_2.ply` and
      `.labels.ply` (NYU40 ids). Splits are read from `scannetv2_{train,val,test}.txt` in `root`,
      `root/Tasks/Benchmark` or `root/splits`; without these files the scenes on disk are split by
      their official numbers.

    Args:
        root: the folder of the data set.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.spec: DatasetSpec = SCANNET20

    @property
    def _layout(self) -> _Processed | _Released:
        # Looked at anew each time: the data may be made after this object.
        for layout in (_Processed(self.root), _Released(self.root)):
            if any((self.root / folder).is_dir() for folder in layout.folders):
                return layout
        found = "there is neither scans/ nor scans_test/ nor train/, val/ or test/"
        raise missing_data("ScanNet", self.root, found, _DOWNLOAD, _LAYOUT)

    def scenes(self, split: str) -> list[str]:
        check_split(split)
        return self._layout.scenes(split)

    def read(self, scene: str, split: str) -> PointSample:
        check_split(split)
        return self._layout.read(scene, labels_required=split != "test")

    def source_files(self, scene: str) -> list[Path]:
        """The files of a scene; those that the layout leaves open need not exist."""
        return self._layout.files(scene)

    def write_prediction(self, folder: Path, scene: str, classes: NDArray[np.int64]) -> None:
        raw = raw_predictions(self.spec, scene, classes)
        lines = "".join(f"{i}\n" for i in raw.tolist())
        write_bytes(_prediction_path(folder, scene), lines.encode("ascii"))

    def validate(self, folder: Path, split: str) -> int:
        layout = self._layout
        legal = {str(i) for i in self.spec.raw_ids}

        def problems_of(path: Path, scene: str) -> list[str]:
            lines = path.read_text(encoding="ascii", errors="replace").splitlines()
            num_points = layout.num_points(scene)
            if len(lines) != num_points:
                return [f"{len(lines)} lines, but the scene has {num_points} points"]
            illegal = sorted(set(lines) - legal)
            return [f"ids {illegal[:8]} are not legal in a submission"] if illegal else []

        paths = {_prediction_path(folder, scene): scene for scene in self.scenes(split)}
        return validate_submission(folder, "*.txt", paths, problems_of)


@dataclass(frozen=True)
class _Released:
    """The files as they are downloaded."""

    root: Path
    folders: ClassVar = ("scans", "scans_test")

    def scenes(self, split: str) -> list[str]:
        lists = [self.root / f / f"scannetv2_{split}.txt" for f in _SPLIT_LIST_FOLDERS]
        path = next((p for p in lists if p.is_file()), None)
        return self._official(split) if path is None else self._listed(path)

    def _listed(self, path: Path) -> list[str]:
        scenes = path.read_text(encoding="utf-8").split()
        missing = [scene for scene in scenes if not _scene_folder(self, scene).is_dir()]
        if missing:
            found = (
                f"{len(missing)} of the {len(scenes)} scenes in {path} are not there "
                f"({', '.join(missing[:5])}). For a part of the data set, shorten that list"
            )
            raise missing_data("ScanNet", self.root, found, _DOWNLOAD, _LAYOUT)
        return scenes

    def _official(self, split: str) -> list[str]:
        """The scenes on disk that belong to the split by their number."""
        names = sorted({name for kind in self.folders for name in _subfolders(self.root / kind)})
        matches = {name: _SCENE_NAME.fullmatch(name) for name in names}
        strangers = [name for name, match in matches.items() if match is None]
        if strangers:
            raise ValueError(
                f"{self.root}: folders {strangers[:5]} are not named like ScanNet scenes "
                "(scene0000_00), so their split is unknown. Write the lists "
                f"scannetv2_{{train,val,test}}.txt into {self.root}, or move the folders away."
            )
        return [n for n, match in matches.items() if match and _official_split(match) == split]

    def files(self, scene: str) -> list[Path]:
        mesh = _scene_folder(self, scene) / f"{scene}_vh_clean_2"
        return [mesh.with_name(f"{mesh.name}{suffix}") for suffix in (".ply", ".labels.ply")]

    def num_points(self, scene: str) -> int:
        return len(read_vertices(self.files(scene)[0])["x"])

    def read(self, scene: str, labels_required: bool) -> PointSample:
        path, label_path = self.files(scene)
        mesh = read_vertices(path)
        channels = ("red", "green", "blue")
        if not all(name in mesh for name in channels):
            raise ValueError(f"{path}: the vertices have no colour; got {list(mesh)}")
        labelled = _has_labels(label_path, labels_required)
        return read_points(
            scene,
            str(path),
            np.stack([mesh[axis] for axis in "xyz"], axis=1),
            color=np.stack([mesh[name] for name in channels], axis=1).astype(np.float32),
            segment=_ply_labels(label_path, len(mesh["x"])) if labelled else None,
        )


@dataclass(frozen=True)
class _Processed:
    """A folder of arrays per scene."""

    root: Path
    folders: ClassVar = SPLITS

    def scenes(self, split: str) -> list[str]:
        return _subfolders(self.root / split)

    def files(self, scene: str) -> list[Path]:
        folder = _scene_folder(self, scene)
        segment = "segment20" if (folder / "segment20.npy").exists() else "segment"
        names = ("coord", "color", "normal", segment, "instance")
        return [folder / f"{name}.npy" for name in names]

    def num_points(self, scene: str) -> int:
        return len(np.load(self.files(scene)[0], mmap_mode="r"))

    def read(self, scene: str, labels_required: bool) -> PointSample:
        coord, color, normal, segment, instance = self.files(scene)
        arrays = {
            "color": np.load(color).astype(np.float32),
            "normal": np.load(normal).astype(np.float32) if normal.exists() else None,
            "segment": _npy_labels(segment) if _has_labels(segment, labels_required) else None,
            "instance": np.load(instance).astype(np.int64) if instance.exists() else None,
        }
        if arrays["normal"] is not None:
            check_finite(normal, "normal", arrays["normal"])
        return read_points(scene, str(coord), np.load(coord), **arrays)


def _ply_labels(path: Path, num_points: int) -> NDArray[np.int64]:
    vertices = read_vertices(path)
    if "label" not in vertices:
        raise ValueError(f"{path}: the vertices have no property label; got {list(vertices)}")
    if len(vertices["label"]) != num_points:
        raise ValueError(
            f"{path}: {len(vertices['label'])} labels, but the scene has {num_points} vertices. "
            "Do the two files come from the same release?"
        )
    return SCANNET20.to_class(vertices["label"], str(path))


def _npy_labels(path: Path) -> NDArray[np.int64]:
    segment = np.load(path).astype(np.int64)
    wrong = (segment < IGNORE_INDEX) | (segment >= SCANNET20.num_classes)
    if wrong.any():
        raise ValueError(
            f"{path}: {int(wrong.sum())} of {len(segment)} labels are not in "
            f"{IGNORE_INDEX}..{SCANNET20.num_classes - 1} (first: {int(segment[wrong][0])}). "
            f"Expected classes of {SCANNET20.name}, not ids of the released files."
        )
    return segment


def _has_labels(path: Path, required: bool) -> bool:
    if required and not path.exists():
        raise FileNotFoundError(
            f"{path}: labels are missing, and only the test split does without. "
            f"Download: {_DOWNLOAD}"
        )
    return path.exists()


def _scene_folder(layout: _Processed | _Released, scene: str) -> Path:
    candidates = [layout.root / kind / scene for kind in layout.folders]
    return next((folder for folder in candidates if folder.is_dir()), candidates[0])


def _official_split(match: re.Match[str]) -> str:
    number = int(match.group(1))
    if number >= _FIRST_TEST_SCENE:
        return "test"
    return "val" if number in _VAL_SCENES else "train"


def _subfolders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*") if path.is_dir())


def _prediction_path(folder: Path, scene: str) -> Path:
    return Path(folder) / f"{scene}.txt"
