"""The view of the codes and its menu, run by a real browser where one is installed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pc3d.data.specs import SCANNET20
from tests.visualize.browser import NEEDS_BROWSER, run_in_browser
from tests.visualize.rooms import CHAIR, DOOR, FLOOR, WALL, make_room
from tests.visualize.test_scene import three_layers, two_blocks
from visualize.scene import write_page

ROOM = make_room(600)
CODES = two_blocks(ROOM)
COLORS = np.array(["#e69f00", "#56b4e9", "#009e73"])
pytestmark = NEEDS_BROWSER

SCRIPT = """
  const menu = document.querySelector("select"), plot = views[3].plot;
  const look = () => ({
    legend: [...document.querySelectorAll(".codes li")].map((row) => row.textContent),
    swatches: [...document.querySelectorAll(".codes i")].map((i) => i.style.background),
    colors: classTraces(views[3]).map((trace) => Array.from(trace.marker.color)),
    hover: plot.data[0].text[0],
  });
  result.blocks = [...menu.options].map((option) => option.textContent);
  result.heights = views.map((view) => view.plot.clientHeight);
  result.tops = [...document.querySelectorAll("figure")].map((figure) => figure.offsetTop);
  await rest();
  result.first = {menu: menu.selectedIndex, ...look()};
  result.start = eyes();
  send(1, WheelEvent, {kind: "wheel", deltaY: 200});
  await rest();
  buttons[1].click();
  result.before = eyes();
  menu.selectedIndex = 0;
  menu.dispatchEvent(new Event("change"));
  await rest();
  result.second = look();
  result.after = eyes();
  result.hidden = classTraces(views[3]).map((trace) => trace.visible);
  result.others = views[2].plot.data[0].text[0];
"""


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("page")
    info = write_page(folder / "a.html", "a", ROOM.xyz, three_layers(ROOM), SCANNET20, codes=CODES)
    return run_in_browser(info.path, SCRIPT, folder)


def colors_of(block: int) -> list[list[str]]:
    """By the classes of the ground truth, in the order of the legend."""
    members = [ROOM.labels == c for c in (WALL, FLOOR, CHAIR, DOOR, -1)]
    return [COLORS[CODES.blocks[block].codes[rows]].tolist() for rows in members]


def test_the_view_starts_with_the_finest_block(result: dict[str, Any]):
    first = result["first"]
    assert result["blocks"] == ["encoder.1.0 (stride 8)", "decoder.1.0 (stride 2)"]
    assert first["menu"] == 1 and first["colors"] == colors_of(1)
    assert first["legend"] == ["code 0: cube, dilation 26.2 %", "code 131.2 %", "code 262.5 %"]
    assert first["swatches"][1:] == ["rgb(86, 180, 233)", "rgb(0, 158, 115)"]


def test_the_menu_changes_colours_legend_and_hover_of_its_view_only(result: dict[str, Any]):
    second = result["second"]
    assert second["colors"] == colors_of(0) != colors_of(1)
    assert second["legend"] == ["code 0: cube, dilation 150.0 %", "code 1: cross, dilation 350.0 %"]
    code = CODES.blocks[0].codes[ROOM.labels == WALL][0]
    label = CODES.blocks[0].labels[code]
    assert second["hover"] == f"{result['others']}<br>encoder.1.0 (stride 8): <b>{label}</b>"
    assert "decoder.1.0 (stride 2): <b>code 2</b>" in result["first"]["hover"]


def test_the_menu_keeps_the_cameras_and_what_is_hidden(result: dict[str, Any]):
    assert result["hidden"] == [True, False, True, True, True]
    for before, after in zip(result["before"], result["after"], strict=True):
        assert math.dist(before.values(), after.values()) < 1e-4
    one, *others = result["after"]
    assert math.dist(one.values(), result["start"][0].values()) > 0.1
    assert max(math.dist(one.values(), other.values()) for other in others) < 1e-4


def test_four_views_stand_two_by_two_and_are_equally_large(result: dict[str, Any]):
    a, b, c, d = result["tops"]
    assert a == b < c == d
    assert len(set(result["heights"])) == 1
