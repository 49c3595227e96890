"""The script of the page of runs, run by a real browser where one is installed."""

from __future__ import annotations

from typing import Any

import pytest

from pc3d.runs.table_of_runs import table_of_runs
from tests.runs.folders import make_run
from tests.visualize.browser import NEEDS_BROWSER, run_in_browser
from tests.visualize.test_runs_page import MIOU, rows_of
from visualize.runs_page import curves_of, plot_of, write_runs_page

pytestmark = NEEDS_BROWSER

SCRIPT = """
  await rest();
  const all = (selector) => [...document.querySelectorAll(selector)];
  const first = () => all("#body tr").map((row) => row.firstChild.textContent);
  const click = (title) => all("th button").find((b) => b.textContent === title).click();
  const plots = all(".plot");
  result.start = first();
  click("time");
  result.byTime = [first(), document.querySelector("[aria-sort]").getAttribute("aria-sort")];
  click("time");
  result.byTimeUp = first();
  click("run");
  result.byRun = first();
  const trace = (plot) => plot.data.map((t) => [t.name, [...t.x], [...t.y], t.line.color]);
  result.left = trace(plots[0]);
  const menu = document.querySelector("select");
  menu.value = "train/loss_epoch";
  menu.dispatchEvent(new Event("change"));
  await rest();
  result.left2 = trace(plots[0]);
  result.pareto = plots[2].data.map((t) => [[...t.x], [...t.y]]);
  result.caption = all("figcaption")[2].textContent;
  const width = (plot) => plot.querySelector("svg").getBoundingClientRect().width;
  result.fits = plots.every((plot) => width(plot) <= plot.clientWidth);
  result.swatches = all("td i").length;
"""


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        make_run(folder / "logs" / f"s{seed}", seed, epochs=(0.1, 0.5 + seed / 10))
    slow = {"epoch_seconds": [9.0], "epochs": 1}
    make_run(folder / "logs" / "votr", model="votr", epochs=(0.7,), record=slow)
    make_run(folder / "logs" / "old", model="old", epochs=(0.9,), record={})
    rows = rows_of(folder / "logs")
    table = table_of_runs(rows, MIOU)
    plot = plot_of(table, "seconds", MIOU, table.column("run").cells, [True] * len(table))
    path = folder / "page.html"
    write_runs_page(path, "runs", table, curves=curves_of(rows, MIOU), plot=plot)
    return run_in_browser(path, SCRIPT, folder)


def test_a_click_sorts_and_what_is_empty_stays_last(result):
    assert result["start"] == ["old", "s0 and 1 more", "votr"]
    assert result["byTime"] == [["votr", "s0 and 1 more", "old"], "descending"]
    assert result["byTimeUp"] == ["s0 and 1 more", "votr", "old"]
    assert result["byRun"] == ["old", "s0 and 1 more", "votr"]


def test_curves_have_the_colour_of_their_row_and_the_menu_changes_them(result):
    names = [trace[0] for trace in result["left"]]
    assert names == ["old", "s0", "s1", "votr"]
    colors = [trace[3] for trace in result["left"]]
    assert colors[1] == colors[2] and len(set(colors)) == 3
    assert result["left"][2][1:3] == [[0, 1], [0.1, 0.6]]
    assert result["left2"][2][1:3] == [[0, 1], [3, 2]]


def test_the_front_is_drawn(result):
    front, points = result["pareto"]
    assert front[0] == [3, 9] and sorted(points[0]) == [3, 9]
    assert "1 row without both" in result["caption"]
    assert result["fits"] and result["swatches"] == 3
