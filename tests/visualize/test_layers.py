"""What layers hold, and what becomes of them in a page and in a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pc3d.data.specs import SCANNET20
from tests.visualize.rooms import CHAIR, DOOR, FLOOR, WALL, make_room
from tests.visualize.test_render import decode_png
from tests.visualize.test_scene import read_scene, three_layers
from visualize.geometry import thin
from visualize.layers import (
    Categories,
    Layer,
    Scalars,
    error_layer,
    normal_layer,
    stage_layer,
    tile_layer,
)
from visualize.palette import ramp_table
from visualize.scene import write_page, write_picture

ROOM = make_room()


def test_errors_are_right_wrong_and_unlabelled():
    truth = np.array([FLOOR, FLOOR, WALL, -1, -1, WALL, CHAIR, CHAIR])
    prediction = np.array([FLOOR, WALL, WALL, WALL, -1, -1, DOOR, CHAIR])
    layer = error_layer(prediction, truth)
    kinds = [layer.labels[k].split()[0] for k in layer.values]
    unlabelled = ["unlabelled"] * 2
    assert kinds == ["right", "wrong", "right", *unlabelled, "wrong", "wrong", "right"]
    assert layer.shares.tolist() == [0.375, 0.375, 0.25]


def test_a_page_keeps_a_byte_of_a_scalar_and_says_its_range(tmp_path: Path):
    height = ROOM.xyz[:, 2] * 10 + 100
    layers = [*three_layers(ROOM), Scalars("height", height, "m")]
    layers.append(Scalars("confidence", ROOM.xyz[:, 0] / 4, "", (0.0, 1.0), "of the prediction"))
    info = write_page(tmp_path / "a.html", "a", ROOM.xyz, layers, SCANNET20, max_points=900)
    *_, found, fixed = read_scene(info.path)["layers"]
    kept = thin(ROOM.xyz, 900)
    low, high = np.percentile(height, (1, 99))
    assert (found["low"], found["high"]) == (low, high) == (100.0, pytest.approx(119, abs=1))
    assert (found["unit"], found["digits"], found["beyond"]) == ("m", 1, [False, True])
    value = low + found["ramp"] / 255.0 * (high - low)
    np.testing.assert_allclose(value, height[kept].clip(low, high), atol=(high - low) / 500)
    assert (fixed["low"], fixed["high"], fixed["beyond"]) == (0.0, 1.0, [False, False])
    assert (fixed["digits"], fixed["meaning"]) == (2, "of the prediction")
    np.testing.assert_allclose(fixed["ramp"] / 255.0, ROOM.xyz[kept, 0] / 4, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize(
    ("high", "digits"), [(1e-9, 6), (0.5, 3), (2.5, 2), (99.0, 1), (255.0, 0), (1e6, 0), (0.0, 2)]
)
def test_values_are_told_to_a_hundredth_of_their_range(tmp_path: Path, high: float, digits: int):
    layers = [Scalars("a", ROOM.xyz[:, 0], limits=(0.0, high))]
    info = write_page(tmp_path / "a.html", "a", ROOM.xyz, layers, SCANNET20)
    assert read_scene(info.path)["layers"][0]["digits"] == digits


def test_a_page_keeps_categories_with_their_shares_of_all_points(tmp_path: Path):
    truth, prediction = (layer.values for layer in three_layers(ROOM)[1:])
    layers = [error_layer(prediction, truth)]
    info = write_page(tmp_path / "a.html", "a", ROOM.xyz, layers, SCANNET20, max_points=400)
    ((view,), rows) = read_scene(info.path)["layers"], ((truth >= 0) & (truth == prediction))
    (block,) = view["blocks"]
    assert "menu" not in view and block["title"] == "error"
    shares = [rows.mean(), (truth >= 0).mean() - rows.mean(), (truth < 0).mean()]
    assert [entry["share"] for entry in block["legend"]] == [f"{100 * s:.1f} %" for s in shares]
    np.testing.assert_array_equal(block["codes"], layers[0].values[thin(ROOM.xyz, 400)])
    assert set(block["codes"]) == {0, 1, 2} and len(block["codes"]) == info.num_shown


def test_normals_become_colours():
    normals = np.array([[1, 0, 0], [0, -2, 0], [0, 0, 0], [np.nan, 0, 1], [0.6, 0, 0.8]])
    expected = [[255, 128, 128], [128, 0, 128], [128] * 3, [128] * 3, [204, 128, 230]]
    np.testing.assert_allclose(normal_layer(normals).values, expected, atol=1)


def test_tiles_count_from_one_and_stages_from_zero():
    assert tile_layer(np.array([2, 1, 3])).labels == ("tile 1", "tile 2", "tile 3")
    assert tile_layer(np.array([2, 1, 3])).values.tolist() == [1, 0, 2]
    stages = stage_layer(np.array([0, 2, 0]))
    assert stages.labels == ("up to stage 0", "up to stage 1", "up to stage 2")
    assert stages.values.tolist() == [0, 2, 0]
    assert len(np.unique(stages.palette, axis=0)) == 3


def test_a_picture_draws_the_chosen_layers_in_their_colours(tmp_path: Path):
    layers = [*three_layers(ROOM), Scalars("height", ROOM.xyz[:, 2])]
    layers.append(error_layer(layers[2].values, layers[1].values))
    shown = ["height", "error"]
    write_picture(tmp_path / "a.png", ROOM.xyz, layers, SCANNET20, shown=shown)
    # The same from colours alone: dark below, bright above, red where a chair is called a door.
    share = (ROOM.xyz[:, 2] / np.percentile(ROOM.xyz[:, 2], 99)).clip(0, 1)
    height = ramp_table()[(share * 255).round().astype(int)]
    error = np.array([[150, 190, 220]] * 3000, dtype=np.uint8)
    error[ROOM.labels == CHAIR], error[ROOM.labels < 0] = (213, 60, 0), (170, 170, 170)
    panels = [Layer("a", height), Layer("b", error)]
    write_picture(tmp_path / "b.png", ROOM.xyz, panels, SCANNET20)
    a, b = (decode_png((tmp_path / f"{name}.png").read_bytes()) for name in "ab")
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Scalars("a", np.zeros((3, 1))), r"must be \[P\] numbers; got \(3, 1\) float64"),
        (lambda: Scalars("a", np.zeros(3, bool)), "must be .* numbers; got .* bool"),
        (lambda: Scalars("a", np.array([0, np.inf])), "1 of 2 values are NaN or infinite"),
        (lambda: Categories("a", (), np.zeros((0, 3)), np.zeros(0, int)), "1 to 256 kinds"),
        (lambda: Categories("a", ("b",), np.zeros((2, 3)), np.zeros(2, int)), "got 1 names and"),
        (lambda: Categories("a", ("b",), np.zeros((1, 3)), np.array([0, 1])), r"0\.\.0; .* 0\.\.1"),
        (lambda: Categories("a", ("b",), np.zeros((1, 3)), np.array([-1])), r"with -1\.\.-1"),
    ],
)
def test_wrong_layers_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
