"""Show one scene: `python -m visualize run=logs/train/runs/<run>` or `scene=room.ply`.

Keys:
    run: a run folder that test.py has tested: shows input, ground truth and prediction, and, where
        the network has codebooks, the code that each voxel chose.
    split: with run: the split that was tested (test).
    scene: with run: name of the scene (default: the first one). Else a ply file with the points
        (x, y, z and, where it has them, red, green, blue).
    block: with run: the block whose codes are shown, e.g. decoder.2.1; a page starts with it and
        has a menu of the others (default: the last one of the finest resolution).
    labels: without run: ground truth: a ply file with a `label` per vertex, in the ids of the data
        set's files, or a npy file of classes.
    pred: without run: prediction: a npy file with one class per point, -1 for none.
    spec: without run: the label space, e.g. scannet20.
    max_points: points in the page.
    out: the file to write, a page (.html) or a picture (.png); default: a page named after the
        scene, in the current folder.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from visualize.codes import BlockCodes
from visualize.scene import MAX_POINTS, write_page, write_picture
from visualize.sources import Scene, label_space, scene_of_files, scene_of_run

_DEFAULTS = {
    "run": "",
    "split": "test",
    "scene": "",
    "block": "",
    "labels": "",
    "pred": "",
    "spec": "scannet20",
    "max_points": str(MAX_POINTS),
    "out": "",
}


def parse(arguments: Sequence[str]) -> dict[str, str]:
    """Read `key=value` arguments; values may hold anything, `=` and brackets included.

    Raises:
        ValueError: an argument without `=`, an unknown key, or neither run nor scene.
    """
    values = dict(_DEFAULTS)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in _DEFAULTS:
            raise ValueError(f"{argument!r} is not key=value with one of {', '.join(_DEFAULTS)}")
        values[key] = value
    if not values["run"] and not values["scene"]:
        raise ValueError("say what to show: run=<run folder> or scene=<file.ply>")
    if not values["max_points"].isdecimal():
        raise ValueError(f"max_points={values['max_points']} is not a number of points")
    return values


def read_scene(values: Mapping[str, str]) -> Scene:
    """The scene that the parsed arguments name."""
    spec = label_space(values["spec"])
    if values["run"]:
        folder = Path(values["run"]).expanduser()
        return scene_of_run(folder, values["split"], values["scene"], values["block"])
    scene = Path(values["scene"]).expanduser()
    return scene_of_files(scene, values["labels"], values["pred"], spec)


def show(values: Mapping[str, str]) -> str:
    """Write the page or picture that the parsed arguments ask for; says what was written."""
    scene = read_scene(values)
    out = Path(values["out"] or f"{scene.title.replace('/', '_')}.html")
    if out.suffix == ".png":
        write_picture(out, scene.xyz, scene.layers, scene.spec, codes=scene.codes)
        legend = f"; last panel: {code_line(scene.codes.shown)}" if scene.codes else ""
        return f"{out}: {len(scene.xyz):,} points{legend}"
    if out.suffix != ".html":
        raise ValueError(f"out={out} must end in .html (a page) or .png (a picture)")
    page = write_page(
        out,
        scene.title,
        scene.xyz,
        scene.layers,
        scene.spec,
        metrics=scene.caption,
        max_points=int(values["max_points"]),
        codes=scene.codes,
    )
    megabytes = page.num_bytes / 1e6
    return f"{out}: {page.num_shown:,} of {page.num_points:,} points, {megabytes:.1f} MB"


def code_line(block: BlockCodes) -> str:
    """The legend that a picture has no room for: codes with neighbourhood, colour and share."""
    rows = zip(block.labels, block.colors, block.percentages, strict=True)
    return f"{block.title}: {'; '.join(' '.join(row) for row in rows)}"


def main(arguments: Sequence[str]) -> None:
    """Run the command; wrong input ends it with one line that says what to do."""
    if not arguments:
        sys.exit(__doc__)
    try:
        line = show(parse(arguments))
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"visualize: {error}")
    Console(highlight=False, markup=False, soft_wrap=True).print(line)


if __name__ == "__main__":
    main(sys.argv[1:])
