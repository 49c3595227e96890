"""`pc3d runs` and `pc3d runs compare`, on run folders that nothing trained."""

from __future__ import annotations

import csv
import json
import sys

import pytest

from pc3d.cli import runs as program
from tests.runs.folders import SCENES, add_test, make_run
from tests.visualize.test_runs_page import data_of

ONE = [[[3, 1], [0, 4]], [[1, 0], [5, 2]]]
TWO = [[[4, 0], [0, 4]], [[1, 0], [5, 2]]]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys, caplog):
    """Run the program in `tmp_path`; returns what it wrote to the console."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["runs", *arguments])
        caplog.clear()
        if code:
            with pytest.raises(SystemExit) as ended:
                program.main()
            assert ended.value.code == code
            return capsys.readouterr().err
        with caplog.at_level("WARNING"):
            program.main()
        return capsys.readouterr().out + caplog.text

    return call


@pytest.fixture
def logs(tmp_path):
    """Two seeds, another network, and a run that cannot be read."""
    for seed in (0, 1):
        folder = make_run(tmp_path / "logs" / f"s{seed}", seed, epochs=(0.1, 0.5 + seed / 10))
        add_test(folder, (ONE, TWO)[seed])
    add_test(make_run(tmp_path / "logs" / "votr", model="votr", epochs=(0.7,)), TWO)
    make_run(tmp_path / "logs" / "broken").joinpath("config.yaml").write_text("a: [")
    return tmp_path / "logs"


def test_the_console(run, logs):
    output = run()
    assert "0.5500 ± 0.0707 (n=2)" in output and "0.7000" in output
    assert output.index("votr") < output.index("s0 and 1 more")  # the best one first
    assert "warning: " in output and "broken is left out" in output
    assert "validation: whole scenes" in output
    assert run("logs") == output
    shown = run("group=none", "sort=run", "metric=test/miou_point")
    assert shown.index("s0") < shown.index("s1") < shown.index("votr")
    assert "0.4500" in shown and "±" not in shown


def test_a_narrow_console_says_what_it_leaves_out(run, logs, monkeypatch):
    monkeypatch.setattr(program, "_FILE_WIDTH", 60)
    monkeypatch.setenv("COLUMNS", "60")
    output = run()
    assert "no room for steps, epochs, commit, memory_mib" in output
    assert max(map(len, output.split("no room")[0].splitlines()[:5])) <= 60


def test_many_keys_are_left_to_files(run, tmp_path):
    many = {f"key{i}": i for i in range(9)}
    make_run(tmp_path / "logs" / "a", task={"max_eval_voxels": 1, **many})
    make_run(tmp_path / "logs" / "b", task={"max_eval_voxels": 1, **dict.fromkeys(many, 99)})
    output = run()
    assert "task.key5" in output.split("no room")[0]
    assert "no room for task.key8, task.key7, task.key6" in output
    run("out=t.md")
    assert "task.key8" in (tmp_path / "t.md").read_text().splitlines()[0]


def test_files(run, logs, tmp_path):
    assert "out/t.md: 3 runs in 2 rows" in run("out=out/t.md")
    assert "| s0 and 1 more | minkunet14a |" in (tmp_path / "out" / "t.md").read_text()
    run("out=t.csv")
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert rows[1]["runs"] == "s0 s1" and rows[1]["n"] == "2"
    assert float(rows[1]["val/miou_point"]) == pytest.approx(0.55)
    assert float(rows[1]["val/miou_point std"]) == pytest.approx(0.0707, abs=1e-4)
    run("out=t.json")
    content = json.loads((tmp_path / "t.json").read_text())
    assert content["rows"][0]["run"] == "votr" and "validation" in content["notes"][0]
    run("out=t.html")
    assert "s0 and 1 more" in (tmp_path / "t.html").read_text()


def test_the_plot_of_a_page_has_finished_runs(run, logs, tmp_path):
    make_run(logs / "stopped", model="x", record={"state": "interrupted"})
    run("out=t.html", "x=memory_mib")
    plot = data_of(tmp_path / "t.html")["plot"]
    assert [point["label"] for point in plot["points"]] == ["votr", "s0 and 1 more"]
    assert (plot["x"], plot["y"], plot["left_out"]) == ("memory_mib", "val/miou_point", 1)


def test_any_table(run, tmp_path):
    rows = [("big", 0, 0.5, 9), ("big", 1, 0.7, 11), ("small", 0, 0.4, 3)]
    lines = [json.dumps(dict(zip(("net", "seed", "miou", "s"), r, strict=True))) for r in rows]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    assert "0.6 ± 0.14142" in run("table=t.jsonl", "group=net")
    run("table=t.jsonl", "sort=-s", "out=t.csv")
    assert (tmp_path / "t.csv").read_text().splitlines()[1] == "big,1,0.7,11"
    assert "3 rows" in run("table=t.jsonl", "x=s", "y=miou", "out=t.html", "label=seed")
    error = run("table=t.jsonl", "out=t.html", code=1)
    assert "say what to plot: x=... y=... with columns of numbers: seed, miou, s" in error


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["folder=nowhere"], "there is no folder nowhere"),
        (["nowhere"], "there is no folder nowhere"),
        (["folder=logs/s0/test"], "there are no runs in logs/s0/test"),
        (["metric=test/miou"], "no run has metric=test/miou; there is test/miou_point, train/"),
        (["sort=speed"], "there is no column 'speed'; there is run, "),
        (["out=t.html", "x=speed"], "there is no column of numbers 'speed'; there is "),
        (["out=t.html", "y=model"], "there is no column of numbers 'model'"),
        (["x=seconds"], "needs a page: out=runs.html"),
        (["out=t.png"], "must end in one of .md, .html, .csv, .json"),
        (["group=seed"], "group=seed: expected seeds or none"),
        (["label=run"], "label: a key of table=, not of runs"),
        (["table=t.csv", "metric=x"], "metric: a key of runs, not of table="),
        (["table=t.csv"], "there is no file t.csv"),
        (["sort=run", "logs"], "'logs' is not key=value with one of folder, metric"),
        (["speed=1"], "'speed=1' is not key=value"),
        (["compare", "s0"], "name two runs: pc3d runs compare A B; got 1: s0"),
        (["compare", "s0", "s1", "votr"], "got 3: s0, s1, votr"),
        (["compare", "s0", "s9"], "s9 is neither a run folder"),
        (["compare", "s0", "s1", "split=val"], "no test of split val"),
        (["compare", "s0", "s1", "out=t.txt"], "must end in .json"),
        (["compare", "s0", "s1", "sort=x"], "'sort=x' is not key=value"),
    ],
)
def test_wrong_arguments(run, logs, arguments, expected):
    error = run(*arguments, code=1)
    assert expected in error and "Traceback" not in error


def test_help(run):
    assert "pc3d runs compare A B" in run("--help")


def test_two_runs_are_weighed(run, logs, tmp_path):
    output = run("compare", "s1", "s0", "out=c.json")
    # B: [[4, 1], [5, 6]]: 4/10, 6/12; A: [[5, 0], [5, 6]]: 5/10, 6/11
    gap = (5 / 10 + 6 / 11) / 2 - (4 / 10 + 6 / 12) / 2
    assert f"A 52.27 %, B 45.00 %, A - B {100 * gap:+.2f} points" in output
    assert "an interval of 2 scenes means little" in output
    assert "not what another seed of the training would" in output
    assert "voxel_size" not in output
    content = json.loads((tmp_path / "c.json").read_text())
    assert content["difference"] == pytest.approx(gap) and content["resamples"] == 10_000
    # Of two scenes, one drawn twice has no difference; the other one in 3 of 4 resamples.
    assert content["above"] == pytest.approx(0.75, abs=0.02)
    assert content["above"] + content["equal"] == pytest.approx(1)
    assert content["classes"][0]["difference"] == pytest.approx(0.1)
    assert content["scenes"] == {SCENES[0]: pytest.approx(1 - (3 / 4 + 4 / 5) / 2), SCENES[1]: 0.0}
    assert output.index(f"  {SCENES[0]} +22.50") < output.index(f"  {SCENES[1]} +0.00")


def test_scenes_in_another_order_are_paired_by_name(run, logs, tmp_path):
    names = list("defgh")
    for name, order in (("x", 1), ("y", -1)):
        matrices = [[[k + 1, 1], [0, 4 + k]] for k in range(5)]
        folder = make_run(tmp_path / "logs" / name)
        add_test(folder, matrices[::order], scenes=names[::order])
    output = run("compare", "x", "y")
    assert "equal in 100.0 %" in output and "means little" not in output


def test_other_labels_and_settings(run, logs, tmp_path):
    settings = {"views": [{"angle": 0.0}], "fragments": False, "voxel_size": 0.02}
    other = make_run(tmp_path / "logs" / "fine", dataset__voxel_size=0.02)
    path = add_test(other, TWO, settings=settings)
    output = run("compare", "fine", str(tmp_path / "logs" / "s0"))
    assert "see the scenes differently: voxel_size 0.02 and 0.05" in output
    add_test(other, [[[4, 0], [1, 4]], [[1, 0], [4, 2]]], settings=settings)
    error = run("compare", str(path), "s0", code=1)
    assert "fine" in error and "a scene has other labels in one of both" in error
