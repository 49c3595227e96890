"""nuScenes-lidarseg: LiDAR keyframes, from the released tables or from processed folders."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np

from pc3d.data.datasets.base import SPLITS, missing_data
from pc3d.data.datasets.layout import Arrays, ProcessedLayout
from pc3d.data.datasets.reader import LayoutReader
from pc3d.data.spec import DatasetSpec
from pc3d.data.specs import NUSCENES16
from pc3d.data.specs.nuscenes16 import CLASS_OF_CATEGORY
from pc3d.io import nuscenes as files

VERSIONS = ("v1.0-trainval", "v1.0-mini")
# fmt: off
_VAL_RANGES = (
    (3, 3), (12, 18), (35, 36), (38, 39), (92, 110), (221, 221), (268, 278), (329, 332),
    (344, 346), (519, 524), (552, 565), (625, 627), (629, 630), (632, 638), (770, 771),
    (775, 775), (777, 778), (780, 784), (794, 800), (802, 802), (904, 917), (919, 931),
    (962, 963), (966, 969), (971, 972), (1059, 1073),
)
# fmt: on
VAL_DRIVES = frozenset(
    f"scene-{number:04d}" for first, last in _VAL_RANGES for number in range(first, last + 1)
)
"""The official 150 drives of validation; all others of v1.0-trainval are for training."""
MINI_VAL_DRIVES = frozenset(("scene-0103", "scene-0916"))

_DOWNLOAD = (
    "https://www.nuscenes.org/nuscenes#download (account needed): metadata and LiDAR blobs of the "
    "full data set v1.0 or of mini, and nuScenes-lidarseg, unpacked into one folder"
)
_EXPECTED = """\
  v1.0-trainval/{scene,sample,sample_data,category,lidarseg}.json   (or v1.0-mini; v1.0-test)
  samples/LIDAR_TOP/*.pcd.bin
  lidarseg/v1.0-trainval/<token>_lidarseg.bin
or processed:
  {train,val,test}/<token>/{coord,intensity,segment}.npy"""


class NuScenes(LayoutReader):
    """Reader of nuScenes-lidarseg. Scenes are keyframes, named by their LiDAR `sample_data` token.

    Two layouts are recognized; where both are present, the processed one is read.

    * processed: `{train,val,test}/<token>/{coord,intensity,segment}.npy`, which
      `python -m data_prep.nuscenes` writes;
    * released: the tables, `samples/` and `lidarseg/`. Labels are told by the names in
      `category.json`, not by fixed numbers.

    Intensity is divided by 255: 0..1, as in SemanticKITTI.

    Args:
        root: the folder of the data set.
        version: `"v1.0-trainval"`, whose test split is in `v1.0-test`, or `"v1.0-mini"`, which has
            no test split.

    Raises:
        ValueError: another version.
    """

    title, download, expected = "nuScenes-lidarseg", _DOWNLOAD, _EXPECTED
    official = MappingProxyType({"train": 28_130, "val": 6019, "test": 6008})
    submission = files.SUBMISSION
    conventions = MappingProxyType({"divide_by": {"intensity": 255.0}})

    def __init__(self, root: str | Path, version: str = "v1.0-trainval") -> None:
        if version not in VERSIONS:
            raise ValueError(f"nuScenes: version must be one of {VERSIONS}; got {version!r}")
        root = Path(root)
        groups, settings = {split: (split,) for split in SPLITS}, {"version": version}
        layouts = ProcessedLayout(root, groups), ReleasedNuScenes(root, version)
        super().__init__(root, NUSCENES16, layouts, settings=settings)


@dataclass(frozen=True)
class ReleasedNuScenes:
    """The files as they are downloaded.

    Attributes:
        root: holds the tables, `samples/` and `lidarseg/`.
        version: name of the folder of tables.
    """

    root: Path
    version: str

    def is_there(self) -> bool:
        return any((self.root / folder).is_dir() for folder in (self.version, "v1.0-test"))

    def scenes(self, split: str) -> list[str]:
        scenes = list(self._sweeps[split])
        if not scenes:
            found = f"the tables have no keyframes of the {split} split"
            raise missing_data("nuScenes-lidarseg", self.root, found, _DOWNLOAD, _EXPECTED)
        return scenes

    @cached_property
    def _sweeps(self) -> dict[str, dict[str, files.Sweep]]:
        """The keyframes of every split, by token."""
        found: dict[str, dict[str, files.Sweep]] = {split: {} for split in SPLITS}
        val = MINI_VAL_DRIVES if self.version == "v1.0-mini" else VAL_DRIVES
        if (self.root / self.version).is_dir():
            for sweep in files.read_sweeps(self.root / self.version):
                found["val" if sweep.scene in val else "train"][sweep.token] = sweep
        if self.version != "v1.0-mini" and (self.root / "v1.0-test").is_dir():
            sweeps = files.read_sweeps(self.root / "v1.0-test")
            found["test"] = {sweep.token: sweep for sweep in sweeps}
        return found

    @cached_property
    def _spec(self) -> DatasetSpec:
        """The label space with the ids of this release, by the names in `category.json`."""
        names = files.read_categories(self.root / self.version)
        unknown = sorted(set(names.values()) - CLASS_OF_CATEGORY.keys())
        if unknown:
            raise ValueError(
                f"{self.root / self.version / 'category.json'}: categories {unknown[:8]} are not "
                "those of nuScenes-lidarseg"
            )
        raw_to_class = {index: CLASS_OF_CATEGORY[name] for index, name in names.items()}
        return replace(NUSCENES16, raw_to_class=raw_to_class)

    def _sweep(self, scene: str) -> files.Sweep:
        for sweeps in self._sweeps.values():
            if scene in sweeps:
                return sweeps[scene]
        raise FileNotFoundError(f"{self.root}: the tables have no LiDAR keyframe {scene!r}")

    def files(self, scene: str) -> list[Path]:
        """The points and their labels, which need not exist."""
        return [self.root / self._sweep(scene).points, self.label_path(scene)]

    def shared_files(self, scene: str) -> list[Path]:
        """The table that names the ids of the labels."""
        return [self.root / self.version / "category.json"]

    def label_path(self, scene: str) -> Path:
        labels = self._sweep(scene).labels
        return self.root / (labels or f"lidarseg/{self.version}/{scene}_lidarseg.bin")

    def num_points(self, scene: str) -> int:
        return files.num_scan_points(self.files(scene)[0])

    def arrays(self, scene: str) -> Arrays:
        path, label_path = self.files(scene)
        scan = files.read_scan(path)
        found: Arrays = {"coord": scan[:, :3], "intensity": scan[:, 3] / np.float32(255)}
        if label_path.exists():
            raw = files.read_labels(label_path, len(scan))
            found["segment"] = self._spec.to_class(raw, str(label_path))
        return found
