"""The data doctor: healthy data passes, each planted fault is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from data_prep import semantickitti
from data_prep.checks import check_scene, check_splits
from data_prep.preparation import run_program as prepare
from data_prep.verify import recognize, run_program, verify
from pc3d.data.datasets import S3DIS, NuScenes, ScanNet, SemanticKITTI
from pc3d.io.ply import write_vertices


def write_room(folder: Path, num_points: int = 200, seed: int = 0, **arrays) -> Path:
    """A processed room; keyword arguments replace arrays, None leaves one out."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal((num_points, 3))
    default = {
        "coord": (rng.random((num_points, 3)) * 4).astype(np.float32),
        "color": rng.integers(0, 256, (num_points, 3)).astype(np.uint8),
        "normal": (normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(np.float32),
        "segment20": rng.integers(-1, 20, num_points).astype(np.int16),
    }
    folder.mkdir(parents=True)
    for name, array in {**default, **arrays}.items():
        if array is not None:
            np.save(folder / f"{name}.npy", array)
    return folder


@pytest.fixture
def scannet(tmp_path) -> Path:
    root = tmp_path / "scannet"
    for number, path in enumerate(("train/scene0000_00", "val/scene0011_00", "test/scene0707_00")):
        labels = {"segment20": None} if path.startswith("test") else {}
        write_room(root / path, seed=number, **labels)
    return root


def found(root: Path, capsys) -> tuple[int, str]:
    status = run_program([str(root), "num_workers=0"])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def test_healthy_rooms_pass_and_their_labels_are_counted(scannet, capsys):
    status, text = found(scannet, capsys)
    assert status == 0, text
    assert "no problems found" in text
    assert "ScanNet at" in text
    assert "1,201" in text


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"coord": np.random.default_rng(0).random((200, 3)) * 4000}, "millimetres"),
        ({"coord": np.random.default_rng(0).random((200, 3)) * 0.004}, "0.004 m only"),
        ({"color": np.random.default_rng(0).random((200, 3))}, "0..1 instead of 0..255"),
        ({"color": np.full((200, 3), 300)}, "colours lie in 300..300"),
        ({"normal": np.full((200, 3), 1.0)}, "100.0% of the normals are not unit"),
        ({"coord": np.resize(np.eye(3) * 3, (200, 3))}, "98.5% of the points stand at the same"),
        ({"segment20": np.full(200, -1)}, "no point has a label"),
        ({"segment20": np.full(200, 20)}, "labels are not in -1..19"),
        ({"segment20": np.zeros(199, dtype=np.int16)}, "199 rows"),
        ({"coord": np.full((200, 3), np.nan)}, "NaN or infinite"),
        ({"segment20": None}, "are missing"),
    ],
)
def test_a_planted_fault_of_a_room_is_named(scannet, capsys, arrays, words):
    write_room(scannet / "train" / "scene0001_00", **arrays)
    status, text = found(scannet, capsys)
    assert status == 1
    assert words in text
    assert "scene0001_00" in text
    assert "1 problems" in text


def test_leaks_between_splits_by_name_place_and_content(scannet, capsys):
    write_room(scannet / "train" / "scene0707_00", seed=30)
    write_room(scannet / "train" / "scene0011_01", seed=31)
    status, text = found(scannet, capsys)
    assert status == 1
    assert "train and test share 1 scenes: scene0707_00" in text
    assert "train and val share 1 places: scene0011" in text
    reader = recognize(scannet)
    facts = [check_scene(reader, "scene0000_00", split) for split in ("train", "val")]
    names = {"train": ["a"], "val": ["b"]}
    assert check_splits(names, facts, {}) == [
        "train and val share 1 scenes of the same coordinates"
    ]
    assert check_splits({"val": ["a"], "test": ["a"]}, [], {}) == []


def write_scans(root: Path, intensity: float = 1.0, at_sensor: int = 0) -> None:
    rng = np.random.default_rng(0)
    for sequence, frame in (("00", "000000"), ("08", "000001"), ("11", "000002")):
        points = rng.random((80, 4)) * [40, 40, 3, intensity]
        points[:at_sensor, :3] = 0
        for kind, suffix, array in (
            ("velodyne", "bin", points.astype("<f4")),
            ("labels", "label", np.full(80, 40, dtype="<u4")),
        ):
            path = root / "sequences" / sequence / kind / f"{frame}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            array.tofile(path)


def test_faults_of_scans_are_named(tmp_path, capsys):
    write_scans(tmp_path, intensity=255, at_sensor=3)
    status, text = found(tmp_path, capsys)
    assert status == 1
    assert "Divide by 255?" in text
    assert "3 points at the sensor itself" in text
    assert "8 of 10 are missing" not in text
    assert "9 of 10 are missing" in text


def test_prepared_data_is_compared_with_its_checksums(tmp_path, capsys):
    write_scans(tmp_path / "raw")
    arguments = [f"raw={tmp_path / 'raw'}", f"out={tmp_path / 'out'}", "num_workers=0"]
    assert prepare("x", semantickitti.OPTIONS, semantickitti.build, arguments) == 0
    status, text = found(tmp_path / "out", capsys)
    assert "not what manifest.json says" not in text
    assert "1 problems" in text  # the sequences of training that are not there
    path = tmp_path / "out" / "sequences/08/000001/intensity.npy"
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    status, text = found(tmp_path / "out", capsys)
    assert status == 1
    assert f"{path}: missing, or not what manifest.json says" in text


def test_scenes_that_were_put_beside_the_prepared_ones(tmp_path, capsys):
    write_scans(tmp_path / "raw")
    arguments = [f"raw={tmp_path / 'raw'}", f"out={tmp_path / 'out'}", "num_workers=0"]
    assert prepare("x", semantickitti.OPTIONS, semantickitti.build, arguments) == 0
    scenes = tmp_path / "out" / "sequences" / "08"
    shutil.copytree(scenes / "000001", scenes / "000009")
    _, text = found(tmp_path / "out", capsys)
    assert "scene 08/000009 is not in manifest.json" in text
    assert "08/000001 is not in" not in text


def test_a_preparation_that_did_not_end_is_one_problem(tmp_path, capsys):
    write_scans(tmp_path / "raw")
    arguments = [f"raw={tmp_path / 'raw'}", f"out={tmp_path / 'out'}", "num_workers=0"]
    assert prepare("x", semantickitti.OPTIONS, semantickitti.build, arguments) == 0
    path = tmp_path / "out" / "prepared.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "pending": ["a"]}))
    status, text = found(tmp_path / "out", capsys)
    assert status == 1
    assert text.count("did not end") == 1


def test_a_test_split_may_be_absent_but_not_wrong(scannet, monkeypatch):
    reader = ScanNet(scannet)
    shutil.rmtree(scannet / "test")
    assert verify(reader, None, num_workers=0) == []

    def damaged(split: str) -> list[str]:
        if split == "test":
            raise ValueError("the list is damaged")
        return ScanNet.scenes(reader, split)

    monkeypatch.setattr(reader, "scenes", damaged)
    assert verify(reader, None, num_workers=0) == ["the list is damaged"]


def test_objects_that_leave_points_out_are_counted(tmp_path, capsys):
    for area in range(1, 7):
        folder = tmp_path / f"Area_{area}" / "office_1" / "Annotations"
        folder.mkdir(parents=True)
        rng = np.random.default_rng(area)
        rows = [" ".join(map(str, [*(rng.random(3) * 5).round(3), 9, 8, 7])) for _ in range(30)]
        (folder / "wall_1.txt").write_text("\n".join(rows) + "\n")
        more = rows + rows[:2] if area == 2 else rows
        (folder.parent / "office_1.txt").write_text("\n".join(more) + "\n")
    status, text = found(tmp_path, capsys)
    assert status == 1
    assert "Area_2/office_1: office_1.txt has 32 points, its objects together 30" in text
    assert "1 problems" in text


def test_labels_of_release_v1_are_told_by_the_marked_objects(tmp_path, capsys):
    folder = tmp_path / "scans" / "scene0000_00"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    vertices = {axis: rng.random(40, dtype=np.float32) * 3 for axis in "xyz"}
    vertices |= {c: rng.integers(0, 255, 40).astype(np.uint8) for c in ("red", "green", "blue")}
    write_vertices(folder / "scene0000_00_vh_clean_2.ply", vertices)
    labels = {**vertices, "label": np.full(40, 22, dtype=np.uint16)}  # v1: books, NYU40: ceiling
    labels["label"][:30] = 3  # v1: floor, NYU40: cabinet
    write_vertices(folder / "scene0000_00_vh_clean_2.labels.ply", labels)
    groups = [{"label": "floor", "segments": [7]}, {"label": "books", "segments": [9]}]
    (folder / "scene0000_00.aggregation.json").write_text(
        json.dumps({"sceneId": "scene0000_00", "segGroups": groups})
    )
    (folder / "scene0000_00_vh_clean_2.0.010000.segs.json").write_text(
        json.dumps({"segIndices": [7] * 30 + [9] * 10})
    )
    (tmp_path / "scannetv2-labels.combined.tsv").write_text(
        "id\traw_category\tnyu40id\n3\tfloor\t2\n22\tbooks\t23\n"
    )
    status, text = found(tmp_path, capsys)
    assert status == 1
    assert "agrees with the marked objects at 0% of the points only" in text


def test_what_lies_there_is_recognized(tmp_path):
    for path, kind in (
        ("a/scans/scene0000_00/x.ply", ScanNet),
        ("b/Area_3/office_1/Annotations/wall_1.txt", S3DIS),
        ("c/sequences/00/velodyne/000000.bin", SemanticKITTI),
        ("d/v1.0-mini/sample_data.json", NuScenes),
        ("e/val/0a1b/intensity.npy", NuScenes),
        ("f/val/scene0011_00/coord.npy", ScanNet),
        ("g/Area_1/office_1/coord.npy", S3DIS),
        ("h/sequences/08/000000/coord.npy", SemanticKITTI),
    ):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
        assert type(recognize(tmp_path / path[0])) is kind, path
    (tmp_path / "e" / "prepared.json").write_text(
        '{"dataset": "SemanticKITTI", "settings": {}, "pending": []}'
    )
    assert type(recognize(tmp_path / "e")) is SemanticKITTI


def test_nothing_known_lists_what_is(tmp_path, capsys):
    assert run_program([str(tmp_path)]) == 2
    text = capsys.readouterr().err
    for title in ("ScanNet", "S3DIS", "SemanticKITTI", "nuScenes"):
        assert f"{title}" in text
    assert run_program([]) == 2
    assert "root=... must be given" in capsys.readouterr().err
