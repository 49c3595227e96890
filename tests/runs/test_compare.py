"""Which tests may be compared, and where their scenes are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pc3d.runs.compare import find_results, pair
from pc3d.runs.results import TestResult, read_result, scene_counts
from tests.runs.folders import DIGEST, PROTOCOL, SCENES, add_test, make_run

ONE = [[[3, 1], [0, 4]], [[1, 0], [5, 2]]]
SETTINGS = {"views": [{"angle": 0.0}], "fragments": False}


def result(path: Path) -> TestResult:
    return TestResult(path, read_result(path))


def test_the_counts_of_scenes(tmp_path):
    path = add_test(make_run(tmp_path / "run"), ONE)
    np.testing.assert_array_equal(scene_counts(result(path)), ONE)


def test_a_split_with_a_dash(tmp_path):
    path = add_test(make_run(tmp_path / "run"), ONE, split="val-2")
    np.testing.assert_array_equal(scene_counts(result(path)), ONE)


def test_counts_that_are_not_there(tmp_path):
    path = add_test(make_run(tmp_path / "run"), ONE, keep=False)
    with pytest.raises(FileNotFoundError, match=r"unless predictions=false.*Test it again"):
        scene_counts(result(path))


def test_counts_of_another_test(tmp_path):
    """Their sum is not the matrix of the result."""
    run = make_run(tmp_path / "run")
    path = add_test(run, ONE)
    content = json.loads(path.read_text())
    content["confusion"][0][0] += 1
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="do not add up to the confusion matrix"):
        scene_counts(result(path))


def test_damaged_counts(tmp_path):
    run = make_run(tmp_path / "run")
    path = add_test(run, ONE)
    counts = run / "predictions" / DIGEST / "test" / PROTOCOL / "counts" / f"{SCENES[1]}.npz"
    counts.write_bytes(counts.read_bytes()[:50])
    with pytest.raises(ValueError, match="npz is damaged"):
        scene_counts(result(path))
    np.savez(counts, matrix=np.zeros((3, 3), dtype=np.int64))
    with pytest.raises(ValueError, match="of other classes"):
        scene_counts(result(path))


@pytest.mark.parametrize("name", ["a", "x/a", "{folder}/x/a", "{folder}/x/a/test/{file}"])
def test_a_run_by_name_by_folder_by_file(tmp_path, name):
    path = add_test(make_run(tmp_path / "x" / "a"), ONE)
    make_run(tmp_path / "x" / "b")
    text = name.format(folder=tmp_path, file=path.name)
    (found,) = find_results(text, tmp_path, "test", "")
    assert found.path == path


def test_no_such_run_no_such_test(tmp_path):
    add_test(make_run(tmp_path / "x" / "a"), ONE, split="val", metric="val/miou_point_tta4")
    make_run(tmp_path / "y" / "a")
    with pytest.raises(FileNotFoundError, match=r"c is neither .* which has x/a, y/a"):
        find_results("c", tmp_path, "test", "")
    with pytest.raises(FileNotFoundError, match="which has none"):
        find_results("c", tmp_path / "nowhere", "test", "")
    with pytest.raises(ValueError, match=r"a may be .*say which"):
        find_results("a", tmp_path, "test", "")
    with pytest.raises(FileNotFoundError, match="no test of split test; it has val/miou_poi"):
        find_results("x/a", tmp_path, "test", "")
    with pytest.raises(FileNotFoundError, match="no test of split val with val/miou_point; it has"):
        find_results("x/a", tmp_path, "val", "val/miou_point")
    with pytest.raises(FileNotFoundError, match=r"it has no tests. Test it: python test.py run="):
        find_results("y/a", tmp_path, "test", "")


def test_a_broken_test_is_named(tmp_path):
    run = make_run(tmp_path / "a")
    (run / "test").mkdir()
    (run / "test" / "test-0.json").write_text("{half")
    with pytest.raises(FileNotFoundError, match=r"no tests(.|\n)*is not a result of test.py"):
        find_results("a", tmp_path, "test", "")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"label_space": "rooms4"}, "other classes: 2 classes of rooms3 and 2 classes of rooms4"),
        ({"classes": [{"name": "floor"}, {"name": "wall"}]}, "other classes"),
        ({"scenes": ["a", "x"]}, "other scenes: only the first has b/c, only the second x"),
        ({"metric": "test/miou_point_tta4"}, "other protocols: test/miou_point and test/miou_p"),
        ({"split": "val"}, "other splits: test and val"),
        ({"settings": {**SETTINGS, "views": [{"angle": 9.0}]}}, "other protocols: views"),
        (
            {"settings": {**SETTINGS, "fragments": True}},
            "protocols: fragments False and True",
        ),
    ],
)
def test_what_cannot_be_compared_says_why(tmp_path, changes, expected):
    ours = result(add_test(make_run(tmp_path / "a"), ONE))
    theirs = result(add_test(make_run(tmp_path / "b"), ONE, **changes))
    with pytest.raises(ValueError, match="cannot be compared") as error:
        pair([ours], [theirs])
    assert expected in str(error.value)


def test_of_several_tests_the_pair_that_fits_is_taken(tmp_path):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    single = [result(add_test(run, ONE)) for run in (a, b)]
    tta = result(add_test(a, ONE, metric="test/miou_point_tta4", name="tta4-0"))
    assert pair([single[0], tta], [single[1]]) == (single[0], single[1])
    other = result(add_test(b, ONE, metric="test/miou_point_tta4", name="tta4-1"))
    with pytest.raises(ValueError, match="there are 2 pairs of tests; say metric="):
        pair([single[0], tta], [single[1], other])


def test_the_order_of_scenes_does_not_matter(tmp_path):
    ours = result(add_test(make_run(tmp_path / "a"), ONE))
    theirs = result(add_test(make_run(tmp_path / "b"), ONE[::-1], scenes=list(SCENES[::-1])))
    assert pair([ours], [theirs]) == (ours, theirs)
    assert ours.protocol == theirs.protocol
