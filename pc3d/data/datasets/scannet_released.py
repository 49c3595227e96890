"""ScanNet v2 as it is downloaded: `scans/` and `scans_test/`, meshes with their annotation."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.data.datasets.base import SPLITS, missing_data
from pc3d.data.datasets.layout import Arrays, subfolders
from pc3d.data.spec import IGNORE_INDEX, DatasetSpec
from pc3d.data.specs import SCANNET20, SCANNET200
from pc3d.io.mesh import read_triangles, vertex_normals
from pc3d.io.ply import count_vertices, read_vertices
from pc3d.io.reading import read_text, reading
from pc3d.io.scannet import (
    RawLabel,
    read_aggregation,
    read_axis_alignment,
    read_label_table,
    read_segments,
)

_log = logging.getLogger(__name__)
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

_FOLDERS = ("scans", "scans_test")
_SPLIT_LIST_FOLDERS = ("", "Tasks/Benchmark", "splits")
_LABEL_TABLE = "scannetv2-labels.combined.tsv"
LABELS = ("ply", "aggregation")
"""Where the labels of the 20 classes come from; the two differ at a few object borders."""
DOWNLOAD = (
    "fill in the terms-of-use form at http://www.scan-net.org; the script that you are sent "
    "fetches <scene>_vh_clean_2.ply and <scene>_vh_clean_2.labels.ply of release v2, and for "
    "ScanNet200 <scene>.aggregation.json, <scene>_vh_clean_2.0.010000.segs.json and "
    "scannetv2-labels.combined.tsv"
)
EXPECTED = """\
  scans/scene0000_00/scene0000_00_vh_clean_2.ply and ..._vh_clean_2.labels.ply
  scans_test/scene0707_00/scene0707_00_vh_clean_2.ply
or processed:
  {train,val,test}/scene0000_00/{coord,color,normal,segment20}.npy"""


@dataclass(frozen=True)
class ReleasedScanNet:
    """The files as they are downloaded.

    Splits are read from `scannetv2_{train,val,test}.txt` in `root`, `root/Tasks/Benchmark` or
    `root/splits`; without any such file the scenes on disk are split by their official numbers.

    Attributes:
        root: holds `scans/` and `scans_test/`.
        labels: `"ply"` for `segment20` from `.labels.ply`; `"aggregation"` for `segment20`,
            `segment200` and `instance` from aggregation, over-segmentation and label table.
        normals: compute `normal` from the faces of the mesh.
        axis_align: turn scenes upright, as `<scene>.txt` says.
    """

    root: Path
    labels: str = "ply"
    normals: bool = False
    axis_align: bool = False

    def __post_init__(self) -> None:
        if self.labels not in LABELS:
            raise ValueError(f"ScanNet: labels must be one of {LABELS}; got {self.labels!r}")

    def is_there(self) -> bool:
        return any((self.root / folder).is_dir() for folder in _FOLDERS)

    def scenes(self, split: str) -> list[str]:
        folders = [self.root / folder for folder in _SPLIT_LIST_FOLDERS]
        folder = next((f for f in folders if any(_list(f, s).exists() for s in SPLITS)), None)
        return self._official(split) if folder is None else self._listed(_list(folder, split))

    def _listed(self, path: Path) -> list[str]:
        if not path.exists():
            raise FileNotFoundError(
                f"{path}: missing, but lists of other splits are beside it, and the official split "
                "need not fit those. Write it, too."
            )
        scenes = read_text(path).split()
        if len(set(scenes)) < len(scenes):
            raise ValueError(f"{path}: {len(scenes) - len(set(scenes))} scenes are listed twice")
        with reading(path, "it names what no folder can be named"):
            missing = [scene for scene in scenes if not self.folder(scene).is_dir()]
        if missing:
            found = (
                f"{len(missing)} of the {len(scenes)} scenes in {path} are not there "
                f"({', '.join(missing[:5])}). For a part of the data set, shorten that list"
            )
            raise missing_data("ScanNet", self.root, found, DOWNLOAD, EXPECTED)
        return scenes

    def _official(self, split: str) -> list[str]:
        """The scenes on disk that belong to the split by their number."""
        names = sorted({p.name for kind in _FOLDERS for p in subfolders(self.root / kind)})
        matches = {name: _SCENE_NAME.fullmatch(name) for name in names}
        strangers = [name for name, match in matches.items() if match is None]
        if strangers:
            raise ValueError(
                f"{self.root}: folders {strangers[:5]} are not named like ScanNet scenes "
                "(scene0000_00), so their split is unknown. Write the lists "
                f"scannetv2_{{train,val,test}}.txt into {self.root}, or move the folders away."
            )
        return [n for n, match in matches.items() if match and _official_split(match) == split]

    def folder(self, scene: str) -> Path:
        """The folder of a scan."""
        candidates = [self.root / kind / scene for kind in _FOLDERS]
        return next((folder for folder in candidates if folder.is_dir()), candidates[0])

    def files(self, scene: str) -> list[Path]:
        """The mesh, the file or files of labels, and the file of facts."""
        folder = self.folder(scene)
        labels = {
            "ply": (f"{scene}_vh_clean_2.labels.ply",),
            # Of two aggregations beside each other, that of <scene>_vh_clean fits another mesh.
            "aggregation": (
                f"{scene}.aggregation.json",
                f"{scene}_vh_clean_2.0.010000.segs.json",
            ),
        }
        names = (f"{scene}_vh_clean_2.ply", *labels[self.labels], f"{scene}.txt")
        return [folder / name for name in names]

    def shared_files(self, scene: str) -> list[Path]:
        return [self.root / _LABEL_TABLE] if self.labels == "aggregation" else []

    def label_path(self, scene: str) -> Path:
        return self.files(scene)[1]

    def num_points(self, scene: str) -> int:
        return count_vertices(self.files(scene)[0])

    def arrays(self, scene: str) -> Arrays:
        path, *labels, facts = self.files(scene)
        mesh = read_vertices(path)
        channels = ("red", "green", "blue")
        if not all(name in mesh for name in channels):
            raise ValueError(f"{path}: the vertices have no colour; got {str(list(mesh))[:400]}")
        found: Arrays = {
            "coord": np.stack([mesh[axis] for axis in "xyz"], axis=1),
            "color": np.stack([mesh[name] for name in channels], axis=1),
        }
        alignment = read_axis_alignment(facts) if self.axis_align else None
        if alignment is not None:
            turned = found["coord"] @ alignment[:3, :3].T + alignment[:3, 3]
            found["coord"] = turned.astype(np.float32)
        if self.normals:
            found["normal"] = vertex_normals(found["coord"], read_triangles(path))
        if self.labels == "ply":
            if labels[0].exists():
                found["segment20"] = _ply_labels(labels[0], len(mesh["x"]))
        elif any(label.exists() for label in labels):
            found |= self._annotation(scene, labels, len(mesh["x"]))
        return found

    def _annotation(self, scene: str, paths: list[Path], num_vertices: int) -> Arrays:
        """`segment20`, `segment200` and `instance` from the objects that people marked."""
        aggregation, segs = paths
        groups = read_aggregation(aggregation, scene)
        names, segment_of = np.unique(read_segments(segs, num_vertices), return_inverse=True)
        # One more row, for segments that belong to no object.
        instance = np.full(len(names), -1, dtype=np.int64)
        for number, group in enumerate(groups):
            instance[np.isin(names, group.segments)] = number
        listed = np.concatenate([group.segments for group in groups] or [names[:0]])
        if len(listed) and np.isin(listed, names).mean() < 0.5:
            raise ValueError(
                f"{aggregation}: most of its segments are not in {segs.name}. It belongs to "
                "another mesh: <scene>.aggregation.json fits <scene>_vh_clean_2."
            )
        table = self.label_table if groups else {}
        unknown = sorted({group.label for group in groups if group.label.strip() not in table})
        if unknown:
            _log.debug("%s: not in the label table, so unlabelled: %s", aggregation, unknown)
        labels = [table.get(group.label.strip(), RawLabel(0, 0)) for group in groups]
        of_group = {
            "segment20": [_class(SCANNET20, label.nyu40) for label in labels],
            "segment200": [_class(SCANNET200, label.id) for label in labels],
            "instance": list(range(len(groups))),
        }
        of_vertex = instance[segment_of]  # -1 picks the last entry below
        return {
            name: np.array([*values, IGNORE_INDEX])[of_vertex] for name, values in of_group.items()
        }

    @cached_property
    def label_table(self) -> dict[str, RawLabel]:
        """The table beside the scans.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: it is damaged, or that of another release.
        """
        path = self.root / _LABEL_TABLE
        if not path.exists():
            raise FileNotFoundError(
                f"{path}: the label table is missing; labels=aggregation and ScanNet200 need it. "
                f"Download: {DOWNLOAD}"
            )
        table = read_label_table(path)
        classes = zip(SCANNET200.class_names, SCANNET200.raw_ids, strict=True)
        wrong = [name for name, raw in classes if name in table and table[name].id != raw]
        if wrong:
            raise ValueError(
                f"{path}: the ids of {wrong[:5]} are not those of ScanNet v2. Is this the table of "
                "another release?"
            )
        return table


def _class(spec: DatasetSpec, raw: int) -> int:
    return spec.raw_to_class.get(raw, IGNORE_INDEX)


def _list(folder: Path, split: str) -> Path:
    return folder / f"scannetv2_{split}.txt"


def _ply_labels(path: Path, num_points: int) -> NDArray[np.int64]:
    vertices = read_vertices(path)
    labels = vertices.get("label")
    if labels is None or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{path}: the vertices have no property label of integers; got "
            f"{str(list(vertices))[:400]}"
        )
    if len(labels) != num_points:
        raise ValueError(
            f"{path}: {len(labels)} labels, but the scene has {num_points} vertices. Do the two "
            "files come from the same release?"
        )
    return SCANNET20.to_class(labels, str(path))


def _official_split(match: re.Match[str]) -> str:
    number = int(match.group(1))
    if number >= _FIRST_TEST_SCENE:
        return "test"
    return "val" if number in _VAL_SCENES else "train"
