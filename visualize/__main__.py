"""Show one scene: `python -m visualize run=logs/train/runs/<run>` or `scene=room.ply`.

Keys:
    run: a run folder that test.py has tested: input, ground truth and prediction, what one pass of
        the network says of them, and, where it has codebooks, the code that each voxel chose.
        Given several times (run=A run=B), the runs side by side, and which of them is right where.
    split: with run: the split that was tested (test).
    scene: with run: name of the scene (default: the first one). Else a file of points: ply, las,
        laz, pcd, npy, npz, txt, bin, ...
    layers: the views that are open at first, such as error,entropy (default: input, ground_truth,
        prediction, chosen_code); a page has the others too, and a picture draws these.
    block: with run: the block whose codes are shown, e.g. decoder.2.1; a page starts with it and
        has a menu of the others (default: the last one of the finest resolution).
    explain: with run: the score whose dependence on the input and on the chosen codes is shown: of
        a class (chair), of a point (x,y,z in metres, as hovering shows), or chair@x,y,z.
    labels: without run: ground truth: a file of points with a column of labels, in the ids of the
        data set's files, or a npy file of classes.
    pred: without run: prediction: what pc3d predict wrote, or a npy file with one class per point,
        -1 for none.
    spec: without run: the label space: scannet20, ..., or weights, such as als-s.
    ignore: without run: ids of the labels that are no class, such as 1,64, or others: all that the
        label space does not know.
    voxel_size: without run: metres, of the voxels in which a click looks for neighbours.
    max_points: points in the page, at most 300000.
    viewer: page, or open3d for a window (pip install pc3d[open3d]).
    out: the file to write, a page (.html) or a picture (.png); default: a page named after the
        scene, in the current folder.

docs/inspection.md says what every layer means.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from visualize.codes import BlockCodes
from visualize.page_data import CODES
from visualize.scene import MAX_POINTS, write_page, write_picture
from visualize.several import scene_of_runs
from visualize.sources import Scene, label_space, scene_of_files, scene_of_run
from visualize.window import open_window

_DEFAULTS = {
    "run": "",
    "split": "test",
    "scene": "",
    "layers": "",
    "block": "",
    "explain": "",
    "labels": "",
    "pred": "",
    "spec": "scannet20",
    "ignore": "",
    "voxel_size": "",
    "max_points": str(MAX_POINTS),
    "viewer": "page",
    "out": "",
}
_OF_FILES = ("labels", "pred", "spec", "ignore", "voxel_size")
_OF_RUNS = ("split", "block", "explain")


def runs_of(arguments: Sequence[str]) -> list[Path]:
    """The folders of every `run=` among the arguments, in order."""
    pairs = (argument.partition("=") for argument in arguments)
    return [Path(value).expanduser() for key, _, value in pairs if key == "run" and value]


def parse(arguments: Sequence[str]) -> dict[str, str]:
    """Read `key=value` arguments; values may hold anything, `=` and brackets included.

    Of a key that is given several times, the last value.

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
    if values["viewer"] not in ("page", "open3d"):
        raise ValueError(f"viewer must be page or open3d; got {values['viewer']}")
    useless = _OF_FILES if values["run"] else _OF_RUNS
    given = [key for key in useless if values[key] != _DEFAULTS[key]]
    if given:
        why = "a run says these itself" if values["run"] else "only a scene of a run has these"
        raise ValueError(f"{', '.join(given)}: {why}")
    return values


def read_scene(values: Mapping[str, str], runs: Sequence[Path]) -> Scene:
    """The scene that the parsed arguments name, as these runs saw it, if there are any."""
    wanted = (values[key] for key in ("split", "scene", "block", "explain"))
    if runs:
        return scene_of_run(runs[0], *wanted) if len(runs) == 1 else scene_of_runs(runs, *wanted)
    spec = label_space(values["spec"])
    scene = Path(values["scene"]).expanduser()
    size = _voxel_size(values["voxel_size"]) if values["voxel_size"] else None
    return scene_of_files(
        scene, values["labels"], values["pred"], spec, size, _list(values["ignore"])
    )


def _list(text: str) -> list[str]:
    """`a,b` or `[a, b]`."""
    parts = text.removeprefix("[").removesuffix("]").split(",")
    return [part.strip() for part in parts if part.strip()]


def _voxel_size(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"voxel_size={text} is not a number of metres") from None


def show(values: Mapping[str, str], runs: Sequence[Path]) -> str:
    """Write the page or picture that the parsed arguments ask for; says what was written."""
    scene = read_scene(values, runs)
    names = {layer.name.replace(" ", "_"): layer.name for layer in scene.all_layers}
    asked = [name.replace(" ", "_") for name in _list(values["layers"])]
    views = [names.get(name, name.replace("_", " ")) for name in asked] or scene.first_views
    if values["viewer"] == "open3d":
        return open_window(scene.title, scene.xyz, scene.all_layers, scene.spec, views)
    out = Path(values["out"] or f"{scene.title.replace('/', '_')}.html")
    if out.suffix == ".png":
        codes = scene.codes
        write_picture(out, scene.xyz, scene.layers, scene.spec, codes=codes, shown=views)
        drawn = codes is not None and CODES in views
        legend = f"; last panel: {code_line(codes.shown)}" if codes and drawn else ""
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
        shown=views,
        grid=scene.grid,
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
        line = show(parse(arguments), runs_of(arguments))
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"visualize: {error}")
    Console(highlight=False, markup=False, soft_wrap=True).print(line)


if __name__ == "__main__":
    main(sys.argv[1:])
