"""The page of several runs, run by a real browser where one is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pc3d.data.specs import SCANNET20
from tests.visualize.browser import NEEDS_BROWSER, run_in_browser
from tests.visualize.rooms import CHAIR, FLOOR, make_room
from visualize.layers import Layer, Scalars
from visualize.scene import write_page

pytestmark = NEEDS_BROWSER

SCRIPT = """
  await rest();
  result.hover = views.find((view) => view.plot).plot.data.flatMap((trace) => trace.text || []);
  result.colors = await Promise.all(views.filter((view) => view.plot).map(
    async (view) => Object.keys(await drawn(view)).length));
"""


def test_every_prediction_has_its_own_probability(tmp_path: Path):
    room = make_room(300)
    ours, theirs = np.full(300, FLOOR), np.full(300, CHAIR)
    layers = [
        Layer("prediction a", ours),
        Layer("prediction b", theirs),
        Scalars("confidence a", np.full(300, 0.25), "", (0.0, 1.0)),
        Scalars("confidence b", np.full(300, 0.75), "", (0.0, 1.0)),
    ]
    path = tmp_path / "a.html"
    write_page(path, "a", room.xyz, layers, SCANNET20, shown=["prediction a", "prediction b"])
    result = run_in_browser(path, SCRIPT, tmp_path)
    assert len(result["hover"]) == 300
    for text in result["hover"]:
        assert "prediction a: <b>floor</b>, probability 0.25<br>" in text
        assert "prediction b: <b>chair</b>, probability 0.75" in text
    assert min(result["colors"]) > 1
