"""Preparation: the same scene comes out of both layouts; runs that stop go on; nothing is half."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from data_prep import nuscenes, preparation, s3dis, scannet, semantickitti
from data_prep.arguments import parse_arguments
from data_prep.preparation import run_program
from pc3d.data.datasets import S3DIS, NuScenes, ScanNet, SemanticKITTI
from pc3d.data.datasets.layout import ProcessedLayout
from pc3d.utils.files import file_hash
from tests.data.fixtures import tsv, write_annotated_scene, write_nuscenes

FIELDS = ("xyz", "color", "intensity", "segment", "instance", "origin", "row")


@pytest.fixture
def kitti(tmp_path) -> Path:
    """Three scans of two sequences, the last without labels."""
    rng = np.random.default_rng(0)
    for folder, frame in (("00", "000000"), ("00", "000001"), ("11", "000005")):
        points = rng.random((40, 4), dtype=np.float32) * 9
        path = tmp_path / "raw" / "sequences" / folder / "velodyne" / f"{frame}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        points.tofile(path)
        if folder == "00":
            labels = np.resize(np.array([10, 252 + (3 << 16), 0, 81], dtype=np.uint32), 40)
            path = path.parents[1] / "labels" / f"{frame}.label"
            path.parent.mkdir(exist_ok=True)
            labels.tofile(path)
    return tmp_path / "raw"


@pytest.fixture
def rooms(tmp_path) -> Path:
    """One room of S3DIS with a control byte in its second line, in each of two areas."""
    for area, room in (("Area_1", "office_1"), ("Area_5", "hallway_2")):
        folder = tmp_path / "raw" / area / room / "Annotations"
        folder.mkdir(parents=True)
        lines = b"1.0 2.0 3.0 10 20 30\n1.5 2.5 103.0\x100000 255 0 7\n"
        (folder / "wall_1.txt").write_bytes(lines)
        (folder / "chair_12.txt").write_bytes(b"-1.0 2.0 0.5 1 2 3\r\n")
        (folder.parent / f"{room}.txt").write_bytes(lines)
        (folder.parents[1] / ".DS_Store").touch()
    return tmp_path / "raw"


def run(module, raw, out, *options) -> int:
    name = module.__name__
    arguments = [f"raw={raw}", f"out={out}", "num_workers=0", *options]
    return run_program(name, module.OPTIONS, module.build, arguments)


def same(one, other):
    for field in FIELDS:
        a, b = getattr(one, field), getattr(other, field)
        assert (a is None) == (b is None), field
        if a is not None:
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype, field


def test_a_prepared_scan_is_the_released_one(kitti, tmp_path):
    out = tmp_path / "out"
    assert run(semantickitti, kitti, out) == 0
    parts = {"train": ["00"], "val": ["00"], "test": [11]}
    raw, prepared = SemanticKITTI(kitti, parts), SemanticKITTI(out, parts)
    for split in parts:
        assert prepared.scenes(split) == raw.scenes(split)
        for scene in raw.scenes(split):
            same(prepared.read(scene, split), raw.read(scene, split))
            assert prepared.layout.num_points(scene) == raw.layout.num_points(scene) == 40


def test_repairs_are_logged_and_read_back(rooms, tmp_path):
    out = tmp_path / "out"
    assert run(s3dis, rooms, out, "areas=1,5") == 0
    remarks = (out / "remarks.log").read_text().splitlines()
    assert len(remarks) == 2
    expected = rf"{rooms}/Area_1/office_1/Annotations/wall_1.txt:2: 1.5 2.5 103.0\x100000 255 0 7"
    assert remarks[0].endswith(f"{expected} -> 1.5 2.5 103.000000 255 0 7")
    sample = S3DIS(out).read("Area_5/hallway_2", "val")
    assert sample.xyz[:, 2].tolist() == [0.5, 3.0, 103.0]
    assert sample.color[2].tolist() == [255.0, 0.0, 7.0]
    assert sample.segment.tolist() == [8, 2, 2]
    same(sample, S3DIS(rooms).read("Area_5/hallway_2", "val"))


def test_raw_categories_that_the_table_lacks_are_remarked(tmp_path):
    root = tmp_path / "raw"
    objects = [("wall", [5]), ("trashcan", [7]), ("dishrack", [9])]
    write_annotated_scene(root, "scene0000_00", [5, 5, 5, 5, 7, 7, 9, 9, 9], objects)
    (root / "scannetv2-labels.combined.tsv").write_bytes(tsv())
    assert run(scannet, root, tmp_path / "out", "splits=train") == 0
    (remark,) = (tmp_path / "out" / "remarks.log").read_text().splitlines()
    assert remark.endswith("not in the label table, so unlabelled: ['dishrack', 'trashcan']")
    sample = ScanNet(tmp_path / "out").read("scene0000_00", "train")
    assert sample.segment.tolist() == [0] * 4 + [-1] * 5
    assert sample.instance.tolist() == [0] * 4 + [1] * 2 + [2] * 3
    raw = ScanNet(root, labels="aggregation", normals=True).read("scene0000_00", "train")
    same(sample, raw)
    np.testing.assert_array_equal(sample.normal, raw.normal)
    assert ScanNet(tmp_path / "out", classes=200).read("scene0000_00", "train").segment[0] == 0


def test_keyframes_of_nuscenes_come_out_the_same(tmp_path):
    root, out = tmp_path / "raw", tmp_path / "out"
    write_nuscenes(root, "v1.0-mini", {"scene-0061": 2, "scene-0103": 1}, labels=np.zeros(40))
    assert run(nuscenes, root, out, "version=v1.0-mini") == 0
    raw, prepared = (NuScenes(folder, version="v1.0-mini") for folder in (root, out))
    for split, number in (("train", 2), ("val", 1)):
        assert sorted(prepared.scenes(split)) == sorted(raw.scenes(split))
        assert len(prepared.scenes(split)) == number
        for scene in raw.scenes(split):
            same(prepared.read(scene, split), raw.read(scene, split))


def test_manifest_names_sizes_checksums_and_versions(kitti, tmp_path):
    out = tmp_path / "out"
    run(semantickitti, kitti, out)
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert manifest["dataset"] == "SemanticKITTI"
    assert manifest["num_points"] == 120
    assert manifest["versions"]["numpy"] == np.__version__
    scene = manifest["scenes"]["sequences/00/000001"]
    array = scene["arrays"]["segment"]
    path = out / "sequences/00/000001/segment.npy"
    assert array["sha256"] == file_hash(path, 64)
    assert array["bytes"] == path.stat().st_size
    assert (array["dtype"], array["shape"]) == ("int16", [40])
    assert scene["labels"] == {"segment": {"-1": 10, "0": 20, "18": 10}}
    assert scene["sources"][0][:2] == ["000001.bin", 640]
    assert "labels" not in manifest["scenes"]["sequences/11/000005"]["arrays"]


@pytest.fixture
def counted(monkeypatch) -> list[str]:
    """The scenes that are written, as they are written."""
    written = []
    prepare = preparation.write_scene

    def counting(layout, folder, scene, wanted):
        written.append(scene)
        return prepare(layout, folder, scene, wanted)

    monkeypatch.setattr(preparation, "write_scene", counting)
    return written


def test_a_second_run_does_what_is_left(kitti, tmp_path, counted):
    out = tmp_path / "out"
    run(semantickitti, kitti, out)
    assert len(counted) == 3
    run(semantickitti, kitti, out)
    assert len(counted) == 3
    # Gone, cut off, its source touched: each is made again, and nothing else.
    shutil.rmtree(out / "sequences/00/000000")
    with (out / "sequences/00/000001/coord.npy").open("r+b") as file:
        file.truncate(200)
    counted.clear()
    run(semantickitti, kitti, out)
    assert counted == ["00/000000", "00/000001"]
    label = kitti / "sequences/00/labels/000000.label"
    label.write_bytes(label.read_bytes())
    counted.clear()
    run(semantickitti, kitti, out)
    assert counted == ["00/000000"]
    counted.clear()
    run(semantickitti, kitti, out, "label_map=spvnas")
    assert len(counted) == 3


def scannet_table(raw) -> Path:
    write_annotated_scene(raw, "scene0000_00", [5] * 9, [("wall", [5])])
    path = raw / "scannetv2-labels.combined.tsv"
    path.write_bytes(tsv())
    return path


def nuscenes_table(raw) -> Path:
    write_nuscenes(raw, "v1.0-mini", {"scene-0061": 1}, labels=np.zeros(40))
    return raw / "v1.0-mini" / "category.json"


def s3dis_angles(raw) -> Path:
    folder = raw / "Area_1" / "office_1" / "Annotations"
    folder.mkdir(parents=True)
    (folder / "wall_1.txt").write_bytes(b"1 2 3 10 20 30\n")
    path = raw / "Area_1" / "Area_1_alignmentAngle.txt"
    path.write_text("## Global alignment angle per disjoint space\noffice_1 90\n")
    return path


@pytest.mark.parametrize(
    ("module", "write", "options"),
    [
        (scannet, scannet_table, ["splits=train"]),
        (nuscenes, nuscenes_table, ["version=v1.0-mini", "splits=train"]),
        (s3dis, s3dis_angles, ["areas=1", "align=true"]),
    ],
    ids=["scannet", "nuscenes", "s3dis"],
)
def test_a_changed_table_makes_its_scenes_anew(tmp_path, counted, module, write, options):
    raw = tmp_path / "raw"
    table = write(raw)
    for number, touched in enumerate((False, False, True)):
        if touched:
            os.utime(table, ns=(1, 1))
        assert run(module, raw, tmp_path / "out", *options) == 0
        assert len(counted) == (1, 1, 2)[number]


def test_a_full_disk_and_what_a_killed_run_left(kitti, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"

    def full(*_):
        raise OSError("4096 requested and 0 written")  # as NumPy says it

    monkeypatch.setattr(np, "save", full)
    assert run(semantickitti, kitti, out) == 2
    assert "0 written: is the disk full?: '" in (shown := capsys.readouterr().err)
    assert f"{out}/sequences/00/000000'" in shown
    assert [p.name for p in out.rglob("*") if p.is_file()] == ["prepared.json"]
    monkeypatch.undo()
    stale = out / "sequences" / "00" / ".000000.7777777.partial"
    stale.mkdir(parents=True)
    np.save(stale / "coord.npy", np.zeros((1, 3)))
    layout = ProcessedLayout(out, {"train": ["sequences/00"]}, names_hold_group=True)
    assert not layout.is_there()
    assert layout.scenes("train") == []
    other = stale.with_name(f".000001.{os.getppid()}.partial")  # of a process that lives
    other.mkdir()
    assert run(semantickitti, kitti, out) == 0
    assert not stale.exists() and other.exists()


def test_parts_are_prepared_one_after_the_other(kitti, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(semantickitti, kitti, out, "sequences=00") == 0
    assert run(semantickitti, kitti, out, "sequences=11") == 0
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert list(manifest["scenes"]) == [
        f"sequences/{s}" for s in ("00/000000", "00/000001", "11/000005")
    ]
    assert manifest["num_points"] == 120
    assert "1 scenes have no labels" in capsys.readouterr().err
    assert run(semantickitti, kitti, out, "sequences=11", "label_map=spvnas") == 2
    shown = capsys.readouterr().err
    assert "sequences/00/000000 was prepared with {'label_map': 'official'}" in shown


def test_what_was_not_prepared_to_the_end_is_refused(kitti, tmp_path, monkeypatch):
    out = tmp_path / "out"
    (kitti / "sequences/00/labels/000000.label").write_bytes(b"123")
    assert run(semantickitti, kitti, out) == 1
    reader = SemanticKITTI(out, {"train": ["00"]}, {"val": ["00/000001"]})
    for split in ("train", "val"):
        with pytest.raises(ValueError, match=r"did not end, or scenes failed.*same command again"):
            reader.scenes(split)
    (kitti / "sequences/00/labels/000000.label").write_bytes(bytes(160))
    assert run(semantickitti, kitti, out) == 0
    assert reader.scenes("val") == ["00/000001"]
    assert len(reader.read("00/000001", "val")) == 40


def test_another_part_that_ends_well_does_not_hide_what_failed(kitti, tmp_path):
    out, label = tmp_path / "out", kitti / "sequences/00/labels/000000.label"
    label.write_bytes(b"123")
    assert run(semantickitti, kitti, out, "sequences=00") == 1
    assert run(semantickitti, kitti, out, "sequences=11") == 0
    reader = SemanticKITTI(out, {"train": ["00"]})
    with pytest.raises(ValueError, match=r"1 are missing \(sequences/00/000000\)"):
        reader.scenes("train")
    label.write_bytes(bytes(160))
    assert run(semantickitti, kitti, out, "sequences=00") == 0
    assert len(reader.scenes("train")) == 2
    assert json.loads((out / "prepared.json").read_bytes())["pending"] == []


def test_scenes_of_other_settings_go_before_new_ones_come(kitti, tmp_path):
    out = tmp_path / "out"
    run(semantickitti, kitti, out)
    (kitti / "sequences/00/labels/000000.label").write_bytes(b"123")
    assert run(semantickitti, kitti, out, "label_map=spvnas") == 1
    assert not (out / "sequences/00/000000").exists()
    (out / "sequences/00/000001/scene.json").write_text("[]")
    (kitti / "sequences/00/labels/000000.label").write_bytes(bytes(160))
    assert run(semantickitti, kitti, out, "label_map=spvnas") == 0


def test_a_damaged_scene_is_named_and_the_others_go_on(kitti, tmp_path, capsys):
    out = tmp_path / "out"
    (kitti / "sequences/00/labels/000000.label").write_bytes(b"123")
    assert run(semantickitti, kitti, out) == 1
    assert sorted(p.name for p in out.glob("sequences/*/*")) == ["000001", "000005"]
    shown = capsys.readouterr().err
    assert "00/000000 failed" in shown
    assert "000000.label: 0 labels (3 bytes)" in shown
    assert "1 scenes failed" in shown


def test_values_that_no_reader_would_take_are_not_prepared(kitti, tmp_path, capsys):
    path = kitti / "sequences/00/velodyne/000001.bin"
    points = np.fromfile(path, dtype=np.float32)
    points[6] = np.nan
    points.tofile(path)
    assert run(semantickitti, kitti, tmp_path / "out") == 1
    assert "000001.bin: 1 of 40 points have NaN" in capsys.readouterr().err
    assert not (tmp_path / "out/sequences/00/000001").exists()


def test_a_reader_refuses_what_was_prepared_otherwise(kitti, rooms, tmp_path):
    run(semantickitti, kitti, tmp_path / "kitti", "label_map=spvnas")
    parts = {"train": ["00"]}
    with pytest.raises(ValueError, match=r"with label_map=spvnas, .*asked for label_map=official"):
        SemanticKITTI(tmp_path / "kitti", parts).scenes("train")
    with pytest.raises(ValueError, match="label_map=spvnas"):
        SemanticKITTI(tmp_path / "kitti", frames={"val": ["00/000001"]}).scenes("val")
    reader = SemanticKITTI(tmp_path / "kitti", parts, label_map="spvnas")
    assert reader.scenes("train") == ["00/000000", "00/000001"]
    run(s3dis, rooms, tmp_path / "rooms", "areas=1,5", "stairs=ignore")
    with pytest.raises(ValueError, match=r"Say dataset\.reader\.stairs=ignore, or prepare again"):
        S3DIS(tmp_path / "rooms").scenes("val")
    assert S3DIS(tmp_path / "rooms", stairs="ignore").scenes("val") == ["Area_5/hallway_2"]
    (tmp_path / "rooms" / "prepared.json").write_text("[]")
    with pytest.raises(ValueError, match=r"prepared\.json: not what data_prep writes"):
        S3DIS(tmp_path / "rooms").scenes("val")


@pytest.mark.parametrize("out", ["raw", "raw/below", "."])
def test_out_and_raw_must_not_contain_each_other(kitti, tmp_path, out, capsys):
    assert run(semantickitti, kitti, tmp_path / out) == 2
    assert "must not contain each other" in capsys.readouterr().err


def test_no_scenes_say_what_is_expected(tmp_path, capsys):
    (tmp_path / "raw").mkdir()
    assert run(semantickitti, tmp_path / "raw", tmp_path / "out") == 2
    assert "no scenes of SemanticKITTI" in capsys.readouterr().err
    assert run(s3dis, tmp_path / "raw", tmp_path / "out") == 2
    assert "Area_1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["raw=a", "out=b", "colour=1"], "unknown argument 'colour=1'; expected key=value"),
        (["raw=a", "out"], "unknown argument 'out'"),
        (["raw=a"], r"out=\.\.\. must be given"),
        (["raw=", "out=b"], r"raw=\.\.\. must be given"),
    ],
)
def test_command_lines_that_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        parse_arguments(arguments, {"raw": None, "out": None, "align": "false"})


def test_values_may_hold_equals_signs():
    values = parse_arguments(["raw=a=b", "out=c"], {"raw": None, "out": None, "align": "false"})
    assert values == {"raw": "a=b", "out": "c", "align": "false"}


def test_processes_make_the_same(kitti, tmp_path):
    run(semantickitti, kitti, tmp_path / "one")
    name, arguments = "x", [f"raw={kitti}", f"out={tmp_path / 'two'}", "num_workers=2"]
    assert run_program(name, semantickitti.OPTIONS, semantickitti.build, arguments) == 0
    one, two = (json.loads((tmp_path / n / "manifest.json").read_bytes()) for n in ("one", "two"))
    assert one == two
