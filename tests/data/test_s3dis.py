"""The S3DIS reader on released rooms, with the oddities of the release."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from pc3d.data.datasets import S3DIS
from pc3d.data.datasets.s3dis import AREAS
from pc3d.data.specs import S3DIS13
from tests.data.fixtures import s3dis_lines, write_room

CLASSES = {name: index for index, name in enumerate(S3DIS13.class_names)}


def points(num: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    xyz = (rng.random((num, 3)) * [4, 3, 2]).round(3)
    return np.concatenate([xyz, rng.integers(0, 256, (num, 3))], axis=1)


@pytest.fixture
def root(tmp_path):
    for area in AREAS:
        write_room(tmp_path, f"Area_{area}/hallway_1", {"floor_1": points(3, area)})
        write_room(tmp_path, f"Area_{area}/office_2", {"wall_1": points(2, area)})
    return tmp_path


def room(tmp_path, objects, **options):
    write_room(tmp_path, "Area_5/office_1", objects)
    return S3DIS(tmp_path, **options).read("Area_5/office_1", "val")


def test_the_six_folds_test_every_room_once_and_never_train_on_it(root):
    tested = []
    for area in AREAS:
        reader = S3DIS(root, test_area=area)
        val = reader.scenes("val")
        assert val == reader.scenes("test") == [f"Area_{area}/hallway_1", f"Area_{area}/office_2"]
        train = reader.scenes("train")
        assert len(train) == 10
        assert not set(train) & set(val)
        tested += val
    assert sorted(tested) == sorted(S3DIS(root).scenes("train") + S3DIS(root).scenes("val"))
    assert len(set(tested)) == 12
    assert S3DIS(root).scenes("val")[0] == "Area_5/hallway_1"


def test_points_are_those_of_the_objects_in_the_order_of_their_names(tmp_path):
    objects = {"table_2": points(3, 1), "chair_10": points(2, 2), "chair_2": points(4, 3)}
    sample = room(tmp_path, objects)
    expected = np.concatenate([objects[name] for name in ("chair_10", "chair_2", "table_2")])
    np.testing.assert_array_equal(sample.xyz, expected[:, :3].astype(np.float32))
    np.testing.assert_array_equal(sample.color, expected[:, 3:])
    assert sample.segment.tolist() == [CLASSES["chair"]] * 6 + [CLASSES["table"]] * 3
    assert sample.instance.tolist() == [0] * 2 + [1] * 4 + [2] * 3
    reader = S3DIS(tmp_path)
    assert [path.name for path in reader.source_files("Area_5/office_1")] == [
        "chair_10.txt",
        "chair_2.txt",
        "table_2.txt",
    ]
    assert reader.layout.num_points("Area_5/office_1") == 9


@pytest.mark.parametrize("name", S3DIS13.class_names)
def test_classes_are_told_by_name(tmp_path, name):
    assert set(room(tmp_path, {f"{name}_1": points(3)}).segment.tolist()) == {CLASSES[name]}


@pytest.mark.parametrize(("stairs", "expected"), [("clutter", CLASSES["clutter"]), ("ignore", -1)])
def test_stairs_are_clutter_or_ignored(tmp_path, stairs, expected):
    objects = {"clutter_1": points(2, 1), "stairs_1": points(3, 2)}
    sample = room(tmp_path, objects, stairs=stairs)
    assert sample.segment.tolist() == [CLASSES["clutter"]] * 2 + [expected] * 3
    assert sample.instance.tolist() == [0, 0, 1, 1, 1]


def test_a_name_that_is_no_class(tmp_path):
    with pytest.raises(
        ValueError, match=r"Annotations/sofas_1\.txt: 'sofas' is none of the classes"
    ):
        room(tmp_path, {"sofas_1": points(3)})


def test_what_lies_beside_rooms_and_objects_is_not_read(root):
    folder = root / "Area_5" / "office_2"
    for name in ("Icon\r", ".DS_Store", "Area_5_alignmentAngle.txt"):
        (root / "Area_5" / name).write_bytes(b"\x00\x01")
    (root / "Area_5" / ".ipynb_checkpoints").mkdir()
    for name in (".DS_Store", "Icon\r", "._wall_1.txt", "notes.md"):
        (folder / "Annotations" / name).write_bytes(b"\x00\x05\x16")
    reader = S3DIS(root)
    assert reader.scenes("val") == ["Area_5/hallway_1", "Area_5/office_2"]
    assert len(reader.read("Area_5/office_2", "val")) == 2


def test_the_file_of_the_whole_room_is_not_needed(tmp_path):
    """One is misnamed (copyRoom_1/copy_Room_1.txt), others hold points of no object."""
    folder = write_room(tmp_path, "Area_6/copyRoom_1", {"wall_1": points(3)}).parent
    reader = S3DIS(tmp_path, test_area=6)
    expected = reader.read("Area_6/copyRoom_1", "val").xyz
    (folder / "copyRoom_1.txt").rename(folder / "copy_Room_1.txt")
    np.testing.assert_array_equal(reader.read("Area_6/copyRoom_1", "val").xyz, expected)
    (folder / "copy_Room_1.txt").write_bytes(s3dis_lines(points(50)))
    np.testing.assert_array_equal(reader.read("Area_6/copyRoom_1", "val").xyz, expected)
    (folder / "copy_Room_1.txt").unlink()
    assert reader.scenes("val") == ["Area_6/copyRoom_1"]
    np.testing.assert_array_equal(reader.read("Area_6/copyRoom_1", "val").xyz, expected)


def test_known_damage_is_repaired_and_reported(tmp_path, caplog):
    line = b"22.350 6.692 3.048 185\x00187 182\n"
    content = s3dis_lines(points(4)) + line + b"1 2 -9.1\x160 103.0\x100000 5 6\n"
    with caplog.at_level(logging.WARNING, logger="pc3d"):
        sample = room(tmp_path, {"ceiling_1": content})
    np.testing.assert_allclose(sample.xyz[4:], [[22.35, 6.692, 3.048], [1, 2, -9.16]], rtol=1e-6)
    assert sample.color[4:].tolist() == [[185, 187, 182], [103, 5, 6]]
    first, second = caplog.messages
    assert "Annotations/ceiling_1.txt:5: 22.350" in first and "-> 22.350" in first
    assert "Annotations/ceiling_1.txt:6: " in second


def test_damage_that_cannot_be_repaired_names_file_and_line(tmp_path):
    content = s3dis_lines(points(2)) + b"1 2 3\n"
    with pytest.raises(ValueError, match=r"office_1/Annotations/wall_1\.txt:3: expected six"):
        room(tmp_path, {"floor_1": points(2), "wall_1": content})


def write_angles(root, area=5, **angles):
    lines = [f"## Global alignment angle per disjoint space in Area_{area} ##\n"]
    lines += [f"{name} {angle}\n" for name, angle in angles.items()]
    (root / f"Area_{area}" / f"Area_{area}_alignmentAngle.txt").write_text("".join(lines))


@pytest.mark.parametrize(
    ("angle", "turn"),
    # seen from above, by the reverse of the angle: (x, y) relative to the middle of the room
    [(0, lambda x, y: (x, y)), (90, lambda x, y: (y, -x)), (180, lambda x, y: (-x, -y)),
     (270, lambda x, y: (-y, x))],
)  # fmt: skip
def test_rooms_are_turned_about_the_middle_of_their_box(tmp_path, angle, turn):
    corners = [[0, 0, 0], [4, 0, 0], [4, 2, 3], [1, 2, 1]]
    objects = {"wall_1": np.array([[*xyz, 1, 2, 3] for xyz in corners], dtype=float)}
    write_room(tmp_path, "Area_5/office_1", objects)
    write_angles(tmp_path, office_1=angle, office_2=45)
    sample = S3DIS(tmp_path, align=True).read("Area_5/office_1", "val")
    expected = [[*np.add(turn(x - 2, y - 1), (2, 1)), z] for x, y, z in corners]
    np.testing.assert_allclose(sample.xyz, expected, atol=1e-6)
    np.testing.assert_allclose(
        S3DIS(tmp_path).read("Area_5/office_1", "val").xyz, corners, atol=1e-6
    )


def test_the_aligned_release_has_no_angles_and_needs_none(tmp_path):
    assert len(room(tmp_path, {"wall_1": points(3)})) == 3
    with pytest.raises(FileNotFoundError, match=r"Area_5_alignmentAngle\.txt: .*aligned release"):
        room(tmp_path, {"wall_1": points(3)}, align=True)
    write_angles(tmp_path, office_77=90)
    with pytest.raises(ValueError, match=r"Area_5_alignmentAngle\.txt: no angle of office_1"):
        room(tmp_path, {"wall_1": points(3)}, align=True)


def test_missing_parts(root):
    (root / "Area_5" / "pantry_1").mkdir()
    with pytest.raises(FileNotFoundError, match=r"Area_5/pantry_1: the folder Annotations"):
        S3DIS(root).scenes("val")
    (root / "Area_5" / "pantry_1" / "Annotations").mkdir()
    with pytest.raises(FileNotFoundError, match=r"pantry_1/Annotations: no objects"):
        S3DIS(root).read("Area_5/pantry_1", "val")
    (root / "Area_4").rename(root / "Area_7")
    with pytest.raises(FileNotFoundError, match=r"train split, Area_4 are missing.*(.|\n)*v1\.2"):
        S3DIS(root).scenes("train")


@pytest.mark.parametrize(
    ("options", "words"), [({"test_area": 7}, "test_area"), ({"stairs": "wall"}, "stairs")]
)
def test_unknown_options(tmp_path, options, words):
    with pytest.raises(ValueError, match=f"S3DIS: {words} must be one of"):
        S3DIS(tmp_path, **options)


def test_predictions_are_one_class_a_line(root, tmp_path):
    reader = S3DIS(root)
    out = tmp_path / "out"
    for scene, num in (("Area_5/hallway_1", 3), ("Area_5/office_2", 2)):
        reader.write_prediction(out, scene, np.resize([12, 0, 7], num))
    assert (out / "Area_5/hallway_1.txt").read_bytes() == b"12\n0\n7\n"
    assert reader.validate(out, "val") == 2
    (out / "Area_5/office_2.txt").write_bytes(b"1\n" * 3)
    with pytest.raises(ValueError, match="3 predictions, but the scene has 2 points"):
        reader.validate(out, "val")
