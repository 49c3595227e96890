"""ScanNet v2, 20 or 200 classes, from the released files or from the common processed folders."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

from pc3d.data.datasets.base import SPLITS
from pc3d.data.datasets.layout import ProcessedLayout
from pc3d.data.datasets.reader import LayoutReader
from pc3d.data.datasets.scannet_released import DOWNLOAD, EXPECTED, ReleasedScanNet
from pc3d.data.spec import DatasetSpec
from pc3d.data.specs import SCANNET20, SCANNET200
from pc3d.io.submission import SubmissionFormat, ids_of_lines, lines_of

_SPECS: dict[int, DatasetSpec] = {20: SCANNET20, 200: SCANNET200}
# An array named segment does not say what it holds; 200 classes are never taken from it.
_SEGMENTS = {20: ("segment20", "segment"), 200: ("segment200",)}


class ScanNet(LayoutReader):
    """Reader of ScanNet v2. Scenes are named `"scene0000_00"`.

    Two layouts are recognized; where both are present, the processed one is read.

    * processed: `{train,val,test}/<scene>/coord.npy`, `color.npy`, and where present `normal.npy`,
      `segment20.npy` (or `segment.npy`) and `segment200.npy` (classes, -1 unlabelled),
      `instance.npy`. `python -m data_prep.scannet` writes it;
    * released: `pc3d.data.datasets.scannet_released.ReleasedScanNet`.

    Args:
        root: the folder of the data set.
        classes: 20 or 200.
        labels: of the released layout: `"ply"` (NYU40 ids in `.labels.ply`) or `"aggregation"`
            (marked objects), which 200 classes need. None is `"ply"` for 20 classes.
        normals: of the released layout: compute normals from the mesh.
        axis_align: of the released layout: turn scenes upright.

    Raises:
        ValueError: another number of classes, or 200 classes from `"ply"`.
    """

    title = "ScanNet"
    download, expected = DOWNLOAD, EXPECTED
    official = MappingProxyType({"train": 1201, "val": 312, "test": 100})
    submission = SubmissionFormat(
        lambda scene: f"{scene}.txt",
        lines_of,
        ids_of_lines,
        "*.txt",
        server="the ScanNet benchmark, kaldir.vc.in.tum.de/scannet_benchmark",
    )

    def __init__(
        self,
        root: str | Path,
        classes: int = 20,
        labels: str | None = None,
        normals: bool = False,
        axis_align: bool = False,
    ) -> None:
        if classes not in _SPECS:
            raise ValueError(f"ScanNet: classes must be 20 or 200; got {classes}")
        settings: dict[str, Any] = {"axis_align": axis_align}
        if labels is not None:
            settings["labels"] = labels
        labels = labels or ("ply" if classes == 20 else "aggregation")
        if classes == 200 and labels == "ply":
            raise ValueError(
                "ScanNet: classes=200 needs labels=aggregation; the NYU40 ids of .labels.ply "
                "cannot tell its classes apart"
            )
        root = Path(root)
        segments = _SEGMENTS[classes]
        groups = {split: (split,) for split in SPLITS}
        processed = ProcessedLayout(root, groups, segments)
        released = ReleasedScanNet(root, labels, normals, axis_align)
        super().__init__(root, _SPECS[classes], (processed, released), segments, settings)
