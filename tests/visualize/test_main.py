from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pc3d.data.specs import SCANNET20
from pc3d.io.ply import write_vertices
from tests.visualize.rooms import make_room
from tests.visualize.test_render import decode_png
from tests.visualize.test_scene import read_scene
from visualize.__main__ import main, parse

ROOM = make_room()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Points, labels in NYU40 ids and a prediction, in a folder with an awkward name."""
    folder = tmp_path / "a=b [1]"
    folder.mkdir()
    columns = dict(zip("xyz", ROOM.xyz.T, strict=True))
    colors = dict(zip(("red", "green", "blue"), ROOM.rgb.T, strict=True))
    raw = np.where(ROOM.labels < 0, 0, SCANNET20.to_raw(ROOM.labels.clip(0))).astype(np.uint16)
    write_vertices(folder / "room.ply", columns | colors)
    write_vertices(folder / "bare.ply", columns)
    write_vertices(folder / "intensity.ply", columns | {"intensity": ROOM.xyz[:, 0]})
    write_vertices(folder / "labels.ply", columns | {"label": raw})
    np.save(folder / "pred.npy", ROOM.labels.clip(0))
    return folder


def test_page_of_scene_labels_and_prediction(files: Path, capsys: pytest.CaptureFixture[str]):
    main(
        [
            f"scene={files}/room.ply",
            f"labels={files}/labels.ply",
            f"pred={files}/pred.npy",
            f"out={files}/o.html",
            "max_points=800",
        ]
    )
    scene = read_scene(files / "o.html")
    assert [layer["name"] for layer in scene["layers"]] == ["input", "ground truth", "prediction"]
    assert [c["name"] for c in scene["classes"]] == ["wall", "floor", "chair", "unlabelled"]
    assert f"{len(scene['xyz'])} of 3,000 points" in capsys.readouterr().out
    assert len(scene["xyz"]) <= 800


@pytest.mark.parametrize(
    ("name", "caption"), [("bare", "height"), ("intensity", "intensity"), ("room", "input")]
)
def test_the_first_view_is_what_the_file_has(files: Path, name: str, caption: str):
    main([f"scene={files}/{name}.ply", f"out={files}/o.html"])
    assert [layer["name"] for layer in read_scene(files / "o.html")["layers"]] == [caption]


def test_png_and_default_output(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    main([f"scene={files}/room.ply", f"out={files}/o.png"])
    assert decode_png((files / "o.png").read_bytes()).shape[2] == 3
    monkeypatch.chdir(tmp_path)
    main([f"scene={files}/room.ply"])
    assert (tmp_path / "room.html").is_file()


def test_arguments_split_at_the_first_equals_sign():
    assert parse(["scene=a=b.ply"])["scene"] == "a=b.ply"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scen=a.ply"], "scene, block, labels, pred, spec, max_points, out"),
        (["a.ply"], "'a.ply' is not key=value"),
        (["out=a.html"], "run=<run folder> or scene=<file.ply>"),
        (["scene=a.ply", "spec=scanet"], "known: scannet20"),
        (["scene=a.ply", "max_points=many"], "not a number"),
        (["scene=nowhere.ply"], "nowhere.ply"),
        ([], "Keys:"),
    ],
)
def test_wrong_arguments_end_with_a_message(arguments: list[str], message: str):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert message in str(ended.value)


def test_wrong_files_end_with_a_message(files: Path):
    for arguments, message in (
        ([f"labels={files}/bare.ply"], "no `label`"),
        ([f"out={files}/o.gif"], "must end in .html"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([f"scene={files}/room.ply", *arguments])
        assert message in str(ended.value)
