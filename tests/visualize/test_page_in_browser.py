"""The script of the page, run by a real browser where one is installed."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from pc3d.data.specs import SCANNET20
from tests.visualize.browser import NEEDS_BROWSER, run_in_browser
from tests.visualize.rooms import CHAIR, DOOR, FLOOR, WALL, make_room
from tests.visualize.test_scene import three_layers
from visualize.scene import write_page

ROOM = make_room(600)
pytestmark = NEEDS_BROWSER

SCRIPT = """
  const visible = () => views.map((view) => classTraces(view).map((trace) => trace.visible));
  Object.assign(result, {
    points: views.map((view) => classTraces(view).map((trace) => trace.x.length)),
    colors: views[2].plot.data.map((trace) => trace.marker.color),
    hover: views[1].plot.data[0].text[0],
    buttons: [...document.querySelectorAll("#legend button")].map((b) => b.textContent),
  });
  await rest();
  result.start = eyes();
  const events = [0, 0, 0];
  views.forEach((view, v) => view.plot.on("plotly_relayout", () => events[v]++));

  send(0, PointerEvent, {kind: "pointerdown"});
  for (let k = 0; k <= 20; k++) {
    send(0, MouseEvent, {kind: "mousemove", buttons: 1, clientX: 300 + 5 * k});
    if (k % 5 === 0) await frame();
  }
  send(0, MouseEvent, {kind: "mouseup", clientX: 400});
  await rest();
  result.dragged = eyes();
  result.events = [...events];
  await rest();
  result.eventsLater = [...events];

  send(2, WheelEvent, {kind: "wheel", deltaY: 200});
  await rest();
  result.zoomed = eyes();
  buttons[0].click();
  await rest();
  result.zoomedAndHidden = eyes();
  buttons[0].click();

  document.getElementById("reset").click();
  await rest();
  result.reset = eyes();

  buttons[1].click();
  await rest();
  Object.assign(result, {hidden: visible(), pressed: buttons[1].getAttribute("aria-pressed")});
  buttons[2].dispatchEvent(new MouseEvent("dblclick"));
  await rest();
  result.alone = visible();
  buttons[2].dispatchEvent(new MouseEvent("dblclick"));
  await rest();
  result.all = visible();
"""


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("page")
    info = write_page(folder / "a.html", "a", ROOM.xyz, three_layers(ROOM), SCANNET20)
    return run_in_browser(info.path, SCRIPT, folder)


def distance(a: dict[str, float], b: dict[str, float]) -> float:
    return math.dist(a.values(), b.values())


def test_every_view_has_one_trace_per_class_with_its_points(result: dict[str, Any]):
    assert result["buttons"] == ["wall", "floor", "chair", "door", "unlabelled"]
    _, truth, prediction = (layer.values for layer in three_layers(ROOM))
    legend = (WALL, FLOOR, CHAIR, DOOR, -1)
    by_truth = [int((truth == c).sum()) for c in legend]
    by_prediction = [int((prediction == c).sum()) for c in legend]
    assert result["points"] == [by_truth, by_truth, by_prediction]
    assert result["colors"][:2] == ["#aec7e8", "#98df8a"]


def test_hovering_names_place_label_and_prediction(result: dict[str, Any]):
    place, *names = result["hover"].split("<br>")
    assert re.fullmatch(r"x \d\.\d\d  y 3\.00  z \d\.\d\d m", place)
    assert names == ["ground truth: <b>wall</b>", "prediction: <b>wall</b>"]


def test_dragging_one_view_turns_all_and_the_events_end(result: dict[str, Any]):
    first, *others = result["dragged"]
    assert distance(first, result["start"][0]) > 0.1
    assert max(distance(first, other) for other in others) < 1e-4
    assert 1 <= result["events"][1] <= 21 + 2
    assert result["eventsLater"] == result["events"]


def test_the_wheel_zooms_all_views_and_the_legend_keeps_the_camera(result: dict[str, Any]):
    *others, last = result["zoomed"]
    assert distance(last, result["dragged"][2]) > 0.1
    assert max(distance(last, other) for other in others) < 1e-4
    for before, after in zip(result["zoomed"], result["zoomedAndHidden"], strict=True):
        assert distance(before, after) < 1e-4


def test_reset_restores_all_views(result: dict[str, Any]):
    for eye in result["reset"]:
        assert distance(eye, result["start"][0]) < 1e-4


def test_the_legend_switches_a_class_in_all_views(result: dict[str, Any]):
    assert result["hidden"] == [[True, False, True, True, True]] * 3
    assert result["pressed"] == "false"
    assert result["alone"] == [[False, False, True, False, False]] * 3
    assert result["all"] == [[True] * 5] * 3
