"""The page of a profile: sums over modules, and a file that needs nothing else."""

from __future__ import annotations

import re

import pytest

from tests.visualize.browser import BROWSER, run_in_browser
from visualize.profile import MEASURES, inclusive, write_profile

NAMES = ["", "backbone", "backbone.stem", "backbone.stem.0", "backbone.stemless", "head", "unused"]


def report() -> dict:
    modules = [
        {"name": name, "kind": "Kind", **dict.fromkeys(MEASURES, 0)} | {"macs": 1e6 * 2**place}
        for place, name in enumerate(NAMES)
    ]
    modules[-1]["macs"] = 0
    seconds = {"inference": 0.5, "forward": 1, "backward": 2}
    totals = {**seconds, "inference_peak": 3, "training_peak": 4}
    return {"title": "a </script> network", "totals": totals, "modules": modules}


def test_rows_hold_all_that_is_within():
    rows = {row["name"]: row for row in inclusive(report()["modules"])}
    place = list(MEASURES).index("macs")
    sums = {name: row["values"][place] for name, row in rows.items()}
    expected = {"": 63, "backbone": 30, "backbone.stem": 12, "backbone.stem.0": 8}
    assert sums == {**expected, "backbone.stemless": 16, "head": 32}
    assert rows["backbone.stem.0"]["parent"] == "backbone.stem"
    assert rows["backbone.stem"]["color"] == rows["backbone.stem.0"]["color"]
    assert rows["backbone.stem"]["color"] != rows["head"]["color"] != rows[""]["color"]


def test_the_page_needs_nothing_else(tmp_path):
    path = tmp_path / "a.html"
    write_profile(path, report())
    page = path.read_text()
    assert "a \\u003c/script> network" in page and "500.0 ms with maps" in page
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", page)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome on the PATH")
def test_widths_and_order_can_be_chosen(tmp_path):
    path = tmp_path / "a.html"
    write_profile(path, report())
    found = run_in_browser(
        path,
        """
        const rows = () => [...body.children].map((row) => row.children[0].textContent);
        const widths = () => document.getElementById("chart").data[0].values;
        result.first = widths();
        menu.selectedIndex = 4;
        menu.dispatchEvent(new Event("change"));
        result.macs = widths();
        result.defined = rows();
        head.children[6].click();
        result.sorted = rows();
        head.children[0].click();
        result.again = rows();
        """,
        tmp_path,
    )
    assert found["first"] == [0] * 6 and found["macs"] == [63, 30, 12, 8, 16, 32]
    defined = ["network", "backbone", "stem", "0", "stemless", "head"]
    assert found["defined"] == found["again"] == defined
    by_size = ["network", "head", "backbone", "backbone.stemless", "backbone.stem"]
    assert found["sorted"] == [*by_size, "backbone.stem.0"]
