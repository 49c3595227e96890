"""Views that are opened and closed, what hovering says, and what a click marks, in a browser."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pc3d.data.specs import SCANNET20
from tests.visualize.browser import NEEDS_BROWSER, run_in_browser
from tests.visualize.rooms import make_room
from tests.visualize.test_scene import read_scene, three_layers
from visualize.geometry import thin
from visualize.grid import grid_of
from visualize.layers import Scalars, error_layer
from visualize.scene import write_page

ROOM = make_room(900)
WORLD = ROOM.xyz + np.array([-2.03, 7.01, -0.77])
SIZE = 0.23
GRID = grid_of(WORLD, SIZE)
CONFIDENCE = np.random.default_rng(1).random(900)
KERNELS = [(stride, dilation) for stride in (1, 2, 4) for dilation in (1, 2, 3)]
CLICKED = (5, 200, 411)
pytestmark = NEEDS_BROWSER

SCRIPT = Path(__file__).with_name("views.js").read_text(encoding="utf-8")

MOUSE = Path(__file__).with_name("mouse.js").read_text(encoding="utf-8")


def write(folder, **options: Any) -> dict[str, Any]:
    layers = [*three_layers(ROOM), Scalars("height", WORLD[:, 2], "m")]
    layers.append(error_layer(layers[2].values, layers[1].values))
    layers.append(Scalars("confidence", CONFIDENCE, "", (0.0, 1.0), "of the prediction"))
    layers = [layers[i] for i in (0, 3, 1, 2, 4, 5)]
    path = folder / "a.html"
    write_page(path, "a", WORLD, layers, SCANNET20, shown=["input", "prediction"], **options)
    return {"path": path, "scene": read_scene(path)}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("layers")
    page = write(folder, max_points=500, grid=GRID)
    script = SCRIPT.replace("CLICKED", str(list(CLICKED)))
    return run_in_browser(page["path"], script, folder) | page


@pytest.fixture(scope="module")
def kept() -> np.ndarray:
    """The rows of the points in the page."""
    return thin(WORLD, 500)


def test_the_page_starts_with_the_chosen_views_which_are_not_blank(result: dict[str, Any]):
    first = result["first"]
    assert (first["names"], first["pressed"]) == (["input", "prediction"], 2)
    assert all(plot == canvas > 200 for plot, canvas in first["heights"])
    assert len(first["colors"]) > 100  # the colours are random
    assert 400 * 300 - first["colors"]["#f5f6f8"] > 1500


def test_views_open_in_order_beside_the_others(result: dict[str, Any]):
    more = result["more"]
    assert more["names"] == ["input", "height", "prediction", "error", "confidence"]
    assert (more["pressed"], more["columns"]) == (5, 3)
    assert all(plot == canvas > 200 for plot, canvas in more["heights"])
    assert {"#96bedc", "#d53c00", "#aaaaaa"} <= set(result["drawn"]["error"])
    assert {"#440154", "#fde725"} <= set(result["drawn"]["height"])


def test_legends_and_colour_bars_of_views(result: dict[str, Any]):
    truth, prediction = (layer.values for layer in three_layers(ROOM)[1:])
    right, known = (truth == prediction) & (truth >= 0), truth >= 0
    shares = [right.mean(), (known & ~right).mean(), (~known).mean()]
    words = zip(("right", "wrong", "unlabelled"), shares, strict=True)
    assert result["legend"] == [f"{word}{100 * share:.1f} %" for word, share in words]
    low, high = np.percentile(WORLD[:, 2], (1, 99))
    height, confidence = ([word for word in bar if word] for bar in result["bars"])
    assert height == [f"{low:.2f} m", f"\u2265 {high:.2f} m"]
    assert confidence == ["0.00", "of the prediction", "1.00"]


def test_hovering_says_place_label_prediction_and_probability(
    result: dict[str, Any], kept: np.ndarray
):
    wall = SCANNET20.class_names.index("wall")
    rows = kept[ROOM.labels[kept] == wall]
    assert len(rows) == len(result["hover"]["input"]) > 50
    for row, text, height in zip(
        rows, result["hover"]["input"], result["hover"]["height"], strict=True
    ):
        place, truth, prediction = text.split("<br>")
        x, y, z = (float(v) for v in re.fullmatch(r"x (.+)  y (.+)  z (.+) m", place).groups())
        np.testing.assert_allclose([x, y, z], WORLD[row], atol=0.0051)
        assert truth == "ground truth: <b>wall</b>"
        words, probability = prediction.split(", probability ")
        assert words == "prediction: <b>wall</b>"
        assert float(probability) == pytest.approx(CONFIDENCE[row], abs=0.0071)
        assert height.startswith(text + "<br>height: <b>") and height.endswith(" m</b>")
        value = re.search(r"height: <b>(\u2265 )?(.+) m", height)
        clipped = WORLD[row, 2].clip(*np.percentile(WORLD[:, 2], (1, 99)))
        assert float(value[2]) == pytest.approx(clipped, abs=0.01)
        assert (value[1] is None) == (WORLD[row, 2] < np.percentile(WORLD[:, 2], 99) - 0.005)
    assert result["hover"]["error"][0].endswith("<br>error: <b>right</b>")


def test_a_view_that_is_opened_later_has_the_camera_of_the_others(result: dict[str, Any]):
    late = result["late"]
    assert late["names"] == ["height", "ground truth", "prediction", "error", "confidence"]
    eyes = np.array([list(eye.values()) for eye in late["eyes"]])
    np.testing.assert_allclose(eyes - eyes[0], 0, atol=1e-4)


def test_the_last_view_stays(result: dict[str, Any]):
    assert result["last"] == {"names": ["confidence"], "pressed": 1}


def test_a_click_marks_the_points_in_the_voxels_of_the_taps(
    result: dict[str, Any], kept: np.ndarray
):
    voxels = np.floor(WORLD / SIZE).astype(int)
    shown = result["scene"]["xyz"] - result["scene"]["origin"]
    partly = 0
    for pick in result["picks"][: 3 * len(KERNELS)]:
        stride, dilation = KERNELS[pick["k"]]
        cells = [tuple(cell) for cell in (voxels // stride).tolist()]
        home = cells[kept[pick["p"]]]
        steps = product((-dilation, 0, dilation), repeat=3)
        reached = {tuple(h + s for h, s in zip(home, step, strict=True)) for step in steps}
        near = [q for q, row in enumerate(kept) if cells[row] in reached]
        assert sorted(pick["near"]) == near
        taps = len(reached & set(cells))
        partly += taps > len(reached & {cells[row] for row in kept})
        assert f": {taps} of 27 taps have a voxel of {100 * stride * SIZE:.0f} cm; " in pick["text"]
        assert (
            f"; {len(near)} of the {len(kept)} points in this page lie in them. Taps are count"
            in pick["text"]
        )
        for some, one in pick["traces"]:  # in both views
            np.testing.assert_allclose(np.transpose(some), shown[pick["near"]], atol=1e-5)
            np.testing.assert_allclose(np.transpose(one), shown[[pick["p"]]], atol=1e-5)
        assert len(pick["traces"]) == 3
    assert partly > 3  # voxels whose points are all left out of the page count


def test_a_click_marks_the_nearest_points(result: dict[str, Any], kept: np.ndarray):
    for pick in result["picks"][3 * len(KERNELS) :]:
        distance = np.linalg.norm(WORLD[kept] - WORLD[kept[pick["p"]]], axis=1)
        expected = np.argsort(distance, kind="stable")[:16]
        assert set(pick["near"]) == set(expected.tolist())
        assert "of the 500 points in this page, the nearest 16 lie within" in pick["text"]
        centimetres = float(re.search(r"within (\S+) cm", pick["text"])[1])
        assert centimetres == pytest.approx(100 * distance[expected[-1]], rel=0.006)
    assert len(result["picks"]) == 3 * (len(KERNELS) + 1)


def test_marks_are_seen_and_can_be_cleared(result: dict[str, Any]):
    assert result["marked"].get("#ff00a0", 0) > 50 and result["marked"].get("#000000", 0) > 3
    picked, number, text, colors = result["cleared"]
    assert (picked, number, text) == (None, 0, "Click a point to see them.")
    assert "#ff00a0" not in colors and "#000000" not in colors


def test_the_mouse_hovers_and_clicks_but_a_drag_picks_nothing(
    tmp_path_factory: pytest.TempPathFactory,
):
    folder = tmp_path_factory.mktemp("mouse")
    page = write(folder)
    found = run_in_browser(page["path"], MOUSE, folder)
    xyz = page["scene"]["xyz"]
    assert found["highest"] == xyz[:, 2].argmax() == found["under"]
    x, y, z = xyz[found["highest"]]
    place = f"x {x:.2f}  y {y:.2f}  z {z:.2f} m"
    assert found["label"].split()[:6] == place.split()[:6]
    assert "prediction: " in found["label"] and ", probability " in found["label"]
    assert found["dragged"] is None
    assert found["clicked"] == found["highest"]
    assert found["text"].startswith(f"{place}: of the 900 points in this page, the nearest 16 lie")
