"""The script of the page of augmentations, run by a real browser where one is installed."""

from __future__ import annotations

from typing import Any

import pytest

from pc3d.data.transforms import Augmentation, LaserMix, RandomRotate
from tests.visualize.browser import NEEDS_BROWSER, run_in_browser
from tests.visualize.scenes import scans
from tests.visualize.test_augmentations import Broken, gallery
from visualize.augmentations import write_gallery

pytestmark = NEEDS_BROWSER

SCRIPT = """
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const press = (name) => all("button").find((b) => b.textContent === name).click();
  const pressed = () => all("[aria-pressed=true]").map((b) => b.textContent);
  // How many different colours a picture has.
  const colors = async (image) => {
    image.loading = "eager";
    await image.decode();
    const to = document.createElement("canvas").getContext("2d");
    to.drawImage(image, 0, 0, 300, 150);
    return new Set(new Uint32Array(to.getImageData(0, 0, 300, 150).data.buffer)).size;
  };
  const images = all("img");
  result.colors = [];
  for (const image of images) result.colors.push(await colors(image));
  result.pressed = [pressed()];
  const first = images.map((image) => image.src);
  const legend = () => all("#legend span").map((entry) => entry.textContent);
  result.legends = [legend()];
  press("ground truth");
  result.changed = images.every((image, k) => image.src !== first[k]);
  result.legends.push(legend());
  press("scenes");
  result.legends.push(legend());
  result.scenes = await colors(images[0]);
  press("intensity");
  result.back = images.every((image, k) => image.src === first[k]);
  const shown = () => all("#recipe .picture").map((p) => p.offsetParent !== null);
  result.sideBySide = shown();
  press("in one place");
  result.pressed.push(pressed());
  result.onePlace = shown();
  all("#recipe .picture.current")[0].click();
  result.clicked = shown();
  press("side by side");
  result.errors = all(".error").map((p) => p.textContent);
  result.unfit = all("#unfit li").length;
  // A narrow screen: a frame, since windows have a least width.
  const text = (await (await fetch(location.href)).text()).split("<script>\\n(async")[0];
  const frame2 = document.createElement("iframe");
  Object.assign(frame2, {srcdoc: text, width: 390, height: 800});
  await new Promise((done) => { frame2.onload = done; document.body.append(frame2); });
  const page2 = frame2.contentDocument;
  result.narrow = [page2.documentElement.scrollWidth, page2.documentElement.clientWidth];
  const boxes = all("img", page2).map((image) => image.getBoundingClientRect());
  result.least = Math.min(...boxes.map((box) => box.width));
  result.right = Math.max(...boxes.map((box) => box.right));
"""


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("page")
    augment = Augmentation(mix=[LaserMix()], train=[RandomRotate(), Broken()], mix3d=0.5)
    write_gallery(folder / "page.html", gallery(scans(augment)))
    return run_in_browser(folder / "page.html", SCRIPT, folder)


def test_pictures_show_something(result):
    assert len(result["colors"]) > 20 and min(result["colors"]) > 30


def test_layers_are_chosen(result):
    assert result["pressed"][0] == ["intensity", "side by side"]
    assert result["changed"] and result["back"]
    legends = result["legends"]
    assert legends[0] == [] and "car" in legends[1] and legends[2] == ["00/0", "others"]


def test_pictures_can_stand_in_one_place(result):
    # Three of LaserMix, two of RandomRotate, none of what failed, three of Mix3D, two of the crop.
    assert result["sideBySide"] == [True] * 10
    assert result["pressed"][1] == ["intensity", "in one place"]
    assert result["onePlace"] == [False, False, True, False, True, False, False, True, False, True]
    assert result["clicked"] == [True, False, False, *result["onePlace"][3:]]


def test_failures_and_reasons_are_shown(result):
    assert result["errors"] == ["fails on this scene: IndexError: nowhere"] * 2
    assert result["unfit"] == 5


def test_a_narrow_screen_is_filled_and_not_left(result):
    assert result["narrow"][0] <= result["narrow"][1] <= 390
    assert result["least"] > 110 and result["right"] < 390
