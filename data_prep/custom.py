"""Prepare point files of one's own: `python -m data_prep.custom raw=PATH out=PATH`.

Writes a folder of `{coord,color,normal,intensity,returns,segment}.npy` where each file was
(`crops/a.laz/coord.npy`), or one for every tile of it, and a copy of the description. Options:
`description=dataset.yaml` (from `raw` or the working directory, or the name of one that comes with
pc3d), `tile=25` (metres; without it files stay whole), `min_points=100` (tiles with fewer are
joined or left out; `remarks.log` says so), `num_workers=<cores>`.

`dry_run=true` writes nothing, needs no `out`, and shows what the files hold and what they are taken
for. The status is 1 if anything is wrong.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from data_prep import preparation, survey
from data_prep.arguments import count, flag, parse_arguments
from data_prep.preparation import Preparation
from data_prep.tiles import TiledFiles
from pc3d.cli.errors import USER_ERRORS, message
from pc3d.data.datasets.custom import DESCRIPTION, Custom, Listing, PointFiles
from pc3d.data.datasets.description_yaml import find_description, read_description
from pc3d.data.datasets.layout import RECORD
from pc3d.io.cloud import is_cloud
from pc3d.utils.files import write_bytes

NAME = "data_prep.custom"
OPTIONS = {"description": DESCRIPTION, "tile": "", "min_points": "100", "dry_run": "false"}


def build(values: dict[str, str]) -> Preparation:
    """What the options ask for."""
    listing = _listing(values)
    tile, min_points = _tile(values["tile"]), count("min_points", values["min_points"])
    layout = PointFiles(listing)
    if tile is not None:
        layout = TiledFiles(listing, tile=tile, min_points=min_points)
    folders = {
        path.relative_to(listing.root).as_posix(): listing.name(path)
        for split in listing.patterns
        for path in listing.files(split)
    }
    cut = {"tile": tile, "min_points": None if tile is None else min_points}
    return Preparation(Custom, layout, folders, {**listing.description.settings(), **cut})


def _listing(values: dict[str, str]) -> Listing:
    root = Path(values["raw"]).expanduser()
    description = read_description(find_description(root, values["description"]))
    return Listing(root, description, is_cloud)


def _tile(value: str) -> float | None:
    if not value:
        return None
    try:
        tile = float(value)
    except ValueError:
        tile = 0.0
    if not 0 < tile < float("inf"):
        raise ValueError(f"tile must be a number of metres above 0; got {value!r}")
    return tile


def run_program(arguments: Sequence[str]) -> int:
    """Run from a command line; returns the exit status."""
    console = Console(stderr=True, soft_wrap=True)
    common = {"raw": None, "out": "", "num_workers": str(os.cpu_count() or 1)}
    try:
        values = parse_arguments(arguments, {**common, **OPTIONS})
        if flag("dry_run", values["dry_run"]):
            tile, num_workers = _tile(values["tile"]), count("num_workers", values["num_workers"])
            return survey.report(_listing(values), tile, num_workers)
        if values["out"]:
            _refuse_left_over(_listing(values), Path(values["out"]).expanduser())
    except (*USER_ERRORS, OSError) as error:
        console.print(f"{NAME}: {message(error)}", style="red", markup=False)
        return 2
    status = preparation.run_program(NAME, OPTIONS, build, arguments)
    if status != 2:
        source = _listing(values).description.path
        write_bytes(Path(values["out"]).expanduser() / DESCRIPTION, source.read_bytes())
    return status


def _refuse_left_over(listing: Listing, out: Path) -> None:
    """Raise a `ValueError` if `out` holds scenes of files that are in no split any more."""
    files = {path for split in listing.patterns for path in listing.files(split)}
    wanted = {path.relative_to(listing.root).as_posix() for path in files}
    there = sorted(path.parent.relative_to(out).as_posix() for path in out.rglob(RECORD))
    if left := [n for n in there if n not in wanted and "/." not in f"/{n}"]:
        raise ValueError(
            f"{out / left[0]}: its file is in no split any more ({len(left)} such folders). Remove "
            "them, or prepare into another folder"
        )


if __name__ == "__main__":
    sys.exit(run_program(sys.argv[1:]))
