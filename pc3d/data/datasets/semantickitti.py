"""SemanticKITTI, single scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from pc3d.data.datasets.base import (
    check_finite,
    check_split,
    missing_data,
    raw_predictions,
)
from pc3d.data.sample import PointSample, read_points
from pc3d.data.spec import DatasetSpec
from pc3d.data.specs import SEMANTICKITTI19
from pc3d.io import semantickitti as files

OFFICIAL_SEQUENCES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "train": tuple(f"{number:02d}" for number in (*range(8), 9, 10)),
        "val": ("08",),
        "test": tuple(f"{number:02d}" for number in range(11, 22)),
    }
)

_DOWNLOAD = (
    "http://semantic-kitti.org/dataset.html, both the KITTI Odometry velodyne archive "
    "(data_odometry_velodyne.zip) and the SemanticKITTI labels (data_odometry_labels.zip)"
)
_LAYOUT = """\
  sequences/00/velodyne/000000.bin
  sequences/00/labels/000000.label    (sequences 00 to 10)"""


class SemanticKITTI:
    """Reader of SemanticKITTI. Scenes are named `<sequence>/<frame>`, e.g. `"08/000123"`.

    A sequence is a number (`"08"`: the folder `sequences/08`) or the path of another folder below
    `root` that holds `velodyne/` and `labels/` (`"extra"`: frames are then `"extra/000964"`).

    Args:
        root: the folder that holds `sequences/`.
        sequences: the sequences of some splits; the others keep the official ones (train 00-07, 09
            and 10, val 08, test 11-21). Unquoted YAML numbers are taken as they are meant.
        frames: the frames of some splits, instead of all frames of their sequences.

    Raises:
        ValueError: an unknown split, or one that both arguments name.
    """

    def __init__(
        self,
        root: str | Path,
        sequences: Mapping[str, Sequence[str | int]] | None = None,
        frames: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.root = Path(root)
        self.spec: DatasetSpec = SEMANTICKITTI19
        self._frames = {split: list(names) for split, names in (frames or {}).items()}
        given = {split: [_name(s) for s in names] for split, names in (sequences or {}).items()}
        for split in (*self._frames, *given):
            check_split(split)
        twice = sorted(self._frames.keys() & given.keys())
        if twice:
            raise ValueError(
                f"SemanticKITTI: sequences and frames both name the splits {twice}; name the "
                "frames of a split or its sequences, not both"
            )
        self._sequences: dict[str, Sequence[str]] = {**OFFICIAL_SEQUENCES, **given}

    def scenes(self, split: str) -> list[str]:
        check_split(split)
        if split in self._frames:
            scenes = self._frames[split]
            self._require([files.scan_path(self.root, scene) for scene in scenes], split)
            return list(scenes)
        folders = {
            s: files.sequence_folder(self.root, s) / "velodyne" for s in self._sequences[split]
        }
        self._require(list(folders.values()), split)
        return [
            f"{sequence}/{path.stem}"
            for sequence, folder in folders.items()
            for path in sorted(folder.glob("*.bin"))
        ]

    def _require(self, paths: Sequence[Path], split: str) -> None:
        missing = [path for path in paths if not path.exists()]
        if missing:
            shown = ", ".join(str(path.relative_to(self.root)) for path in missing[:12])
            found = (
                f"of the {split} split, {len(missing)} of {len(paths)} are missing ({shown}). A "
                f"part of the data set is named by dataset.reader.sequences.{split} or "
                f"dataset.reader.frames.{split}"
            )
            raise missing_data("SemanticKITTI", self.root, found, _DOWNLOAD, _LAYOUT)

    def read(self, scene: str, split: str) -> PointSample:
        check_split(split)
        path, label_path = self.source_files(scene)
        scan = files.read_scan(path)
        segment = instance = None
        if split != "test" or label_path.exists():
            if not label_path.exists():
                raise FileNotFoundError(
                    f"{label_path}: the labels of scan {scene} of the {split} split are missing. "
                    f"Download: {_DOWNLOAD}"
                )
            labels = files.read_labels(label_path, len(scan))
            segment = self.spec.to_class(labels.semantic, str(label_path))
            instance = np.where(labels.instance > 0, labels.instance, -1)
        check_finite(path, "remission", scan[:, 3])
        return read_points(
            scene, str(path), scan[:, :3], intensity=scan[:, 3], segment=segment, instance=instance
        )

    def source_files(self, scene: str) -> list[Path]:
        """The scan and its labels, which need not exist."""
        return [files.scan_path(self.root, scene), files.label_path(self.root, scene)]

    def write_prediction(self, folder: Path, scene: str, classes: NDArray[np.int64]) -> None:
        path = files.prediction_path(folder, scene)
        files.write_labels(path, raw_predictions(self.spec, scene, classes))

    def validate(self, folder: Path, split: str) -> int:
        expected = {
            scene: files.num_scan_points(files.scan_path(self.root, scene))
            for scene in self.scenes(split)
        }
        return files.validate_predictions(folder, expected, self.spec.raw_ids)


def _name(sequence: str | int) -> str:
    return f"{sequence:02d}" if isinstance(sequence, int) else sequence
