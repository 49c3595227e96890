from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pc3d.data.specs import SCANNET20
from pc3d.io.ply import write_vertices
from tests.visualize.rooms import make_room
from tests.visualize.test_render import decode_png
from tests.visualize.test_scene import read_scene, views
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
    normals = dict(
        zip(("nx", "ny", "nz"), np.eye(3, dtype=np.float32)[ROOM.labels % 3].T, strict=True)
    )
    write_vertices(folder / "normals.ply", columns | normals)
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
    assert views(scene) == ["INPUT", "height", "GROUND TRUTH", "PREDICTION", "error"]
    assert "this scene: mIoU 100.0 %" in scene["subtitle"]
    assert [c["name"] for c in scene["classes"]] == ["wall", "floor", "chair", "unlabelled"]
    assert f"{len(scene['xyz'])} of 3,000 points" in capsys.readouterr().out
    assert len(scene["xyz"]) <= 800


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("bare", ["HEIGHT"]),
        ("intensity", ["INTENSITY", "height"]),
        ("room", ["INPUT", "height"]),
        ("normals", ["HEIGHT", "normals"]),
    ],
)
def test_the_first_view_is_what_the_file_has(files: Path, name: str, found: list[str]):
    main([f"scene={files}/{name}.ply", f"out={files}/o.html"])
    assert views(read_scene(files / "o.html")) == found


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
        (
            ["scen=a.ply"],
            "scene, layers, block, explain, labels, pred, spec, ignore, voxel_size",
        ),
        (["a.ply"], "'a.ply' is not key=value"),
        (["out=a.html"], "run=<run folder> or scene=<file.ply>"),
        (["scene=a.ply", "spec=scanet"], "known: scannet20"),
        (["scene=a.ply", "viewer=window"], "viewer must be page or open3d"),
        (["scene=a.ply", "block=decoder.0.0"], "block: only a scene of a run has these"),
        (["run=a", "pred=a.npy", "spec=s3dis13"], "pred, spec: a run says these itself"),
        (["run=nowhere"], "nowhere is not a run folder"),
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
    np.save(files / "short.npy", ROOM.labels[1:])
    np.save(files / "unknown.npy", ROOM.labels + 30)
    np.save(files / "floats.npy", ROOM.labels / 2)
    ids = (ROOM.labels + 90).astype(np.int32)
    write_vertices(files / "ids.ply", dict.fromkeys("xyz", ROOM.xyz[:, 0]) | {"label": ids})
    empty = "ply\nformat ascii 1.0\nelement vertex 0\n"
    empty += "".join(f"property float {axis}\n" for axis in "xyz") + "end_header\n"
    (files / "empty.ply").write_text(empty)
    for arguments, message in (
        ([f"labels={files}/bare.ply"], "bare.ply has no column of labels"),
        ([f"labels={files}/nowhere.npy"], "no file"),
        ([f"pred={files}/short.npy"], "short.npy has 2,999 points, but the scene has 3,000"),
        ([f"pred={files}/unknown.npy"], "unknown.npy: class indices must be -1..19"),
        ([f"pred={files}/floats.npy"], "one class per point, [P] integers; got [3000] float64"),
        ([f"labels={files}/ids.ply"], "ids.ply: label ids [89"),
        ([f"scene={files}/empty.ply"], "empty.ply: no points"),
        (["layers=error"], "no layer error; this scene has input, height"),
        (["layers=chosen_code", f"out={files}/o.png"], "no layer chosen code; this scene has"),
        (["max_points=300001"], "at most 300,000 points"),
        (["voxel_size=small"], "voxel_size=small is not a number of metres"),
        (["voxel_size=0"], "voxel_size must be a positive number"),
        (["voxel_size=1e-9"], "too small for a scene of 4.0 x 3.0 x 2.0 m"),
        ([f"out={files}/o.gif"], "must end in .html"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([f"scene={files}/room.ply", f"out={files}/o.html", *arguments])
        assert message in str(ended.value)
    assert not (files / "o.html").exists()
