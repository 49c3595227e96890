"""The script of the gallery, run by a real browser where one is installed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.visualize.browser import NEEDS_BROWSER, run_in_browser
from tests.visualize.rooms import CHAIR, DOOR
from tests.visualize.test_gallery import C, made  # noqa: F401
from visualize.gallery import write_gallery
from visualize.split_counts import count_split

pytestmark = NEEDS_BROWSER

SCRIPT = f"""
  await rest();
  const all = (selector) => [...document.querySelectorAll(selector)];
  const names = () => all("figure h3 span:first-child").map((span) => span.textContent);
  const pressed = () => all("#bar button[aria-pressed=true]").map((b) => b.textContent);
  result.start = [names(), pressed()];
  const box = document.querySelector('td[data-cell="{CHAIR * C + DOOR}"]');
  box.click();
  result.cell = [names(), pressed(), box.getAttribute("aria-selected"), byId("said").textContent];
  result.lines = all(".cell").map((line) => line.textContent);
  result.faint = all("figure.none h3 span:first-child").map((span) => span.textContent);
  byId("by-name").click();
  result.byName = [names(), pressed()];
  box.click();
  result.again = [names(), pressed(), all(".cell").every((line) => line.hidden)];
  all("#top button")[0].click();
  result.top = [byId("truth").value, byId("prediction").value];
  const pictures = await Promise.all(all("img").map(async (image) => {{
    await image.decode();
    const canvas = document.createElement("canvas");
    const to = Object.assign(canvas, {{width: 360, height: 270}}).getContext("2d");
    to.drawImage(image, 0, 0);
    return new Set(new Uint32Array(to.getImageData(0, 0, 360, 270).data.buffer)).size;
  }}));
  result.colors = Math.min(...pictures);
  result.pictures = pictures.length;
  const narrow = document.createElement("iframe");
  narrow.style = "width: 390px; height: 800px";
  narrow.srcdoc = document.documentElement.outerHTML.replace(/<script>[^]*?<\\/script>/g, "");
  document.body.append(narrow);
  await new Promise((done) => {{ narrow.onload = done; }});
  const root = narrow.contentDocument.documentElement;
  result.overhang = root.scrollWidth - root.clientWidth;
"""


@pytest.fixture(scope="module")
def result(made: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:  # noqa: F811
    folder = tmp_path_factory.mktemp("browser")
    split, _ = count_split(made / "run", "test")
    write_gallery(folder / "page.html", split)
    return run_in_browser(folder / "page.html", SCRIPT, folder)


WORST = ["scene1_00", "scene2_00", "scene10_00", "scene3_00"]


def test_the_worst_scenes_come_first(result):
    assert result["start"] == [WORST, ["lowest mIoU first"]]


def test_a_cell_sorts_and_says_how_much(result):
    names, pressed, selected, said = result["cell"]
    assert names == WORST and pressed == ["most chair taken for door first"]
    assert selected == "true" and said.startswith("chair taken for door: ")
    assert "in 3 of the 4 scenes below" in said
    assert result["faint"] == ["scene3_00"]
    assert all("of the scene\u2019s chair" in line for line in result["lines"])


def test_by_name_and_without_the_cell(result):
    natural = ["scene1_00", "scene2_00", "scene3_00", "scene10_00"]
    assert result["byName"] == [natural, ["by name"]]
    assert result["again"] == [WORST, ["lowest mIoU first"], True]
    assert result["top"] == [str(CHAIR), str(DOOR)]


def test_pictures_are_there(result):
    assert result["pictures"] == 8 and result["colors"] > 10


def test_a_narrow_screen_needs_no_scrolling_aside(result):
    assert result["overhang"] <= 0
