"""Which runs become one row, and with what number."""

from __future__ import annotations

from pathlib import Path
from statistics import stdev

import pytest
import yaml

from pc3d.runs.grouping import Row, group_runs, known_metrics, measure, short_names
from pc3d.runs.reading import read_runs
from pc3d.runs.table_of_runs import table_of_runs
from tests.runs.folders import SCENES, add_test, make_run, write

ONE = [[[3, 1], [0, 4]], [[1, 0], [5, 2]]]  # sum [[4, 1], [5, 6]]: IoU 4/10, 6/12
TWO = [[[4, 0], [0, 4]], [[1, 0], [5, 2]]]  # sum [[5, 0], [5, 6]]: IoU 5/10, 6/11
MIOU = "val/miou_point"


def rows_of(folder: Path, metric: str = MIOU, by_seed: bool = True) -> tuple[list[Row], list[str]]:
    runs, problems = read_runs(folder)
    assert problems == []
    scores, notes = measure(runs, metric)
    rows, doubts = group_runs(runs, scores, by_seed)
    return rows, notes + doubts


def names(rows: list[Row]) -> list[tuple[str, ...]]:
    return [row.names for row in rows]


def test_seeds_become_one_row(tmp_path):
    for seed, best in enumerate((0.5, 0.6, 0.9)):
        make_run(tmp_path / f"s{seed}", seed, epochs=(0.1, best, 0.3))
    make_run(tmp_path / "other", optimizer__lr=0.1)
    rows, notes = rows_of(tmp_path)
    assert names(rows) == [("other",), ("s0", "s1", "s2")] and notes == []
    assert rows[1].mean == pytest.approx(2 / 3)
    assert rows[1].std == pytest.approx(stdev([0.5, 0.6, 0.9]))
    assert rows[0].std is None
    assert len(rows_of(tmp_path, by_seed=False)[0]) == 4


def test_the_value_is_that_of_the_best_epoch_whatever_the_metric(tmp_path):
    make_run(tmp_path / "run", epochs=(0.1, 0.6, 0.3))
    rows, _ = rows_of(tmp_path, "train/loss_epoch")
    assert rows[0].values == [2.0]


def test_unfinished_and_changed_runs_stand_alone(tmp_path):
    make_run(tmp_path / "a", 0)
    make_run(tmp_path / "b", 1)
    make_run(tmp_path / "killed", 2, record={"state": "unfinished"})
    make_run(tmp_path / "failed", 3, record={"state": "failed", "error": "no memory"})
    changed = make_run(tmp_path / "changed", 4)
    write(changed / ".hydra" / "overrides.yaml", yaml.safe_dump(["seed=4", "optimizer.lr=1"]))
    rows, _ = rows_of(tmp_path)
    assert names(rows) == [("a", "b"), ("changed",), ("failed",), ("killed",)]
    table = table_of_runs(rows, MIOU)
    assert table.column("state").cells == (
        "finished",
        "finished, continued with optimizer.lr=1",
        "failed",
        "unfinished",
    )
    assert table.notes[-1] == "failed failed: no memory"


def test_runs_without_a_test_are_not_among_those_with_one(tmp_path):
    for seed in range(3):
        run = make_run(tmp_path / f"s{seed}", seed)
        if seed < 2:
            add_test(run, (ONE, TWO)[seed])
    rows, _ = rows_of(tmp_path, "test/miou_point")
    assert names(rows) == [("s0", "s1"), ("s2",)] and rows[1].mean is None
    expected = [(4 / 10 + 6 / 12) / 2, (5 / 10 + 6 / 11) / 2]
    assert rows[0].values == pytest.approx(expected)
    assert table_of_runs(rows, "test/miou_point").column("test/miou_point").cells[1] == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"scenes": ["a", "x"]},
        {"label_space": "rooms4"},
        {"settings": {"views": [{"angle": 90.0}], "fragments": False}},
        {"settings": {"views": [{"angle": 0.0}], "fragments": False, "max_eval_voxels": 7}},
        {"settings": {"views": [{"angle": 0.0}], "fragments": False, "reader": {"axis_align": 1}}},
    ],
    ids=["scenes", "label space", "views", "budget", "reader"],
)
def test_other_protocols_are_never_averaged(tmp_path, changes):
    """Not even under the same name; the table says which is which."""
    add_test(make_run(tmp_path / "s0", 0), ONE)
    add_test(make_run(tmp_path / "s1", 1), ONE, **changes)
    rows, _ = rows_of(tmp_path, "test/miou_point")
    assert names(rows) == [("s0",), ("s1",)]
    table = table_of_runs(rows, "test/miou_point")
    assert table.column("protocol").cells == ("a", "b")
    assert len(table.notes) == 3 and "do not compare" in table.notes[2]
    first, second = (note.split(": ", 1)[1] for note in table.notes[:2])
    assert first != second  # though the words for both views are the same


def test_what_the_network_sees_is_in_the_configuration_already(tmp_path):
    """Another voxel size is no other protocol, but another row."""
    add_test(make_run(tmp_path / "s0", 0), ONE)
    fine = make_run(tmp_path / "s1", 1, dataset__voxel_size=0.02)
    settings = {"views": [{"angle": 0.0}], "fragments": False, "voxel_size": 0.02}
    add_test(fine, ONE, settings=settings)
    rows, _ = rows_of(tmp_path, "test/miou_point")
    assert [row.config for row in rows] == [
        {"dataset.voxel_size": 0.05},
        {"dataset.voxel_size": 0.02},
    ]
    assert rows[0].protocol == rows[1].protocol


def test_several_tests_of_a_run_are_said(tmp_path):
    run = make_run(tmp_path / "run")
    add_test(run, TWO, checkpoint_hash="f" * 16, checkpoint="last.ckpt", name="single-0")
    add_test(run, ONE)
    add_test(run, TWO, checkpoint_hash="e" * 16, checkpoint="last.ckpt", name="single-0")
    rows, notes = rows_of(tmp_path, "test/miou_point")
    assert rows[0].values == [pytest.approx(0.45)]  # of best.ckpt, though not the newest
    assert "has 3 tests of test/miou_point" in notes[0] and "single-89abcdef.json" in notes[0]


def test_doubts_of_a_mean_are_said(tmp_path):
    make_run(tmp_path / "a", 0)
    make_run(tmp_path / "b", 0)
    other = make_run(tmp_path / "c", 1)
    write(other / "environment.json", '{"commit": "1234567890"}')
    _, notes = rows_of(tmp_path)
    assert "a and 2 more: seed 0 stands there more than once" in notes[0]
    assert "of different commits, 1234567, abcdef0" in notes[1]


def test_an_unknown_metric_lists_what_there_is(tmp_path):
    add_test(make_run(tmp_path / "run"), ONE)
    runs, _ = read_runs(tmp_path)
    assert known_metrics(runs) == ["test/miou_point", "train/loss_epoch", MIOU]
    with pytest.raises(ValueError, match=r"metric=val/mious; there is test/miou_point, train/"):
        measure(runs, "val/mious")


def test_nan_is_no_value(tmp_path):
    make_run(tmp_path / "run", epochs=(float("nan"),))
    assert rows_of(tmp_path)[0][0].mean is None


def test_short_names():
    found = short_names([Path("/x/a/0"), Path("/x/b/0"), Path("/x/c/1"), Path("/y/b/0")])
    assert found == ["a/0", "x/b/0", "1", "y/b/0"]


def test_the_table_of_runs(tmp_path):
    for seed in (0, 1):
        seconds = {"epoch_seconds": [100.0 * (seed + 1)] * 3, "memory_mib": 2048.0}
        make_run(tmp_path / f"s{seed}", seed, epochs=(0.1, 0.5 + seed / 10, 0.2), record=seconds)
    short = {"state": "interrupted", "epochs": 3}
    make_run(tmp_path / "x", model="votr", record=short, trainer__max_epochs=9)
    rows, notes = rows_of(tmp_path)
    table = table_of_runs(rows, MIOU, notes)
    cells = {c.title: c.cells for c in table.columns if c.shown}
    assert cells == {
        "run": ("s0 and 1 more", "x"),
        "model": ("minkunet14a", "votr"),
        "trainer.max_epochs": ("3", "9"),
        MIOU: ("0.5500 ± 0.0707 (n=2)", "0.5000"),
        "state": ("finished", "interrupted"),
        "epochs": ("3", "3 of 9"),
        "steps": ("6", "6"),
        "seeds": ("0, 1", "0"),
        "commit": ("abcdef0", "abcdef0"),
        "time": ("7.5 min", "4.5 s"),
        "memory": ("2.0 GiB", "512 MiB"),
    }
    assert table.column("seconds").values == (450.0, 4.5)
    assert table.column(f"{MIOU} std").values[1] is None and table.column("n").values == (2, 1)
    assert len(SCENES) == 2
    assert "validation" in table.notes[0] and "sample standard deviation" in table.notes[1]
