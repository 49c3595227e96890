"""The script of the page, run by a real browser where one is installed."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import Queue
from threading import Thread
from typing import Any

import pytest

from pc3d.data.specs import SCANNET20
from tests.visualize.rooms import CHAIR, DOOR, FLOOR, WALL, make_room
from tests.visualize.test_scene import three_layers
from visualize.scene import write_page

ROOM = make_room(600)
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome on the PATH"),
]

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1200,600",
]

SCRIPT = """
<script>
(async () => {
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  const rest = async () => {
    await new Promise((done) => setTimeout(done, 1000));
    for (let k = 0; k < 5; k++) await frame();
  };
  const eyes = () => views.map((view) => view.plot._fullLayout.scene._scene.getCamera().eye);
  const send = (v, type, init) => views[v].plot.querySelector("canvas").dispatchEvent(
    new type(init.kind, {bubbles: true, clientX: 300, clientY: 200, ...init}));
  const visible = () => views.map((view) => view.plot.data.map((trace) => trace.visible));
  const result = {
    points: views.map((view) => view.plot.data.map((trace) => trace.x.length)),
    colors: views[2].plot.data.map((trace) => trace.marker.color),
    hover: views[1].plot.data[0].text[0],
    buttons: [...document.querySelectorAll("#legend button")].map((b) => b.textContent),
  };
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

  return result;
})().catch((error) => ({error: String(error)})).then(
  (result) => fetch("/result", {method: "POST", body: JSON.stringify(result)}));
</script>
"""


class Server(HTTPServer):
    """Serves one page and keeps what the page posts."""

    def __init__(self, page: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.page = page
        self.posted: Queue[bytes] = Queue()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.answer(self.server.page)

    def do_POST(self) -> None:
        self.server.posted.put(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(b"")

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("page")
    info = write_page(folder / "a.html", "a", ROOM.xyz, three_layers(ROOM), SCANNET20)
    page = info.path.read_text(encoding="utf-8").replace("</body>", SCRIPT + "</body>")
    server = Server(page.encode("utf-8"))
    Thread(target=server.serve_forever, daemon=True).start()
    profile = f"--user-data-dir={folder / 'profile'}"
    url = f"http://127.0.0.1:{server.server_port}/"
    command = [str(BROWSER), *FLAGS, profile, url]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as browser:
        try:
            found = json.loads(server.posted.get(timeout=120))
        finally:
            browser.terminate()
            server.shutdown()
            server.server_close()
    assert "error" not in found, found["error"]
    return found


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
