"""Runs a page in a real browser, where one is installed, and returns what its script posts."""

from __future__ import annotations

import json
import shutil
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
NEEDS_BROWSER = [
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

WATCH = """<head>
<script>
  const problems = [];
  addEventListener("error", (event) => problems.push(String(event.message)));
  addEventListener("unhandledrejection", (event) => problems.push(String(event.reason)));
  for (const kind of ["error", "warn"]) {
    console[kind] = (...parts) => problems.push(parts.join(" "));
  }
</script>
"""

SCRIPT = """
<script>
(async () => {
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  const rest = async () => {
    await new Promise((done) => setTimeout(done, 1000));
    for (let k = 0; k < 5; k++) await frame();
  };
  const classTraces = (view) => view.plot.data.slice(0, view.rows.length);
  // The colours that a view draws, and how many of its pixels have each.
  const drawn = async (view) => {
    const picture = new Image(), canvas = document.createElement("canvas"), counts = {};
    picture.src = await Plotly.toImage(view.plot, {format: "png", width: 400, height: 300});
    await picture.decode();
    const to = Object.assign(canvas, {width: 400, height: 300}).getContext("2d");
    to.drawImage(picture, 0, 0);
    const pixels = to.getImageData(0, 0, 400, 300).data;
    for (let i = 0; i < pixels.length; i += 4) {
      const color = "#" + [0, 1, 2].map((k) => HEX[pixels[i + k]]).join("");
      counts[color] = (counts[color] || 0) + 1;
    }
    return counts;
  };
  const eyes = () => views.map((view) => view.plot._fullLayout.scene._scene.getCamera().eye);
  const send = (v, type, init) => views[v].plot.querySelector("canvas").dispatchEvent(
    new type(init.kind, {bubbles: true, clientX: 300, clientY: 200, ...init}));
  const result = {};
  BODY
  return {...result, problems};
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


def run_in_browser(page: Path, script: str, folder: Path) -> dict[str, Any]:
    """What `script`, the body of an async function with the page in reach, left in `result`.

    `problems` is what the page wrote to the console as an error or warning, which must be nothing.
    """
    text = page.read_text(encoding="utf-8")
    text = text.replace("<head>", WATCH, 1)
    text = text.replace("</body>", SCRIPT.replace("BODY", script) + "</body>")
    server = Server(text.encode("utf-8"))
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
    problems = found.pop("problems")
    assert not problems, problems
    return found
