"""S3DIS: rooms of six areas, from the released text files or from processed folders."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import pi
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from pc3d.data.datasets.base import missing_data
from pc3d.data.datasets.layout import Arrays, ProcessedLayout, subfolders
from pc3d.data.datasets.reader import LayoutReader
from pc3d.data.sample import bounds
from pc3d.data.spec import IGNORE_INDEX
from pc3d.data.specs import S3DIS13
from pc3d.data.transforms.geometry import rotation_matrix
from pc3d.io.s3dis import count_points, read_alignment_angles, read_points
from pc3d.io.submission import SubmissionFormat, ids_of_lines, lines_of

_log = logging.getLogger(__name__)
AREAS = (1, 2, 3, 4, 5, 6)
STAIRS: Mapping[str, int] = {
    "clutter": S3DIS13.class_names.index("clutter"),
    "ignore": IGNORE_INDEX,
}
"""What the few objects named stairs, which is no class, may become."""

_DOWNLOAD = (
    "ask for S3DIS at http://buildingparser.stanford.edu/dataset.html: "
    "Stanford3dDataset_v1.2.zip, or Stanford3dDataset_v1.2_Aligned_Version.zip, whose rooms are "
    "turned to the axes"
)
_EXPECTED = """\
  Area_1/office_1/Annotations/ceiling_1.txt    (Area_1 to Area_6)
  Area_1/Area_1_alignmentAngle.txt             (not in the aligned release)
or processed:
  Area_1/office_1/{coord,color,segment}.npy"""


class S3DIS(LayoutReader):
    """Reader of S3DIS. Scenes are named `<area>/<room>`, e.g. `"Area_5/office_19"`.

    Two layouts are recognized; where both are present, the processed one is read.

    * processed: `Area_5/office_19/{coord,color,segment}.npy`, and where present `normal.npy`,
      `instance.npy`. `python -m data_prep.s3dis` writes it;
    * released: `Area_5/office_19/Annotations/<class>_<number>.txt`, in either release. A room's
      points are those of its objects, in the order of the files' names. The file of the whole room
      beside them is not read: some rooms lack it, and some hold points there of no object.

    Validation and test are the rooms of one area, training those of all others. Six runs, one for
    each area, are pooled by `pc3d pool`.

    Args:
        root: the folder that holds `Area_1` to `Area_6`.
        test_area: number of the area that is left out of training.
        stairs: of the released layout: what the objects named stairs become, `"clutter"` or
            `"ignore"`.
        align: of the released layout: turn rooms to the axes, by the angles of the release.

    Raises:
        ValueError: no such area, or another word for `stairs`.
    """

    title, download, expected = "S3DIS", _DOWNLOAD, _EXPECTED
    official = MappingProxyType({"train": 204, "val": 68, "test": 68})  # area 5 left out
    # There is no server that takes predictions; one class per line serves other programs.
    submission = SubmissionFormat(lambda scene: f"{scene}.txt", lines_of, ids_of_lines, "*/*.txt")

    def __init__(
        self,
        root: str | Path,
        test_area: int = 5,
        stairs: str = "clutter",
        align: bool = False,
    ) -> None:
        if test_area not in AREAS:
            raise ValueError(f"S3DIS: test_area must be one of {AREAS}; got {test_area}")
        if stairs not in STAIRS:
            raise ValueError(f"S3DIS: stairs must be one of {list(STAIRS)}; got {stairs!r}")
        root = Path(root)
        left_out = (f"Area_{test_area}",)
        others = tuple(f"Area_{area}" for area in AREAS if area != test_area)
        areas = {"train": others, "val": left_out, "test": left_out}
        released = ReleasedS3DIS(root, areas, STAIRS[stairs], align)
        settings = {"stairs": stairs, "align": align}
        processed = ProcessedLayout(root, areas, names_hold_group=True)
        super().__init__(root, S3DIS13, (processed, released), settings=settings)


@dataclass(frozen=True)
class ReleasedS3DIS:
    """The files as they are downloaded, of either release.

    Attributes:
        root: holds the areas.
        areas: the areas of every split.
        stairs: class of the objects named stairs.
        align: turn rooms to the axes.
    """

    root: Path
    areas: Mapping[str, Sequence[str]]
    stairs: int
    align: bool

    def is_there(self) -> bool:
        return next(self.root.glob("Area_*/*/Annotations"), None) is not None

    def scenes(self, split: str) -> list[str]:
        missing = [area for area in self.areas[split] if not (self.root / area).is_dir()]
        if missing:
            found = f"of the {split} split, {', '.join(missing)} are missing"
            raise missing_data("S3DIS", self.root, found, _DOWNLOAD, _EXPECTED)
        # Beside the rooms lie files such as .DS_Store and Icon.
        rooms = [room for area in self.areas[split] for room in subfolders(self.root / area)]
        bare = [str(room) for room in rooms if not (room / "Annotations").is_dir()]
        if bare:
            raise FileNotFoundError(
                f"{bare[0]}: the folder Annotations is missing (of {len(bare)} rooms in all). "
                f"Unpack the release again: {_DOWNLOAD}"
            )
        return [f"{room.parent.name}/{room.name}" for room in rooms]

    def files(self, scene: str) -> list[Path]:
        """The objects of a room."""
        return sorted(self.label_path(scene).glob("[!.]*.txt"))

    def shared_files(self, scene: str) -> list[Path]:
        return [self._angles(scene)] if self.align else []

    def label_path(self, scene: str) -> Path:
        return self.root / scene / "Annotations"

    def num_points(self, scene: str) -> int:
        return sum(count_points(path) for path in self.files(scene))

    def arrays(self, scene: str) -> Arrays:
        paths = self.files(scene)
        if not paths:
            raise FileNotFoundError(
                f"{self.label_path(scene)}: no objects <class>_<number>.txt are there. Unpack the "
                f"release again: {_DOWNLOAD}"
            )
        classes = [self._class(path) for path in paths]
        objects = []
        for path in paths:
            points, repairs = read_points(path)
            objects.append(points)
            for repair in repairs:
                _log.warning("damaged line read as: %s", repair)
        counts = [len(points) for points in objects]
        points = np.concatenate(objects)
        xyz = points[:, :3]
        if self.align:
            xyz = _turned(xyz, self._angle(scene))
        return {
            "coord": xyz.astype(np.float32),
            "color": np.round(points[:, 3:]).astype(np.uint8),
            "segment": np.repeat(classes, counts),
            "instance": np.repeat(np.arange(len(paths)), counts),
        }

    def _class(self, path: Path) -> int:
        name = path.stem.split("_")[0]
        if name == "stairs":
            return self.stairs
        if name not in S3DIS13.class_names:
            raise ValueError(
                f"{path}: {name!r} is none of the classes {', '.join(S3DIS13.class_names)} (nor "
                "stairs). Objects are named <class>_<number>.txt."
            )
        return S3DIS13.class_names.index(name)

    def _angles(self, scene: str) -> Path:
        area = scene.partition("/")[0]
        return self.root / area / f"{area}_alignmentAngle.txt"

    def _angle(self, scene: str) -> float:
        path, room = self._angles(scene), scene.partition("/")[2]
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: the angles are missing. The aligned release has none, and needs no "
                "align=true."
            )
        angles = read_alignment_angles(path)
        if room not in angles:
            raise ValueError(f"{path}: no angle of {room}")
        return angles[room]


def _turned(xyz: NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    """Points turned about the middle of their bounding box by the reverse of an alignment angle."""
    low, high = bounds(xyz)
    center = (low + high) / 2
    rotation = rotation_matrix("z", (2 - degrees / 180) * pi)
    turned: NDArray[np.float64] = (xyz - center) @ rotation.T + center
    return turned
