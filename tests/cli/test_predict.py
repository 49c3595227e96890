"""Which files are labelled, and where what is written goes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pc3d.cli import predict as program
from pc3d.cli.config import compose_config
from pc3d.cli.predict import pairs
from pc3d.inference.files import Labelling
from pc3d.io.ply import read_vertices, write_vertices
from pc3d.models.weights import write_weights
from tests.inference.conftest import points, predictor, weights  # noqa: F401


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_a_copy_lies_beside_its_original(tmp_path):
    touch(tmp_path, "scan=1 (2).LAZ", "a.pcd", "b.npy", "c.txt")
    targets = [t.name for p in sorted(tmp_path.iterdir()) for _, t in pairs(p, None)]
    assert sorted(targets) == [
        "a.labelled.ply", "b.labelled.npy", "c.labelled.ply", "scan=1 (2).labelled.laz",
    ]  # fmt: skip


def test_an_output_is_a_file_or_a_folder(tmp_path):
    touch(tmp_path, "a.laz", "out/x")
    source = tmp_path / "a.laz"
    assert list(pairs(source, str(tmp_path / "b.PLY"))) == [(source, tmp_path / "b.PLY")]
    assert list(pairs(source, str(tmp_path / "out"))) == [(source, tmp_path / "out" / "a.laz")]
    for folder in ("new", "new.v2/"):
        target = tmp_path / folder / "a.laz"
        assert list(pairs(source, f"{tmp_path}/{folder}")) == [(source, target)]
    with pytest.raises(ValueError, match=r"output=.*b\.pcd: what can be written is .*\.ply"):
        list(pairs(source, str(tmp_path / "b.pcd")))


def test_a_folder_keeps_its_form_and_copies_are_not_labelled_again(tmp_path):
    touch(tmp_path, "in/a.laz", "in/deep/b.ply", "in/a.labelled.laz", "in/notes.md", "in/c.laz/x")
    touch(tmp_path, "in/._a.laz")  # of macOS
    found = list(pairs(tmp_path / "in", str(tmp_path / "out")))
    assert [t.relative_to(tmp_path).as_posix() for _, t in found] == ["out/a.laz", "out/deep/b.ply"]
    beside = [t.name for _, t in pairs(tmp_path / "in", None)]
    assert beside == ["a.labelled.laz", "b.labelled.ply"]
    touch(tmp_path, "in/a.labelled.confidence.npy")
    assert len(list(pairs(tmp_path / "in", None))) == 2
    up = [t.relative_to(tmp_path).as_posix() for _, t in pairs(tmp_path / "in", str(tmp_path))]
    assert up == ["a.laz", "deep/b.ply"]
    for out in (tmp_path / "in", tmp_path / "in" / "deep" / ".."):
        with pytest.raises(ValueError, match="must be another folder"):
            list(pairs(tmp_path / "in", str(out)))


def test_what_was_written_into_the_folder_is_not_labelled_again(tmp_path):
    touch(tmp_path, "a.laz", "deep/b.ply", "deep/out/a.laz", "deep/outer/c.ply")
    found = [s.name for s, _ in pairs(tmp_path, str(tmp_path / "deep" / "out"))]
    assert found == ["a.laz", "b.ply", "c.ply"]


def test_two_files_do_not_become_one(tmp_path):
    touch(tmp_path, "in/a.pcd", "in/a.txt")
    for out in (None, str(tmp_path / "out")):
        with pytest.raises(
            ValueError, match=r"a\.pcd and .*a\.txt would both become .*a(\.labelled)?\.ply"
        ):
            list(pairs(tmp_path / "in", out))


def test_what_is_added_to_npy_does_not_replace_other_results(tmp_path):
    touch(tmp_path, "in/a.npy", "in/a.b.npy")
    assert len(list(pairs(tmp_path / "in", str(tmp_path / "out")))) == 2
    touch(tmp_path, "in/b.npy", "in/b.p_wall.npy")
    with pytest.raises(ValueError, match=r"b\.npy and .*b\.p_wall\.npy would both become"):
        list(pairs(tmp_path / "in", str(tmp_path / "out")))
    touch(tmp_path, "more/a.npy", "more/a.confidence.npy")  # sorted the other way round
    with pytest.raises(ValueError, match=r"a\.npy and .*a\.confidence\.npy would both become"):
        list(pairs(tmp_path / "more", str(tmp_path / "out")))


def test_what_cannot_be_labelled_is_named(tmp_path):
    touch(tmp_path, "a.doc", "empty/x.md")
    with pytest.raises(ValueError, match=r"a\.doc: unknown extension; known: \.ply"):
        list(pairs(tmp_path / "a.doc", None))
    with pytest.raises(FileNotFoundError, match=r"input=.*nowhere"):
        list(pairs(tmp_path / "nowhere.ply", None))
    with pytest.raises(FileNotFoundError, match="no files of points"):
        list(pairs(tmp_path / "empty", None))


@pytest.fixture
def room(weights, points, tmp_path, monkeypatch):  # noqa: F811
    """A folder with weights and a file, which is the current one."""
    xyz, color = points
    write_weights(tmp_path / "net=1.safetensors", weights)
    vertices = {axis: xyz[:700, k] for k, axis in enumerate("xyz")}
    vertices |= {name: color[:700, k] for k, name in enumerate(("red", "green", "blue"))}
    write_vertices(tmp_path / "büro (1) [a]=2.ply", vertices)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["predict", *arguments])
    program.main()


def test_the_program(room, predictor, points, monkeypatch, capsys, caplog):  # noqa: F811
    with caplog.at_level("INFO"):
        run(monkeypatch, "ckpt=net=1.safetensors", "input=büro (1) [a]=2.ply", "confidence=true")
    found = read_vertices(room / "büro (1) [a]=2.labelled.ply")
    xyz, color = points
    expected = predictor.predict(xyz[:700], color[:700])
    np.testing.assert_array_equal(found["classification"], np.array([2, 5, 6])[expected.classes])
    np.testing.assert_array_equal(found["confidence"], expected.confidence)
    shown = capsys.readouterr().out
    assert "700 points" in shown
    for name, count in zip(("ground", "tree", "roof"), np.bincount(expected.classes), strict=True):
        assert not count or (f"{name}" in shown and f"{100 * count / 700:.1f} %" in shown)
    assert "written to büro (1) [a]=2.labelled.ply" in shown
    said = caplog.text
    assert "3 classes of three (ground, tree, roof)" in said and "windows of 12 m" in said
    assert "m large, if its coordinates are metres" in said


def test_one_damaged_file_does_not_keep_the_others(room, monkeypatch, capsys):
    whole = (room / "büro (1) [a]=2.ply").read_bytes()
    (room / "in").mkdir()
    for name, content in {"a": whole, "b": b"", "c": whole[:900], "d": whole}.items():
        (room / "in" / f"{name}.ply").write_bytes(content)
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, "ckpt=net=1.safetensors", "input=in", "output=out")
    error = capsys.readouterr().err
    assert stopped.value.code == 1 and "2 of 4 files were not labelled" in error
    assert "in/b.ply" in error and "in/c.ply" in error
    assert sorted(path.name for path in (room / "out").iterdir()) == ["a.ply", "d.ply"]
    assert (room / "out" / "a.ply").read_bytes() == (room / "out" / "d.ply").read_bytes()


def test_names_are_for_files_without(room, points, monkeypatch):  # noqa: F811
    (room / "in").mkdir()
    (room / "in" / "a.ply").write_bytes((room / "büro (1) [a]=2.ply").read_bytes())
    xyz, color = points
    np.save(room / "in" / "b.npy", np.column_stack([xyz[:90], color[:90], np.zeros(90)]))
    names = "names=[x,y,z,red,green,blue,_]"
    run(monkeypatch, "ckpt=net=1.safetensors", "input=in", "output=out", names)
    assert len(read_vertices(room / "out" / "a.ply")["x"]) == 700
    assert np.load(room / "out" / "b.npy").shape == (90,)


def test_help_is_the_file_of_options(monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, "--help")
    shown = capsys.readouterr().out
    assert stopped.value.code == 0 and "overlap: 0.25 # share of a window" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ckpt=net=1.safetensors"], "input"),
        (["ckpt=nothing", "input=x.ply"], "no file or folder at input=x.ply"),
        (["ckpt=rooms-x", "input=."], "no weights 'rooms-x'"),
        (["ckpt=net=1.safetensors", "input=.", "fill=[smell]"], "fill takes color"),
        (
            ["ckpt=net=1.safetensors", "input=.", "tile=3"],
            "tile=3: expected key=value with",
        ),
        (["ckpt=net=1.safetensors", "input="], "input=: expected a path"),
        (["ckpt=net=1.safetensors"], "say input=...; `pc3d predict --help`"),
        (
            ["ckpt=net=1.safetensors", "input=.", "confidence=yes"],
            "confidence=yes: expected true",
        ),
        (["ckpt=net=1.safetensors", "input=.", "names=null"], "names=None: expected a list like"),
        (["ckpt=net=1.safetensors", "input=.", "fill=color"], "fill=color: expected a list like"),
        (["ckpt=net=1.safetensors", "input=.", "columns.color=[1]"], "columns={"),
        (["ckpt=net=1.safetensors", "input=.", "divide_by.intensity=0"], "a number above 0"),
        (["ckpt=net=1.safetensors", "input=.", "overlap=abc"], "overlap=abc: expected a number"),
        (["ckpt=net=1.safetensors", "input=.", "device=gpu"], "device=gpu: there are cpu"),
        (
            ["ckpt=büro (1) [a]=2.ply", "input=."],
            "it is another kind of file",
        ),
        (["ckpt=net=1.safetensors", "input=büro (1) [a]=2.ply", "output=büro (1) [a]=2.ply"], ""),
        (
            ["ckpt=net=1.safetensors", "input=.", "extent=-3"],
            "extent=-3: expected a number",
        ),
    ],
)
def test_wrong_arguments_are_one_message(room, arguments, words, monkeypatch, capsys):
    before = {path: path.read_bytes() for path in room.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, *arguments)
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error
    assert {path: path.read_bytes() for path in room.rglob("*") if path.is_file()} == before


def test_every_option_arrives():
    given = ["ckpt=a", "input=b", "names=[x,y,z,_]", "columns.color=[a,b,c]", "fill=[normal]"]
    given += ["divide_by.intensity=4", "extent=7", "overlap=0.5"]
    given += ["confidence=true", "entropy=true", "probabilities=true"]
    assert program.labelling(compose_config("predict", given)) == Labelling(
        names=["x", "y", "z", "_"],
        columns={"color": ["a", "b", "c"]},
        divide_by={"intensity": 4},
        fill=["normal"],
        extent=7,
        overlap=0.5,
        confidence=True,
        entropy=True,
        probabilities=True,
    )
    assert program.labelling(compose_config("predict", given[:2])) == Labelling(names=[], fill=[])


def test_one_bad_file_skipped_points_and_the_device(room, monkeypatch, capsys, caplog):
    (room / "bad.ply").write_bytes(b"")
    with pytest.raises(SystemExit):
        run(monkeypatch, "ckpt=net=1.safetensors", "input=bad.ply")
    assert "files were not labelled" not in capsys.readouterr().err  # one file: its own message
    xyz = np.random.default_rng(0).random((50, 3))
    xyz[7] = np.nan
    vertices = {axis: xyz[:, k] for k, axis in enumerate("xyz")}
    colors = dict.fromkeys(("red", "green", "blue"), np.zeros(50, np.uint8))
    write_vertices(room / "holes.ply", {**vertices, **colors})
    devices = []
    load = program.load
    monkeypatch.setattr(program, "load", lambda n, d: devices.append(d) or load(n, d))
    run(monkeypatch, "ckpt=net=1.safetensors", "input=holes.ply", "device=cpu")
    assert "holes.ply: 1 points have values that are NaN or infinite" in caplog.text
    assert devices == ["cpu"]
