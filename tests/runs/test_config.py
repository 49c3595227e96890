"""In which keys configurations differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from pc3d.runs.config import differing, identities
from pc3d.runs.reading import Run, read_run
from tests.runs.folders import make_run


@pytest.fixture
def run(tmp_path: Path):
    """Make a run of its own folder and read it."""
    made: list[Path] = []

    def make(seed: int = 0, **changes) -> Run:
        made.append(make_run(tmp_path / str(len(made)), seed, **changes))
        return read_run(made[-1])[0]

    return make


def columns(*runs: Run) -> list[dict]:
    return differing([run.config for run in runs], [run.choices for run in runs])


def test_paths_and_seeds_are_no_difference(run):
    runs = [run(0), run(1), run(2, paths__data_dir="/elsewhere", logger={"csv": {"name": "x"}})]
    other = run(3, dataset__reader={"root": "/elsewhere/rooms", "axis_align": False})
    other.config["paths.data_dir"]  # it is there
    assert columns(*runs[:2]) == [{}, {}]
    assert len(set(identities([r.config for r in runs[:2]]))) == 1
    # The same folder of the same data, seen from two machines.
    moved = run(4, paths__data_dir="/mnt", dataset__reader={"root": "/mnt/rooms", "axis_align": 0})
    assert moved.config["dataset.reader.root"] == "<data_dir>/rooms"
    assert columns(runs[0], other)[1] == {"dataset.reader.root": "/elsewhere/rooms"}


def test_a_path_that_only_begins_alike_stays(run):
    found = run(dataset__reader={"root": "/data2/rooms"})
    assert found.config["dataset.reader.root"] == "/data2/rooms"


def test_a_seed_of_its_own_is_a_difference(run):
    """`dataset.prepare.seed` is that of the rooms; it is 0 as the run's seed is, by chance."""
    runs = [run(0), run(1), run(0, dataset__prepare={"seed": 5})]
    assert [row.get("dataset.prepare.seed") for row in columns(*runs)] == [0, 0, 5]
    same = identities([r.config for r in runs])
    assert same[0] == same[1] != same[2]


def test_only_what_differs_is_shown(run):
    runs = [run(), run(optimizer__lr=0.1), run(augment__train=[{"_target_": "Flip"}])]
    assert columns(*runs) == [
        {"optimizer.lr": 0.01, "augment.train.1._target_": "Rotate", "augment.train.1.p": 0.5},
        {"optimizer.lr": 0.1, "augment.train.1._target_": "Rotate", "augment.train.1.p": 0.5},
        {"optimizer.lr": 0.01, "augment.train.1._target_": "-", "augment.train.1.p": "-"},
    ]


def test_the_name_of_a_choice_stands_for_its_keys(run):
    runs = [run(), run(model="minkunet34c"), run(model="votr")]
    assert columns(*runs) == [{"model": n} for n in ("minkunet14a", "minkunet34c", "votr")]


def test_keys_of_the_same_choice_stand_beside_it(run):
    runs = [run(), run(model__depths=[2, 2]), run(model="votr")]
    assert columns(*runs) == [
        {"model.depths": [1, 2], "model": "minkunet14a"},
        {"model.depths": [2, 2], "model": "minkunet14a"},
        {"model.depths": [1, 2], "model": "votr"},
    ]


def test_without_names_of_choices_the_keys_are_shown(run):
    runs = [run(), run(model="votr")]
    configs = [r.config for r in runs]
    assert differing(configs, [{}, {}]) == [{"model.width": 11}, {"model.width": 4}]


def test_one_that_is_true_is_not_one_that_is_1(run):
    runs = [run(task={"flag": 1}), run(task={"flag": True})]
    assert columns(*runs)[1] == {"task.flag": True}
