"""Two labelled files: scores by hand, ids that are mapped or do not count, wrong pairs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pc3d.cli import evaluate as program
from pc3d.io.ply import write_vertices
from tests.cli.test_predict import room  # noqa: F401
from tests.inference.conftest import points, weights  # noqa: F401

TRUTH = [2, 2, 2, 2, 5, 5, 5, 6, 6, 1]
PRED = [2, 2, 5, 9, 5, 5, 2, 6, 9, 6]


def write(path: Path, labels, column: str = "classification", shift: float = 0.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    place = np.arange(len(labels), dtype=np.float64) + shift
    vertices = {"x": place, "y": place * 2, "z": place * 0}
    write_vertices(path, {**vertices, column: np.array(labels, dtype=np.int32)})
    return path


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the program on files in `tmp_path`; returns the JSON and what was shown."""

    def call(*arguments: str, code: int = 0):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["eval", *arguments, "out=a=b.json"])
        if code:
            with pytest.raises(SystemExit) as stopped:
                program.main()
            assert stopped.value.code == code and not Path("a=b.json").exists()
            return capsys.readouterr().err
        program.main()
        return json.loads(Path("a=b.json").read_text()), capsys.readouterr().out

    return call


def test_scores_by_hand(run, tmp_path):
    write(tmp_path / "truth.ply", TRUTH)
    write(tmp_path / "pred.ply", PRED)
    found, shown = run("pred=pred.ply", "truth=truth.ply", "ignore=[1]")
    # 2: 2 right, 1 false (the 5), 2 missed. 5: 2 right, 1 false, 1 missed. 6: 1 right, 1 missed.
    # The prediction 9 of no class is a miss; the point whose truth is ignored does not count.
    assert [row["iou"] for row in found["classes"]] == pytest.approx([2 / 5, 2 / 4, 1 / 2])
    assert [row["name"] for row in found["classes"]] == ["2", "5", "6"]
    assert found["miou"] == pytest.approx((2 / 5 + 1 / 2 + 1 / 2) / 3)
    assert found["oa"] == pytest.approx(5 / 9)
    assert (found["num_points"], found["num_labelled"]) == (10, 9)
    assert found["confusion"][0] == [2, 1, 0, 1]
    assert f"{100 * (2 / 5 + 1) / 3:.2f}" in shown


def test_ids_become_others(run, tmp_path):
    write(tmp_path / "truth.ply", TRUTH)
    write(tmp_path / "pred.ply", PRED)
    found, _ = run("pred=pred.ply", "truth=truth.ply", "ignore=[1]", "map={9:6,5:2}")
    assert [row["name"] for row in found["classes"]] == ["2", "6"]
    assert found["confusion"] == [[6, 1, 0], [0, 2, 0]]


@pytest.mark.parametrize(
    ("mapping", "names", "miou"),
    [
        ("{2:5,5:2}", ["2", "5", "6"], (2 / 5 + 2 / 4 + 1 / 2) / 3),  # both are swapped
        ("{2:5,5:6}", ["5", "6"], (2 / 5 + 3 / 6) / 2),
        ("{2:2}", ["2", "5", "6"], (2 / 5 + 2 / 4 + 1 / 2) / 3),
    ],
)
def test_ids_that_others_become_count(run, tmp_path, mapping, names, miou):
    write(tmp_path / "truth.ply", TRUTH)
    write(tmp_path / "pred.ply", PRED)
    found, _ = run("pred=pred.ply", "truth=truth.ply", "ignore=[1]", f"map={mapping}")
    assert [row["name"] for row in found["classes"]] == names
    assert found["miou"] == pytest.approx(miou)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("map={1.5:2}", "map={1.5: 2}: expected a map like"),
        ("map=3", "map=3: expected"),
        ("ignore=[1.5]", "ignore=[1.5]: expected a list like"),
        ("ignore=1", "ignore=1: expected"),
        ("pred=", "pred=: expected a path"),
    ],
)
def test_options_of_another_kind(run, tmp_path, argument, words):
    write(tmp_path / "truth.ply", TRUTH)
    write(tmp_path / "pred.ply", PRED)
    assert words in run("pred=pred.ply", "truth=truth.ply", argument, code=1)


def test_scores_do_not_replace_what_is_compared(tmp_path, monkeypatch, capsys):
    write(tmp_path / "truth.ply", TRUTH)
    write(tmp_path / "pred.ply", PRED)
    (tmp_path / "folder").mkdir()
    before = (tmp_path / "truth.ply").read_bytes()
    monkeypatch.chdir(tmp_path)
    for out in ("truth.ply", "./pred.ply", "folder"):
        arguments = ["eval", "pred=pred.ply", "truth=truth.ply", f"out={out}"]
        monkeypatch.setattr("sys.argv", arguments)
        with pytest.raises(SystemExit):
            program.main()
        assert f"out={Path(out)} is a folder or a file" in capsys.readouterr().err
    assert (tmp_path / "truth.ply").read_bytes() == before


def test_ids_that_the_classes_do_not_have(run, tmp_path):
    write(tmp_path / "truth.ply", [1, 2, 77, 78])
    write(tmp_path / "pred.ply", [1, 1, 1, 2])
    found, _ = run("pred=pred.ply", "truth=truth.ply", "classes=scannet20", "ignore=others")
    assert found["num_labelled"] == 2 and found["oa"] == 0.5


def test_the_new_classification_counts_not_an_old_one_beside_it(run, tmp_path):
    place = np.arange(3.0)
    old = {"scalar_Classification": np.array([2, 5, 6], np.float32)}
    xyz = dict.fromkeys("xyz", place)
    write_vertices(tmp_path / "truth.ply", {**xyz, **old})
    new = {"classification": np.array([2, 2, 2], np.uint8)}
    write_vertices(tmp_path / "pred.ply", {**xyz, **old, **new})
    assert run("pred=pred.ply", "truth=truth.ply")[0]["oa"] == pytest.approx(1 / 3)


def test_names_of_one_file_do_not_trouble_the_other(run, tmp_path):
    write(tmp_path / "pred.ply", [2, 5])
    (tmp_path / "truth.txt").write_text("0 0 0 9 2\n1 2 0 9 5\n")
    arguments = ["pred=pred.ply", "truth=truth.txt", "names=[x,y,z,_,label]"]
    assert run(*arguments)[0]["miou"] == 1


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"1 2 3\n", np.array(PRED).tobytes()])
def test_damaged_lists_of_labels_are_named(run, tmp_path, content):
    write(tmp_path / "truth.ply", TRUTH)
    (tmp_path / "pred.npy").write_bytes(content)
    assert "pred.npy" in run("pred=pred.npy", "truth=truth.ply", code=1)


def test_points_that_only_one_file_has(run, tmp_path):
    xyz = {axis: np.arange(3.0) for axis in "xyz"}
    holes = {**xyz, "y": np.array([0, np.nan, 2])}
    label = {"label": np.array([2, 5, 6], np.uint8)}
    write_vertices(tmp_path / "truth.ply", {**holes, **label})
    write_vertices(tmp_path / "pred.ply", {**holes, **label})
    assert run("pred=pred.ply", "truth=truth.ply")[0]["miou"] == 1
    write_vertices(tmp_path / "pred.ply", {**xyz, **label})
    Path("a=b.json").unlink()
    assert "1 of 3 are apart (first at row 1)" in run("pred=pred.ply", "truth=truth.ply", code=1)


def test_folders_are_pooled_by_name(run, tmp_path):
    write(tmp_path / "truth" / "a.ply", TRUTH)
    write(tmp_path / "truth" / "deep" / "b.ply", [2, 2])
    write(tmp_path / "pred" / "a.labelled.ply", PRED)
    write(tmp_path / "pred" / "deep" / "b.ply", [2, 5])
    found, _ = run("pred=pred", "truth=truth", "ignore=[1]")
    assert found["confusion"][0] == [3, 2, 0, 1]
    assert found["num_points"] == 12 and len(found["scenes"]) == 2
    (tmp_path / "pred" / "deep" / "b.ply").unlink()
    Path("a=b.json").unlink()
    assert "has no prediction of deep/b" in run("pred=pred", "truth=truth", code=1)
    write(tmp_path / "pred" / "deep" / "b.ply", [2, 5])
    (tmp_path / "pred" / "deep" / "b.las").touch()
    assert "have the same name" in run("pred=pred", "truth=truth", code=1)


def test_classes_have_names(run, tmp_path):
    write(tmp_path / "truth.ply", [1, 2, 39, 77])
    write(tmp_path / "pred.ply", [1, 2, 39, 3])
    arguments = ["pred=pred.ply", "truth=truth.ply", "classes=scannet20"]
    assert "ids [77] are not of scannet20" in run(*arguments, code=1)
    found, _ = run(*arguments, "ignore=[77]")
    names = [row["name"] for row in found["classes"]]
    assert names[0] == "wall" and len(names) == 20 and found["miou"] == 1
    Path("a=b.json").unlink()
    assert "scannet20, " in run(*arguments[:2], "classes=scannet21", code=1)


def test_the_map_of_a_label_space_counts(run, tmp_path):
    """Moving cars are cars, 0 and 52 do not count, and what is said comes before what is known."""
    write(tmp_path / "truth.ply", [10, 252, 252, 0, 52, 40, 40, 99, 99])
    write(tmp_path / "pred.ply", [252, 10, 40, 10, 40, 40, 10, 40, 0])
    found, _ = run("pred=pred.ply", "truth=truth.ply", "classes=semantickitti19")
    rows = {row["name"]: row for row in found["classes"]}
    car, road = (list(rows).index(name) for name in ("car", "road"))
    confusion = np.array(found["confusion"])
    assert confusion[car, [car, road]].tolist() == [2, 1]
    assert confusion[road, [road, car]].tolist() == [1, 1] and confusion.sum() == 5
    found, _ = run("pred=pred.ply", "truth=truth.ply", "classes=semantickitti19", "map={52:252}")
    confusion = np.array(found["confusion"])
    assert confusion[car, [car, road]].tolist() == [2, 2] and confusion.sum() == 6
    found, _ = run("pred=pred.ply", "truth=truth.ply", "classes=semantickitti19", "ignore=[252]")
    assert np.array(found["confusion"]).sum() == 3


def test_labels_alone_and_columns_by_name(run, tmp_path):
    np.save(tmp_path / "pred.npy", np.array(PRED))
    write(tmp_path / "truth.ply", TRUTH, column="gt")
    assert "no column holds labels; it has gt" in run("pred=pred.npy", "truth=truth.ply", code=1)
    found, _ = run("pred=pred.npy", "truth=truth.ply", "truth_column=gt", "ignore=[1]")
    assert found["oa"] == pytest.approx(5 / 9)


def test_files_that_do_not_belong_together(run, tmp_path):
    write(tmp_path / "truth.ply", TRUTH)
    write(tmp_path / "pred.ply", PRED[:-1])
    assert "has 9 points, truth.ply has 10" in run("pred=pred.ply", "truth=truth.ply", code=1)
    write(tmp_path / "pred.ply", PRED, shift=0.02)
    assert "10 of 10 are apart" in run("pred=pred.ply", "truth=truth.ply", code=1)
    write(tmp_path / "pred.ply", PRED, shift=0.004)
    assert run("pred=pred.ply", "truth=truth.ply")[0]["num_points"] == 10
    Path("a=b.json").unlink()
    assert "at pred=none.ply" in run("pred=none.ply", "truth=truth.ply", code=1)
    assert "two files or two folders" in run("pred=pred.ply", "truth=.", code=1)
    assert "no id is left to score" in run(
        "pred=pred.ply", "truth=truth.ply", "ignore=[1,2,5,6]", code=1
    )


def test_columns_names_and_classes_of_weights(room, monkeypatch):  # noqa: F811
    place = np.arange(4.0)
    xyz = np.stack([place, place, place], axis=1)
    ids = {"mine": np.array([2, 5, 5, 6], np.int32), "label": np.zeros(4, np.int32)}
    write_vertices(room / "p.ply", {**dict.fromkeys("xyz", place), **ids})
    np.savetxt(room / "t.txt", np.column_stack([xyz, [2, 2, 5, 6]]))

    def scores(*arguments):
        monkeypatch.setattr("sys.argv", ["eval", *arguments, "out=s.json"])
        program.main()
        return json.loads((room / "s.json").read_text())

    np.save(room / "t.npy", np.array([2, 2, 5, 6]))
    assert scores("pred=p.ply", "truth=t.npy", "pred_column=mine")["oa"] == 0.75
    np.savetxt(room / "p.txt", np.column_stack([xyz, [2, 5, 5, 6]]))
    found = scores("pred=p.txt", "truth=t.txt", "names=[x,y,z,label]")
    assert found["oa"] == 0.75
    named = ["pred=p.ply", "truth=t.npy", "pred_column=mine", "classes=net=1.safetensors"]
    assert [row["name"] for row in scores(*named)["classes"]] == ["ground", "tree", "roof"]
    assert [row["name"] for row in scores(*named, "map={6:5}")["classes"]] == ["ground", "tree"]


def test_copies_beside_their_originals(run, tmp_path):
    write(tmp_path / "in" / "a.ply", TRUTH)
    assert "a.ply would be compared with itself" in run("pred=in", "truth=in", code=1)
    write(tmp_path / "in" / "a.labelled.ply", PRED)
    found, _ = run("pred=in", "truth=in", "ignore=[1]")
    assert found["oa"] == pytest.approx(5 / 9) and found["scenes"] == ["in/a.labelled.ply"]
