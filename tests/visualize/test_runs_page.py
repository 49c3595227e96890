"""The page of runs: what is in its data, and that nothing comes from outside."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pc3d.runs.grouping import Row, group_runs, measure
from pc3d.runs.reading import read_runs
from pc3d.runs.table import Column, Table
from pc3d.runs.table_of_runs import table_of_runs
from tests.runs.folders import make_run
from visualize.runs_page import curves_of, plot_of, write_runs_page

MIOU = "val/miou_point"


def rows_of(folder: Path) -> list[Row]:
    runs, _ = read_runs(folder)
    return group_runs(runs, measure(runs, MIOU)[0], by_seed=True)[0]


def data_of(path: Path) -> dict[str, Any]:
    """What the script of a page works with."""
    (text,) = re.findall(r"^const page = (.*);$", path.read_text(), re.M)
    return json.loads(text)


@pytest.fixture
def logs(tmp_path):
    """Two seeds, and another network that takes longer and is better."""
    for seed in (0, 1):
        make_run(tmp_path / "logs" / f"s{seed}", seed, epochs=(0.1, float("nan"), 0.5 + seed / 10))
    slow = {"epoch_seconds": [9.0], "epochs": 1}
    make_run(tmp_path / "logs" / "votr", model="votr", epochs=(0.7,), record=slow)
    stopped = {"state": "unfinished", "epoch_seconds": [0.1]}
    make_run(tmp_path / "logs" / "x", model="x", epochs=(0.9,), record=stopped)
    return tmp_path / "logs"


def test_curves(logs):
    curves = curves_of(rows_of(logs), MIOU)
    assert [(run["name"], run["row"]) for run in curves.runs] == [
        ("s0", 0),
        ("s1", 0),
        ("votr", 1),
        ("x", 2),
    ]
    assert curves.runs[1]["columns"] == {
        MIOU: ([0, 1, 2], [0.1, None, 0.6]),
        "train/loss_epoch": ([0, 1, 2], [3.0, 2.0, 1.0]),
    }
    assert curves.shown == (MIOU, "train/loss_epoch")
    assert curves_of(rows_of(logs), "test/miou_point").shown[0] == MIOU


def test_long_curves_are_thinned_and_end_where_they_end(tmp_path):
    make_run(tmp_path / "run", epochs=tuple(i / 1203 for i in range(1203)))
    (run,) = curves_of(rows_of(tmp_path), MIOU).runs
    epochs, values = run["columns"][MIOU]
    assert epochs == [*range(0, 1203, 3), 1202] and len(values) == len(epochs)
    assert values[-1] == pytest.approx(1202 / 1203)


def test_the_plot_leaves_out_what_has_not_ended(logs):
    rows = rows_of(logs)
    table = table_of_runs(rows, MIOU)
    finished = [row.runs[0].training.state == "finished" for row in rows]
    plot = plot_of(table, "seconds", MIOU, table.column("run").cells, finished)
    drawn = [(p["label"], p["x"], p["y"]) for p in plot.points]
    assert drawn == [("s0 and 1 more", 4.5, pytest.approx(0.55)), ("votr", 9.0, 0.7)]
    assert plot.front == [0, 1] and plot.left_out == 1
    assert [p["std"] for p in plot.points] == [pytest.approx(0.0707, abs=1e-4), None]
    memory = plot_of(table, "seconds", "memory_mib", table.column("run").cells, finished)
    assert [p["std"] for p in memory.points] == [None, None]
    assert memory.front == [0]
    with pytest.raises(ValueError, match="no column of numbers 'commit'"):
        plot_of(table, "commit", MIOU, table.column("run").cells, finished)


def test_a_page_holds_everything_and_asks_for_nothing(logs, tmp_path):
    rows = rows_of(logs)
    table = table_of_runs(rows, MIOU, ["a </script> note"])
    plot = plot_of(table, "seconds", MIOU, table.column("run").cells, [True] * len(table))
    path = tmp_path / "sub" / "page.html"
    write_runs_page(path, "t", table, curves=curves_of(rows, MIOU), plot=plot, problems=["broken"])
    data = data_of(path)
    titles = [column["title"] for column in data["columns"]]
    assert titles == [column.title for column in table.columns if column.shown]
    assert data["columns"][0]["cells"] == ["s0 and 1 more", "votr", "x"]
    assert data["problems"] == ["broken"] and "a </script> note" in data["notes"]
    assert len(set(data["colors"])) == 3
    text = path.read_text()
    own = text[: text.index("<script>")] + text[text.rindex('"use strict"') :]
    assert not re.search(r"(src|href)=|https?://|@import|fetch\(", own)
    assert text.count("</script>") == 2


def test_rows_of_a_label_have_one_colour(tmp_path):
    table = Table((Column("a", "a", (1, 2, 3), ("1", "2", "3")),))
    write_runs_page(tmp_path / "p.html", "t", table, labels=["x", "y", "x"])
    data = data_of(tmp_path / "p.html")
    assert data["colors"][0] == data["colors"][2] != data["colors"][1]
    assert data["curves"] is None and data["plot"] is None
