"""Prepare S3DIS, of either release: `python -m data_prep.s3dis raw=PATH out=PATH`.

Writes `Area_k/<room>/{coord,color,segment,instance}.npy`. The release has control bytes within some
numbers: such lines are repaired, and listed in `remarks.log` as file:line: old -> new. Options:
`areas=1,2,3,4,5,6`, `stairs=clutter` (or `ignore`), `align=false`, `num_workers=<cores>`.
"""

from __future__ import annotations

from pathlib import Path

from data_prep.arguments import flag
from data_prep.preparation import Preparation, main
from pc3d.data.datasets import S3DIS
from pc3d.data.datasets.s3dis import AREAS, STAIRS, ReleasedS3DIS

OPTIONS = {"areas": ",".join(map(str, AREAS)), "stairs": "clutter", "align": "false"}


def build(values: dict[str, str]) -> Preparation:
    """What the options ask for."""
    stairs, align = values["stairs"], flag("align", values["align"])
    if stairs not in STAIRS:
        raise ValueError(f"stairs must be one of {', '.join(STAIRS)}; got {stairs!r}")
    areas = [f"Area_{number}" for number in values["areas"].split(",")]
    layout = ReleasedS3DIS(
        Path(values["raw"]).expanduser(), {"train": areas}, STAIRS[stairs], align
    )
    folders = {scene: scene for scene in layout.scenes("train")}
    return Preparation(S3DIS, layout, folders, {"stairs": stairs, "align": align})


if __name__ == "__main__":
    main("data_prep.s3dis", OPTIONS, build)
