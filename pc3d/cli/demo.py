"""The first minute: `pc3d demo [out=pc3d_demo]` generates a room, labels it, and shows it.

It needs no network, no GPU, no compiler and no data: the weights come with pc3d.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from data_prep.synthetic import generate
from pc3d.cli.errors import report_errors
from pc3d.cli.report import print_result, summary
from pc3d.data.datasets import ScanNet
from pc3d.inference import Predictor, load
from pc3d.inference.files import LABEL, Labelling, label_file
from pc3d.inference.predictor import MAX_VOXELS
from pc3d.io.cloud import read_cloud
from pc3d.metrics import count_pairs
from visualize.choices import chosen_codes
from visualize.codes import view_of
from visualize.layers import Layer
from visualize.scene import write_page, write_picture

WEIGHTS = "rooms-s"
SCENE = "scene7500_00"  # the first test scene, whose random numbers no training has seen
_DEFAULT = "pc3d_demo"
NEXT = {
    f"pc3d predict ckpt={WEIGHTS} input=<your scan>": "label a file: ply, las, laz, pcd, npy, txt",
    "pc3d view scene=<your scan>.ply out=scan.html": "look at any scan",
    "pc3d train experiment=demo": "train a network like this one, on rooms made for it",
}
"""Commands to go on with, and what they do."""


def demo(out: Path, console: Console) -> None:
    """Generate a room below `out`, label it, and write `room.laz`, `room.png` and `room.html`.

    Args:
        out: a folder, made if need be.
        console: where the table goes.
    """
    root = generate(out / "scan", num_train=0, num_val=0, num_test=1, num_workers=0)
    source = root / "scans" / SCENE / f"{SCENE}_vh_clean_2.ply"
    predictor, target = load(WEIGHTS, "cpu"), out / "room.laz"
    label_file(predictor, source, target, Labelling(confidence=True))
    ids = read_cloud(target, [LABEL]).columns[LABEL]
    classes = predictor.spec.to_class(ids, str(target))
    room = ScanNet(root).read(SCENE, "test")
    assert room.color is not None and room.segment is not None
    matrix = count_pairs(
        torch.from_numpy(classes), torch.from_numpy(room.segment), predictor.spec.num_classes
    )
    show(predictor, out, room.xyz, room.color, room.segment, classes)
    result = {
        "metric": "mIoU of one generated room",
        "protocol": "every point, one pass",
        "label_space": predictor.spec.name,
        **summary(matrix, predictor.spec.class_names),
        "num_points": len(room),
        "scenes": [SCENE],
    }
    print_result(result, console)


def show(
    predictor: Predictor,
    out: Path,
    xyz: np.ndarray,
    color: np.ndarray,
    segment: np.ndarray,
    classes: np.ndarray,
) -> None:
    """Write the picture and the page: input, ground truth, prediction, chosen codes."""
    batch = predictor.batch(xyz, {"color": color})
    codes = view_of(chosen_codes(predictor.network, batch, MAX_VOXELS))
    layers = [
        Layer("input", color.round().astype(np.uint8)),
        Layer("ground truth", segment),
        Layer("prediction", classes),
    ]
    write_picture(out / "room.png", xyz, layers, predictor.spec, codes=codes)
    write_page(out / "room.html", "A generated room", xyz, layers, predictor.spec, codes=codes)


def parse(arguments: list[str]) -> Path:
    """The folder to write to.

    Raises:
        ValueError: another key.
    """
    given = dict(argument.partition("=")[::2] for argument in arguments)
    if set(given) - {"out"} or not all(given.values()):
        raise ValueError(f"pc3d demo takes out=<folder> ({_DEFAULT}); got {' '.join(arguments)}")
    return Path(given.get("out", _DEFAULT)).expanduser()


@report_errors
def main() -> None:
    """The program."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    out = parse(sys.argv[1:])
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"a room is generated and labelled by {WEIGHTS}, a network of 4 MB ...")
    demo(out, console)
    written = {
        "room.html": "open it in a browser: input, truth, prediction, chosen codes",
        "room.png": "the same as a picture",
        "room.laz": "every point with its class and the confidence in it",
    }
    console.print()
    width = len(str(out / "room.html"))
    for name, text in written.items():
        console.print(f"{out / name!s:{width}}   {text}")
    console.print("\nnext:")
    for command, text in NEXT.items():
        console.print(f"  {command:46} {text}")


if __name__ == "__main__":
    main()
