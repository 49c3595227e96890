"""Pooling folds: the sum of the matrices, and what speaks against it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from pc3d.cli import pool as program
from pc3d.cli.pool import doubts, pool
from pc3d.cli.report import summary

NAMES = ("wall", "floor")
ONE = [[3, 1], [0, 4]]
TWO = [[1, 0], [5, 2]]


def result(matrix, scenes, **changes) -> dict:
    return {
        "metric": "test/miou_point",
        "protocol": "one pass",
        "label_space": "rooms2",
        **summary(torch.tensor(matrix), NAMES),
        "num_points": sum(map(sum, matrix)) + 1,
        "scenes": scenes,
        "settings": {"views": [{"angle": 0}], "voxel_size": 0.05},
        "checkpoint_hash": "abc",
        **changes,
    }


FOLDS = [result(ONE, ["Area_1/a", "Area_1/b"]), result(TWO, ["Area_2/a"])]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys, caplog):
    """Run the program on results that are written as test.py does; returns JSON and output."""

    def call(results, *arguments: str, code: int = 0):
        folders = []
        for number, content in enumerate(results):
            path = tmp_path / f"fold {number}" / "test" / f"test-{number}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content))
            folders.append(path.parents[1] if number % 2 else path)  # a file, a run folder, ...
        out = tmp_path / "out" / "pooled.json"
        runs = [f"run={folder}" for folder in folders]
        monkeypatch.setattr(sys, "argv", ["pool", *runs, f"out={out}", *arguments])
        if code:
            with pytest.raises(SystemExit):
                program.main()
            return None, capsys.readouterr().err
        with caplog.at_level("WARNING"):
            program.main()
        return json.loads(out.read_text()), capsys.readouterr().out + caplog.text

    return call


def test_matrices_are_summed_then_scored(run):
    found, output = run(FOLDS)
    # sum: [[4, 1], [5, 6]]
    assert found["confusion"] == [[4, 1], [5, 6]]
    assert [row["iou"] for row in found["classes"]] == pytest.approx([4 / 10, 6 / 12])
    assert found["miou"] == pytest.approx(0.45)
    assert found["oa"] == pytest.approx(10 / 16)
    assert found["macc"] == pytest.approx((4 / 5 + 6 / 11) / 2)
    mious = [(3 / 4 + 4 / 5) / 2, (1 / 6 + 2 / 7) / 2]
    assert [fold["miou"] for fold in found["folds"]] == pytest.approx(mious)
    assert found["mean_of_mious"] == pytest.approx(sum(mious) / 2)
    assert found["num_points"] == 8 + 8 + 2 and found["num_labelled"] == 16
    assert found["scenes"] == ["Area_1/a", "Area_1/b", "Area_2/a"]
    assert "45.00 %" in output and f"{50 * sum(mious):.2f} %" in output
    assert "not the pooled score" in output and "warning" not in output


def test_a_fold_twice_is_warned_of(run):
    _, output = run([FOLDS[0], FOLDS[1], FOLDS[0]])
    assert output.count("warning") == 1
    assert "both have 2 scenes, which count twice: Area_1/a, Area_1/b" in output


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"metric": "test/miou_point_tta10"}, "test/miou_point and test/miou_point_tta10"),
        ({"settings": {"views": [{"angle": 0}], "voxel_size": 0.02}}, "voxel_size 0.05 and 0.02"),
    ],
)
def test_other_protocols_are_warned_of(changes, expected):
    (doubt,) = doubts([FOLDS[0], {**FOLDS[1], **changes}], ["a", "b"])
    assert "a and b have other protocols" in doubt and expected in doubt


@pytest.mark.parametrize(
    "changes",
    [{"label_space": "rooms3"}, {"classes": FOLDS[0]["classes"][::-1]}],
    ids=["label space", "order of the classes"],
)
def test_other_classes_are_refused(run, changes):
    _, error = run([FOLDS[0], {**FOLDS[1], **changes}], code=1)
    assert "cannot be pooled" in error and "fold 1" in error


def test_absent_classes_have_their_policies_side_by_side(run):
    """A class in no fold is absent; one in a single fold is not."""
    folds = [result([[3, 0], [0, 0]], ["a"]), result([[1, 0], [0, 0]], ["b"])]
    found, output = run(folds)
    assert found["mious"] == {"nan": 1.0, "zero": 0.5, "one": 1.0, "labelled": 1.0}
    assert "absent as 0 (Pointcept, semantic-kitti-api): 50.00 %" in output
    assert "spvnas" not in output
    assert pool([folds[0], FOLDS[1]], ["a", "b"])["mious"]["zero"] == pytest.approx(
        pool([folds[0], FOLDS[1]], ["a", "b"])["miou"]
    )


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ("{half", "is not a result of test.py"),
        ({k: v for k, v in FOLDS[1].items() if k != "scenes"}, "lacks scenes"),
        ("[1]", "lacks metric"),
    ],
)
def test_what_is_no_result_is_named(run, second, expected):
    _, error = run([FOLDS[0], second], code=1)
    assert expected in error and "fold 1" in error


def test_wrong_arguments(run, tmp_path):
    assert "at least two results; got 1" in run([FOLDS[0]], code=1)[1]
    assert "'runs=x' is not run=" in run(FOLDS, "runs=x", code=1)[1]
    (tmp_path / "empty").mkdir()
    assert "has no test results" in run(FOLDS, f"run={tmp_path / 'empty'}", code=1)[1]
    Path(tmp_path / "fold 1" / "test" / "test-1-tta4-0a.json").write_text("{}")
    error = run(FOLDS, code=1)[1]
    assert "has 2 test results; name one of them" in error and "test-1-tta4-0a.json" in error
