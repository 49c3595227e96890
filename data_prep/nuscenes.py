"""Prepare nuScenes-lidarseg: `python -m data_prep.nuscenes raw=PATH out=PATH`.

Writes `{train,val,test}/<token>/{coord,intensity,segment}.npy` for every LiDAR keyframe. Options:
`version=v1.0-trainval` (or `v1.0-mini`), `splits=train,val`, `num_workers=<cores>`.
"""

from __future__ import annotations

from pathlib import Path

from data_prep.preparation import Preparation, main, split_folders
from pc3d.data.datasets import NuScenes
from pc3d.data.datasets.nuscenes import VERSIONS, ReleasedNuScenes

OPTIONS = {"version": "v1.0-trainval", "splits": "train,val"}


def build(values: dict[str, str]) -> Preparation:
    """What the options ask for."""
    version = values["version"]
    if version not in VERSIONS:
        raise ValueError(f"version must be one of {', '.join(VERSIONS)}; got {version!r}")
    layout = ReleasedNuScenes(Path(values["raw"]).expanduser(), version)
    folders = split_folders("{split}/{scene}", layout, values["splits"])
    return Preparation(NuScenes, layout, folders, {"version": version})


if __name__ == "__main__":
    main("data_prep.nuscenes", OPTIONS, build)
