"""Whatever state a run folder is in: it is listed, or named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from pc3d.runs.history import best_epoch, num_steps, read_history
from pc3d.runs.reading import Run, read_run, read_runs
from tests.runs.folders import add_test, make_run, write, write_history

MATRICES = [[[3, 1], [0, 4]], [[1, 0], [5, 2]]]


def only(folder: Path) -> Run:
    run, problems = read_run(folder)
    assert problems == []
    return run


def test_a_run_is_read(tmp_path):
    folder = make_run(tmp_path / "run", 7, record={"gpu_memory_mib": 99.5})
    write(folder / "uncommitted.diff", "+1")
    add_test(folder, MATRICES)
    run = only(folder)
    assert run.seed == 7 and run.choices["model"] == "minkunet14a" and run.changes == ()
    assert run.commit == "abcdef0+"
    assert run.training == ("finished", None, 3, 6, 4.5, 512.0, 99.5)
    assert run.best_epoch == 1 and run.history[1]["val/miou_point"] == 0.5
    assert run.history[1]["train/loss_epoch"] == 2.0  # of another line of the file
    assert [test.metric for test in run.tests] == ["test/miou_point"]


def test_runs_are_found_at_any_depth_and_not_within_runs(tmp_path):
    make_run(tmp_path / "train" / "a")
    make_run(tmp_path / "sweeps" / "x" / "0")
    make_run(tmp_path / "train" / "a" / "inside")
    make_run(tmp_path / ".trash" / "b")
    runs, problems = read_runs(tmp_path)
    found = [run.folder.relative_to(tmp_path).as_posix() for run in runs]
    assert found == ["sweeps/x/0", "train/a"] and problems == []
    assert [run.folder for run in read_runs(tmp_path / "train" / "a")[0]] == [tmp_path / "train/a"]


def test_an_older_run_is_known_by_its_logs(tmp_path):
    done = make_run(tmp_path / "done", record={})
    stopped = make_run(tmp_path / "stopped", record={}, trainer__max_epochs=9)
    by_steps = make_run(tmp_path / "steps", record={}, trainer={"max_epochs": -1, "max_steps": 6})
    assert only(done).training == ("finished", None, 3, 6, None, None, None)
    assert only(stopped).training[:4] == ("unfinished", None, 3, 6)
    assert only(by_steps).training.state == "finished"


def test_a_run_of_before_the_metric_had_its_name(tmp_path):
    folder = make_run(tmp_path / "run", callbacks__best={"monitor": "val/miou", "mode": "max"})
    path = folder / "csv" / "version_0" / "metrics.csv"
    path.write_text(path.read_text().replace("val/miou_point", "val/miou"))
    run = only(folder)
    assert run.best_epoch == 1 and run.history[1]["val/miou_point"] == 0.5


def test_time_that_is_known_in_part_is_not_known(tmp_path):
    """The first epoch was trained by an older pc3d."""
    training = only(make_run(tmp_path / "r", record={"epoch_seconds": [None, 2.0, 2.0]})).training
    assert (training.seconds, training.memory, training.epochs) == (None, None, 3)


def test_a_run_that_failed_at_once(tmp_path):
    folder = make_run(tmp_path / "run", epochs=(), record={}, trainer__max_epochs=3)
    (folder / "csv" / "version_0" / "metrics.csv").unlink()
    run = only(folder)
    assert run.training.state == "unfinished" and run.history == {} and run.best_epoch is None


def test_a_continued_run_counts_what_came_last(tmp_path):
    """And of the files before only what came before it, also if it did not get as far."""
    folder = make_run(tmp_path / "run", epochs=(0.1, 0.2, 0.9, 0.8, 0.7))
    write_history(folder, (0.3,), first=2, version=10)
    write_history(folder, (0.35, 0.4), first=2, version=9)  # 9 is before 10
    epochs = read_history(folder)
    assert {epoch: row["val/miou_point"] for epoch, row in epochs.items()} == {
        0: 0.1,
        1: 0.2,
        2: 0.3,
    }
    assert num_steps(epochs) == 6


def test_what_a_run_was_continued_with(tmp_path):
    folder = make_run(tmp_path / "run")
    last = ["seed=0", "optimizer.lr=0.1", "resume=/logs/run"]
    write(folder / ".hydra" / "overrides.yaml", yaml.safe_dump(last))
    assert only(folder).changes == ("optimizer.lr=0.1",)


def test_the_best_epoch():
    epochs = {e: {"m": value} for e, value in enumerate((0.1, float("nan"), 0.4, 0.4))}
    assert best_epoch(epochs, "m", "max") == 2 and best_epoch(epochs, "m", "min") == 0
    assert best_epoch(epochs, "other", "max") is None


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("config.yaml", "a: [", "is left out"),
        ("config.yaml", "[1]", "is left out"),
        ("config.yaml", "a: 1", "it has no paths"),
        ("config.yaml", None, "it has no config.yaml"),
        ("csv/version_0/metrics.csv", "epoch,a\n0,x\n", "line 2, column a: 'x' is no number"),
        ("csv/version_0/metrics.csv", "step,a\n0,1\n", "no column epoch"),
        ("csv/version_0/metrics.csv", "epoch\n0,1,2\n", "more cells than there are columns"),
        ("csv/version_0/metrics.csv", b"\xff\xfe\x00", "metrics.csv is damaged"),
        ("training.json", "{half", "training.json is damaged"),
        ("training.json", "{}", "it lacks state, epochs"),
        ("training.json", "[]", "it lacks everything"),
        ("environment.json", "{half", "environment.json is damaged"),
        ("environment.json", "[]", "environment.json is damaged"),
        (".hydra/hydra.yaml", "a: 1", "no hydra.runtime.choices"),
        (".hydra/hydra.yaml", "a: [", "hydra.yaml is damaged"),
        ("overrides.yaml", "a: 1", "no list of overrides"),
        ("test/test-0-single.json", "{half", "is not a result of test.py"),
        ("test/test-0-single.json", '{"metric": 1}', "lacks label_space"),
    ],
)
def test_what_is_damaged_is_named_and_the_others_are_listed(tmp_path, file, text, expected):
    make_run(tmp_path / "whole")
    broken = make_run(tmp_path / "broken")
    if text is None:
        (broken / file).unlink()
    elif isinstance(text, bytes):
        (broken / file).write_bytes(text)
    else:
        write(broken / file, text)
    runs, problems = read_runs(tmp_path)
    left = {run.folder.name for run in runs}
    assert left == ({"whole"} if file == "config.yaml" else {"whole", "broken"})
    (problem,) = problems
    assert "broken" in problem and expected in problem


def test_no_folder_no_runs_no_readable_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        read_runs(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="there are no runs in"):
        read_runs(tmp_path)
    write(tmp_path / "r" / "environment.json", json.dumps({}))
    with pytest.raises(ValueError, match=r"no run .* can be read:\n.*it has no config.yaml"):
        read_runs(tmp_path)
