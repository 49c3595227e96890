"""SemanticKITTI, single scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from pc3d.data.datasets.base import check_split, missing_data
from pc3d.data.datasets.layout import Arrays, Layout, ProcessedLayout
from pc3d.data.datasets.reader import LayoutReader
from pc3d.data.spec import DatasetSpec
from pc3d.data.specs import SEMANTICKITTI19, SEMANTICKITTI19_SPVNAS
from pc3d.io import semantickitti as files

OFFICIAL_SEQUENCES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "train": tuple(f"{number:02d}" for number in (*range(8), 9, 10)),
        "val": ("08",),
        "test": tuple(f"{number:02d}" for number in range(11, 22)),
    }
)
LABEL_MAPS: Mapping[str, DatasetSpec] = MappingProxyType(
    {"official": SEMANTICKITTI19, "spvnas": SEMANTICKITTI19_SPVNAS}
)

_DOWNLOAD = (
    "http://semantic-kitti.org/dataset.html, both the KITTI Odometry velodyne archive "
    "(data_odometry_velodyne.zip) and the SemanticKITTI labels (data_odometry_labels.zip)"
)
_EXPECTED = """\
  sequences/00/velodyne/000000.bin
  sequences/00/labels/000000.label    (sequences 00 to 10)
or processed:
  sequences/00/000000/{coord,intensity,segment,instance}.npy"""


class SemanticKITTI(LayoutReader):
    """Reader of SemanticKITTI. Scenes are named `<sequence>/<frame>`, e.g. `"08/000123"`.

    Two layouts are recognized: the released one, and that of `python -m data_prep.semantickitti`.
    A sequence is a number (`"08"`: the folder `sequences/08`) or, in the released layout, the path
    of another folder below `root` that holds `velodyne/` and `labels/` (`"extra"`: frames are then
    `"extra/000964"`).

    Args:
        root: the folder that holds `sequences/`.
        sequences: the sequences of some splits; the others keep the official ones (train 00-07, 09
            and 10, val 08, test 11-21). Unquoted YAML numbers are taken as they are meant.
        frames: the frames of some splits, instead of all frames of their sequences.
        label_map: `"official"`, or `"spvnas"`, which leaves out buses, trains and lane markings.

    Raises:
        ValueError: an unknown split or map, or a split that both arguments name.
    """

    title, download, expected = "SemanticKITTI", _DOWNLOAD, _EXPECTED
    official = MappingProxyType({"train": 19_130, "val": 4071, "test": 20_351})
    submission = files.SUBMISSION

    def __init__(
        self,
        root: str | Path,
        sequences: Mapping[str, Sequence[str | int]] | None = None,
        frames: Mapping[str, Sequence[str]] | None = None,
        label_map: str = "official",
    ) -> None:
        if label_map not in LABEL_MAPS:
            raise ValueError(
                f"SemanticKITTI: label_map must be one of {list(LABEL_MAPS)}; got {label_map!r}"
            )
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
        root, spec = Path(root), LABEL_MAPS[label_map]
        chosen: dict[str, Sequence[str]] = {**OFFICIAL_SEQUENCES, **given}
        listed = {s: [f.rpartition("/")[0] for f in names] for s, names in self._frames.items()}
        groups = {
            split: [f"sequences/{sequence}" for sequence in dict.fromkeys(names)]
            for split, names in {**chosen, **listed}.items()
        }
        settings = {"label_map": label_map}
        processed = ProcessedLayout(root, groups, names_hold_group=True)
        released = ReleasedSemanticKITTI(root, chosen, spec)
        super().__init__(root, spec, (processed, released), settings=settings)

    def _scenes(self, layout: Layout, split: str) -> list[str]:
        if split not in self._frames:
            return layout.scenes(split)
        scenes = self._frames[split]
        _require(self.root, [layout.files(scene)[0] for scene in scenes], split)
        return list(scenes)


@dataclass(frozen=True)
class ReleasedSemanticKITTI:
    """The files as they are downloaded.

    Attributes:
        root: holds `sequences/`.
        sequences: of every split.
        spec: whose map of labels holds.
    """

    root: Path
    sequences: Mapping[str, Sequence[str]]
    spec: DatasetSpec

    def is_there(self) -> bool:
        return True  # `scenes` says what is missing

    def scenes(self, split: str) -> list[str]:
        folders = {
            s: files.sequence_folder(self.root, s) / "velodyne" for s in self.sequences[split]
        }
        _require(self.root, list(folders.values()), split)
        return [
            f"{sequence}/{path.stem}"
            for sequence, folder in folders.items()
            for path in sorted(folder.glob("[!.]*.bin"))
        ]

    def files(self, scene: str) -> list[Path]:
        return [files.scan_path(self.root, scene), self.label_path(scene)]

    def shared_files(self, scene: str) -> list[Path]:
        return []

    def label_path(self, scene: str) -> Path:
        return files.label_path(self.root, scene)

    def num_points(self, scene: str) -> int:
        return files.num_scan_points(files.scan_path(self.root, scene))

    def arrays(self, scene: str) -> Arrays:
        path, label_path = self.files(scene)
        scan = files.read_scan(path)
        found: Arrays = {"coord": scan[:, :3], "intensity": scan[:, 3]}
        if label_path.exists():
            labels = files.read_labels(label_path, len(scan))
            found["segment"] = self.spec.to_class(labels.semantic, str(label_path))
            found["instance"] = np.where(labels.instance > 0, labels.instance, -1)
        return found


def _require(root: Path, paths: Sequence[Path], split: str) -> None:
    missing = [path for path in paths if not path.exists()]
    if missing:
        shown = ", ".join(str(path.relative_to(root)) for path in missing[:12])
        found = (
            f"of the {split} split, {len(missing)} of {len(paths)} are missing ({shown}). A "
            f"part of the data set is named by dataset.reader.sequences.{split} or "
            f"dataset.reader.frames.{split}"
        )
        raise missing_data("SemanticKITTI", root, found, _DOWNLOAD, _EXPECTED)


def _name(sequence: str | int) -> str:
    return f"{sequence:02d}" if isinstance(sequence, int) else sequence
