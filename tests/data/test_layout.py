"""Folders of arrays as other programs write them, damaged ones, and the choice of a layout."""

from __future__ import annotations

import numpy as np
import pytest

from pc3d.data.datasets import S3DIS, NuScenes, ScanNet, SemanticKITTI
from pc3d.data.datasets.layout import ProcessedLayout, scene_sample, subfolders
from pc3d.data.specs import SCANNET20
from tests.data.fixtures import write_arrays, write_room

NUM = 12
COORD = np.random.default_rng(0).random((NUM, 3)) * [3, 2, 1]
COLOR = np.arange(3 * NUM).reshape(NUM, 3)
SEGMENT = np.resize([0, 19, -1, 7], NUM)
SCENE = "scene0000_00"
FAR = np.array([650_000.0, 6_860_000.0, 30.0])


def scannet(tmp_path, **arrays):
    write_arrays(tmp_path / "train" / SCENE, **{"coord": COORD, "segment20": SEGMENT, **arrays})
    return ScanNet(tmp_path)


@pytest.mark.parametrize("dtype", ["i2", "i4", "i8"])
@pytest.mark.parametrize("column", [False, True])
def test_types_and_shapes_that_other_programs_write(tmp_path, dtype, column):
    """float32 or float64 coord, uint8 or float color, labels [P] or [P, 1], no normal."""
    labels = SEGMENT.astype(dtype)
    instance = np.arange(NUM, dtype=dtype) - 1
    if column:
        labels, instance = labels[:, None], instance[:, None]
    reader = scannet(tmp_path, color=COLOR.astype(np.float32), segment20=labels, instance=instance)
    sample = reader.read(SCENE, "train")
    np.testing.assert_array_equal(sample.segment, SEGMENT)
    np.testing.assert_array_equal(sample.instance, np.arange(NUM) - 1)
    np.testing.assert_array_equal(sample.xyz, COORD.astype(np.float32))
    np.testing.assert_array_equal(sample.color, COLOR)
    assert sample.normal is None and sample.intensity is None
    types = (sample.xyz.dtype, sample.color.dtype, sample.segment.dtype, sample.instance.dtype)
    assert types == (np.float32, np.float32, np.int64, np.int64)


def test_arrays_do_not_depend_on_the_files(tmp_path):
    """A mapped array would end the process with a bus error once its file gets shorter."""
    reader = scannet(tmp_path, coord=COORD.astype(np.float32), color=COLOR.astype(np.float32))
    sample = reader.read(SCENE, "train")
    for path in reader.source_files(SCENE):
        if path.exists():
            path.write_bytes(b"")
    np.testing.assert_array_equal(sample.xyz, COORD.astype(np.float32))
    np.testing.assert_array_equal(sample.color, COLOR)
    np.testing.assert_array_equal(sample.segment, SEGMENT)


def test_far_coordinates_in_float64_keep_their_place(tmp_path):
    reader = scannet(tmp_path, coord=COORD + FAR)
    sample = reader.read(SCENE, "train")
    np.testing.assert_allclose(sample.xyz + sample.origin, COORD + FAR, atol=1e-6)
    assert np.abs(sample.xyz).max() < 5


def test_coordinates_in_integers(tmp_path):
    sample = scannet(tmp_path, coord=COLOR.astype(np.uint8)).read(SCENE, "train")
    np.testing.assert_array_equal(sample.xyz, COLOR)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"segment20": SEGMENT[:-1]}, r"segment20\.npy: 11 rows, but coord\.npy beside it has 12"),
        ({"color": COLOR[:-1]}, r"color\.npy: 11 rows, but coord\.npy beside it has 12"),
        ({"instance": np.arange(13)}, r"instance\.npy: 13 rows"),
        ({"segment20": np.full(NUM, 20)}, r"segment20\.npy: 12 of 12 labels are not in -1\.\.19"),
        ({"segment20": np.full(NUM, -2)}, r"segment20\.npy: 12 of 12 labels are not in -1\.\.19"),
        ({"segment20": SEGMENT + 0.5}, r"segment20\.npy: expected integers; got float64"),
        ({"coord": COORD[:, :2]}, r"coord\.npy: expected an array \[P, 3\]; got \[12, 2\]"),
        ({"coord": COORD[:0], "segment20": SEGMENT[:0]}, r"coord\.npy: the scene has no points"),
        ({"coord": np.where(COORD > 2.5, np.nan, COORD)}, r"coord\.npy: .*NaN or infinite coord"),
        ({"coord": np.where(COORD > 2.5, 1e30, COORD)}, r"coord\.npy: the scene reaches from"),
        ({"color": np.full((NUM, 3), np.inf)}, r"color\.npy: .*NaN or infinite color"),
        ({"normal": np.full((NUM, 3), np.nan)}, r"normal\.npy: 12 of 12 points have a NaN"),
        ({"intensity": np.full((NUM, 2), 1.0)}, r"intensity\.npy: expected an array \[P\]"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_damaged_arrays(tmp_path, arrays, words):
    with pytest.raises(ValueError, match=words):
        scannet(tmp_path, **arrays).read(SCENE, "train")


def test_half_written_folders(tmp_path):
    reader = scannet(tmp_path)
    hidden = write_arrays(tmp_path / "train" / ".scene0001_00.77.partial", coord=COORD)
    (tmp_path / "train" / "notes").mkdir()
    (tmp_path / "train" / "manifest.json").touch()
    assert reader.scenes("train") == [SCENE]
    assert hidden not in subfolders(tmp_path / "train")
    write_arrays(tmp_path / "train" / "scene0001_00", color=COLOR)
    with pytest.raises(FileNotFoundError, match=r"scene0001_00/coord\.npy: missing, but other"):
        reader.scenes("train")


def test_a_scene_without_labels(tmp_path):
    folder = tmp_path / "train" / SCENE
    reader = scannet(tmp_path)
    (folder / "segment20.npy").unlink()
    with pytest.raises(FileNotFoundError, match=rf"{SCENE}/segment20\.npy: the labels"):
        reader.read(SCENE, "train")
    assert reader.read(SCENE, "test").segment is None


def test_a_missing_folder_of_a_split_is_not_an_empty_split(tmp_path):
    reader = scannet(tmp_path)
    with pytest.raises(FileNotFoundError, match="prepared val split, the folders val are missing"):
        reader.scenes("val")
    write_arrays(
        tmp_path / "s3dis" / "Area_2" / "office_1", coord=COORD, segment=np.zeros(NUM, int)
    )
    with pytest.raises(FileNotFoundError, match="train split, the folders Area_1, Area_3, Area_4"):
        S3DIS(tmp_path / "s3dis").scenes("train")


def test_a_scene_of_two_splits_is_refused(tmp_path):
    """Which of the two is meant cannot be told by its name, and one split would leak."""
    reader = scannet(tmp_path)
    write_arrays(tmp_path / "val" / SCENE, coord=COORD, segment20=SEGMENT)
    with pytest.raises(ValueError, match=rf"train/{SCENE}: the scene is also in .*val/{SCENE}"):
        reader.read(SCENE, "val")


def test_200_classes_are_not_read_from_20(tmp_path):
    """`segment.npy` does not say which of the two label spaces it is in."""
    write_arrays(tmp_path / "train" / SCENE, coord=COORD, segment=SEGMENT, segment20=SEGMENT)
    with pytest.raises(FileNotFoundError, match=r"segment200\.npy: the labels"):
        ScanNet(tmp_path, classes=200).read(SCENE, "train")
    write_arrays(tmp_path / "train" / SCENE, segment200=SEGMENT + 150 * (SEGMENT >= 0))
    sample = ScanNet(tmp_path, classes=200).read(SCENE, "train")
    assert sample.segment[:4].tolist() == [150, 169, -1, 157]
    assert ScanNet(tmp_path).read(SCENE, "train").segment[:4].tolist() == [0, 19, -1, 7]


def test_every_data_set_reads_its_prepared_form(tmp_path):
    intensity = np.linspace(0, 1, NUM)
    labels = np.resize([0, 12, -1], NUM)
    write_arrays(tmp_path / "a/Area_5/office_19", coord=COORD, color=COLOR, segment=labels)
    write_arrays(
        tmp_path / "b/sequences/08/000123", coord=COORD, intensity=intensity, segment=labels
    )
    write_arrays(tmp_path / "c/val/0a1b2c", coord=COORD, intensity=intensity, segment=labels)
    for reader, scene in (
        (S3DIS(tmp_path / "a"), "Area_5/office_19"),
        (SemanticKITTI(tmp_path / "b"), "08/000123"),
        (NuScenes(tmp_path / "c"), "0a1b2c"),
    ):
        assert reader.scenes("val") == [scene]
        sample = reader.read(scene, "val")
        assert sample.name == scene
        np.testing.assert_array_equal(sample.segment, labels)
        if sample.color is None:
            np.testing.assert_array_equal(sample.intensity, intensity.astype(np.float32))
        reader.write_prediction(tmp_path / "out", scene, np.zeros(NUM, int))
    assert NuScenes(tmp_path / "c").validate(tmp_path / "out", "val") == 1


def test_a_run_keeps_the_layout_that_it_began_with(tmp_path):
    """Data that are prepared in the same folder meanwhile have other orders of points."""
    chair = np.array([[1.0, 2, 3, 4, 5, 6]])
    write_room(tmp_path, "Area_5/office_1", {"chair_1": chair})
    reader = S3DIS(tmp_path)
    with pytest.raises(FileNotFoundError, match="train split"):
        reader.scenes("train")
    assert reader.scenes("val") == ["Area_5/office_1"]
    write_arrays(tmp_path / "Area_5/office_1", coord=COORD, segment=np.zeros(NUM, int))
    assert len(reader.read("Area_5/office_1", "val")) == 1
    assert len(S3DIS(tmp_path).read("Area_5/office_1", "val")) == NUM
    reader.scenes("val")
    assert len(reader.read("Area_5/office_1", "val")) == 1


def test_folders_without_a_scene_are_named(tmp_path, caplog):
    reader = scannet(tmp_path)
    (tmp_path / "train" / "scene0009_00").mkdir()
    assert reader.scenes("train") == [SCENE]
    assert "scene0009_00: no scene, since there is no coord.npy" in caplog.text


def test_no_layout_at_all(tmp_path):
    (tmp_path / "other").mkdir()
    for root, words in ((tmp_path / "other", "other things"), (tmp_path / "no", "no folder")):
        for reader in (ScanNet(root), S3DIS(root), NuScenes(root)):
            with pytest.raises(FileNotFoundError, match=rf"{words}(.|\n)*PC3D_DATA"):
                reader.read("scene", "train")


def test_labels_may_be_of_the_first_name_that_is_there(tmp_path):
    layout = ProcessedLayout(tmp_path, {"train": ("train",)}, ("segment20", "segment"))
    folder = write_arrays(tmp_path / "train" / SCENE, coord=COORD, segment=SEGMENT)
    assert layout.label_path(SCENE) == folder / "segment.npy"
    write_arrays(folder, segment20=SEGMENT[::-1])
    assert layout.label_path(SCENE) == folder / "segment20.npy"
    assert layout.num_points(SCENE) == NUM
    found = layout.arrays(SCENE)
    assert found.keys() == {"coord", "segment20"}
    sample = scene_sample(SCENE, found, layout.files(SCENE), SCANNET20, layout.segments)
    np.testing.assert_array_equal(sample.segment, SEGMENT[::-1])
