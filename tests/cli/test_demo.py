"""The first minute, in this process."""

from __future__ import annotations

from pathlib import Path

import laspy
import numpy as np
import pytest

from pc3d.cli import demo
from pc3d.data.datasets import ScanNet
from pc3d.data.specs import SCANNET20


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["demo", *arguments])
    demo.main()


def test_a_room_is_labelled_and_shown(tmp_path, monkeypatch, capsys):
    run(monkeypatch, tmp_path, "out=a b/first")
    shown = capsys.readouterr().out
    out = tmp_path / "a b" / "first"
    assert (out / "room.png").read_bytes()[1:4] == b"PNG"
    page = (out / "room.html").read_text()
    assert all(text in page for text in ("input", "ground truth", "prediction", "chosen code"))
    room = ScanNet(out / "scan").read(demo.SCENE, "test")
    las = laspy.read(out / "room.laz")
    np.testing.assert_allclose(las.xyz - room.origin, room.xyz, atol=1e-5)
    classes = SCANNET20.to_class(np.asarray(las.classification).astype(np.int64), "room.laz")
    assert 0 < las.confidence.min() <= las.confidence.max() <= 1
    known = room.segment >= 0
    accuracy = 100 * (classes == room.segment)[known].mean()
    assert accuracy > 80 and f"OA {accuracy:.2f} %" in shown
    assert all(command in shown for command in demo.NEXT) and "a b/first/room.html" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["room=3"], "pc3d demo takes out=<folder>"),
        (["out="], "pc3d demo takes out=<folder>"),
        (["out=taken"], "taken"),
    ],
)
def test_wrong_arguments_are_one_message(arguments, words, tmp_path, monkeypatch, capsys):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, tmp_path, *arguments)
    error = capsys.readouterr().err
    assert stopped.value.code == 1 and words in error and "Traceback" not in error
    assert (tmp_path / "taken").read_text() == "mine"


def test_layers_are_what_they_are_called(tmp_path, monkeypatch):
    shown = []

    def keep(path, *arguments, **_):
        layers = next(a for a in arguments if isinstance(a, list))
        shown.append({layer.name: layer.values for layer in layers})

    monkeypatch.setattr(demo, "write_page", keep)
    monkeypatch.setattr(demo, "write_picture", keep)
    run(monkeypatch, tmp_path, "out=a")
    room = ScanNet(tmp_path / "a" / "scan").read(demo.SCENE, "test")
    assert len(shown) == 2
    for layers in shown:
        np.testing.assert_array_equal(layers["ground truth"], room.segment)
        assert (layers["prediction"] >= 0).all()
