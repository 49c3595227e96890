"""Draws `docs/front.png`, the picture at the top of the README.

    python docs/front.py als=<folder with IGN's sample> [out=docs/front.png]

Two rows of input, prediction, and the code that each voxel chose in the last block: a generated
room that training has not seen, and the airborne tile that was kept from training. Both networks
come with pc3d.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pc3d
from data_prep.synthetic import generate
from pc3d.data.datasets import ScanNet
from pc3d.inference import Predictor
from pc3d.inference.predictor import MAX_VOXELS
from pc3d.io.cloud import read_cloud
from visualize.choices import chosen_codes
from visualize.codes import view_of
from visualize.palette import class_colors, ramp_colors
from visualize.picture import CloudRow, write_grid
from visualize.scene import ROOF

ROOM = "scene7500_00"
TILE = "test_data_77055_627760_LA93_IGN69.laz"


def room_row() -> CloudRow:
    """A generated room without its ceiling."""
    with TemporaryDirectory() as folder:
        root = generate(Path(folder), num_train=0, num_val=0, num_test=1, num_workers=0)
        room = ScanNet(root).read(ROOM, "test")
    assert room.color is not None
    return _row(
        pc3d.load("rooms-s", "cpu"),
        room.xyz.astype(np.float64),
        {"color": room.color},
        room.color.round().astype(np.uint8),
        ("a generated room", "prediction of rooms-s"),
    )


def tile_row(folder: Path) -> CloudRow:
    """The airborne tile, whose points have no colours: the height is shown."""
    names = ("return_number", "number_of_returns")
    xyz, columns = read_cloud(folder / TILE, names)
    returns = np.stack([columns[name] for name in names], axis=1)
    return _row(
        pc3d.load("als-s", "cpu"),
        xyz,
        {"returns": returns},
        ramp_colors(xyz[:, 2]),
        ("an airborne scan by its height (IGN)", "prediction of als-s"),
    )


def _row(
    predictor: Predictor,
    xyz: NDArray[np.float64],
    fields: dict[str, Any],
    shown: NDArray[np.uint8],
    captions: tuple[str, str],
) -> CloudRow:
    classes = predictor.predict(xyz, **fields, extent=np.inf).classes
    codes = view_of(chosen_codes(predictor.network, predictor.batch(xyz, fields), MAX_VOXELS)).shown
    roof = [c for c, name in enumerate(predictor.spec.class_names) if name in ROOF]
    kept = ~np.isin(classes, roof)
    views = {
        captions[0]: shown,
        captions[1]: class_colors(classes, predictor.spec),
        f"code chosen in {codes.name}": codes.palette[codes.codes],
    }
    return CloudRow(xyz[kept], {caption: colors[kept] for caption, colors in views.items()})


if __name__ == "__main__":
    given = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
    target = given.get("out", str(Path(__file__).with_name("front.png")))
    write_grid(target, [room_row(), tile_row(Path(given["als"]))], size=(560, 420))
