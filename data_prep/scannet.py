"""Prepare ScanNet v2: `python -m data_prep.scannet raw=PATH out=PATH`.

Writes `{train,val,test}/<scene>/{coord,color,normal,segment20,segment200,instance}.npy`. Options:
`labels=aggregation` (or `ply`: 20 classes only), `normals=true`, `axis_align=false`,
`splits=train,val,test`, `num_workers=<cores>`.
"""

from __future__ import annotations

from pathlib import Path

from data_prep.arguments import flag
from data_prep.preparation import Preparation, main, split_folders
from pc3d.data.datasets import ScanNet
from pc3d.data.datasets.scannet_released import ReleasedScanNet

OPTIONS = {
    "labels": "aggregation",
    "normals": "true",
    "axis_align": "false",
    "splits": "train,val,test",
}


def build(values: dict[str, str]) -> Preparation:
    """What the options ask for."""
    labels = values["labels"]
    normals = flag("normals", values["normals"])
    axis_align = flag("axis_align", values["axis_align"])
    layout = ReleasedScanNet(Path(values["raw"]).expanduser(), labels, normals, axis_align)
    if labels == "aggregation":
        _ = layout.label_table  # if it is missing or damaged, no scene can be prepared
    settings = {"labels": labels, "normals": normals, "axis_align": axis_align}
    folders = split_folders("{split}/{scene}", layout, values["splits"])
    return Preparation(ScanNet, layout, folders, settings)


if __name__ == "__main__":
    main("data_prep.scannet", OPTIONS, build)
