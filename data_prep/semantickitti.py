"""Prepare SemanticKITTI: `python -m data_prep.semantickitti raw=PATH out=PATH`.

Writes `sequences/<sequence>/<frame>/{coord,intensity,segment,instance}.npy`. The released files are
as fast to read; prepared ones have their labels mapped and checked, and checksums. Options:
`sequences=00,...,21` (those that are there), `label_map=official` (or `spvnas`),
`num_workers=<cores>`.
"""

from __future__ import annotations

from pathlib import Path

from data_prep.preparation import Preparation, main
from pc3d.data.datasets import SemanticKITTI
from pc3d.data.datasets.semantickitti import LABEL_MAPS, ReleasedSemanticKITTI

OPTIONS = {"sequences": "", "label_map": "official"}


def build(values: dict[str, str]) -> Preparation:
    """What the options ask for."""
    name = values["label_map"]
    if name not in LABEL_MAPS:
        raise ValueError(f"label_map must be one of {', '.join(LABEL_MAPS)}; got {name!r}")
    root = Path(values["raw"]).expanduser()
    there = sorted(path.parent.name for path in root.glob("sequences/*/velodyne"))
    sequences = values["sequences"].split(",") if values["sequences"] else there
    layout = ReleasedSemanticKITTI(root, {"train": sequences}, LABEL_MAPS[name])
    folders = {f"sequences/{scene}": scene for scene in layout.scenes("train")}
    return Preparation(SemanticKITTI, layout, folders, {"label_map": name})


if __name__ == "__main__":
    main("data_prep.semantickitti", OPTIONS, build)
