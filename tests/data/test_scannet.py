"""The ScanNet reader, on both layouts and on damaged ones."""

from __future__ import annotations

import numpy as np
import pytest

from pc3d.data.datasets import ScanNet, scannet_released
from pc3d.io.ply import read_vertices, write_vertices


def write_processed(root, split, scene, segment, name="segment20", num_points=12):
    folder = root / split / scene
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    np.save(folder / "coord.npy", rng.random((num_points, 3), dtype=np.float32))
    np.save(folder / "color.npy", rng.integers(0, 256, (num_points, 3)).astype(np.uint8))
    np.save(folder / "normal.npy", np.tile(np.float32([0, 0, 1]), (num_points, 1)))
    if segment is not None:
        np.save(folder / f"{name}.npy", np.resize(segment, num_points).astype(np.int16))
    return folder


def test_released_layout_is_split_by_official_numbers_without_lists(scannet_root):
    reader = ScanNet(scannet_root)
    assert reader.scenes("train") == ["scene0000_00", "scene0001_01"]
    assert reader.scenes("val") == ["scene0011_00"]
    assert reader.scenes("test") == ["scene0707_00"]


@pytest.mark.parametrize("folder", ["", "Tasks/Benchmark", "splits"])
def test_split_lists_decide_where_present(scannet_root, folder):
    (scannet_root / folder).mkdir(parents=True, exist_ok=True)
    path = scannet_root / folder / "scannetv2_train.txt"
    path.write_bytes(b"scene0011_00\r\nscene0000_00\r\n")
    assert ScanNet(scannet_root).scenes("train") == ["scene0011_00", "scene0000_00"]


def test_built_in_validation_scenes_are_the_official_ones(shared_data, tmp_path):
    """Against the released lists: names only, the scans are empty folders."""
    lists = {
        split: (shared_data / f"scannet/Tasks_Benchmark/scannetv2_{split}.txt").read_text().split()
        for split in ("train", "val", "test")
    }
    for split, scenes in lists.items():
        for scene in scenes:
            kind = "scans_test" if split == "test" else "scans"
            (tmp_path / kind / scene).mkdir(parents=True)
    for split, scenes in lists.items():
        assert ScanNet(tmp_path).scenes(split) == sorted(scenes)


def test_vertices_colours_and_classes_of_the_released_layout(scannet_root):
    reader = ScanNet(scannet_root)
    sample = reader.read("scene0001_01", "train")
    mesh_path, label_path, _ = reader.source_files("scene0001_01")
    mesh = read_vertices(mesh_path)
    np.testing.assert_array_equal(sample.xyz[:, 1], mesh["y"])
    np.testing.assert_array_equal(sample.color[:, 0], mesh["red"])
    np.testing.assert_array_equal(sample.color[:, 2], mesh["blue"])
    # NYU40 wall, floor, otherfurniture, unlabelled, and two ids that are not among the 20
    np.testing.assert_array_equal(sample.segment[:6], [0, 1, 19, -1, -1, -1])
    assert label_path.name == "scene0001_01_vh_clean_2.labels.ply"
    assert sample.name == "scene0001_01"
    np.testing.assert_array_equal(sample.row, np.arange(61))


def test_labels_may_lack_in_the_test_split_only(scannet_root):
    reader = ScanNet(scannet_root)
    assert reader.read("scene0707_00", "test").segment is None
    reader.source_files("scene0000_00")[1].unlink()
    for split in ("train", "val"):
        with pytest.raises(FileNotFoundError, match=r"scene0000_00_vh_clean_2\.labels\.ply"):
            reader.read("scene0000_00", split)


def test_processed_layout(tmp_path):
    segment = [-1, 0, 19, 5]
    folder = write_processed(tmp_path, "train", "scene0000_00", segment)
    write_processed(tmp_path, "val", "scene0011_00", segment, name="segment")
    write_processed(tmp_path, "test", "scene0707_00", None)
    (tmp_path / "train" / ".DS_Store").touch()
    np.save(folder / "instance.npy", np.arange(12, dtype=np.int16) - 1)
    reader = ScanNet(tmp_path)
    assert reader.scenes("train") == ["scene0000_00"]
    sample = reader.read("scene0000_00", "train")
    np.testing.assert_array_equal(sample.segment, np.resize(segment, 12))
    np.testing.assert_array_equal(sample.instance, np.arange(12) - 1)
    np.testing.assert_array_equal(sample.color, np.load(folder / "color.npy"))
    assert sample.color.dtype == sample.normal.dtype == np.float32
    np.testing.assert_array_equal(reader.read("scene0011_00", "val").segment, sample.segment)
    assert reader.read("scene0707_00", "test").segment is None
    with pytest.raises(FileNotFoundError, match=r"scene0707_00.*segment"):
        reader.read("scene0707_00", "train")


def test_processed_labels_out_of_range_name_the_file(tmp_path):
    write_processed(tmp_path, "train", "scene0000_00", [0, 20, 3])
    with pytest.raises(ValueError, match=r"scene0000_00/segment20\.npy: 4 of 12 labels.*first: 20"):
        ScanNet(tmp_path).read("scene0000_00", "train")


def test_label_of_another_release_names_the_file(scannet_root, write_scannet_scene):
    write_scannet_scene(scannet_root / "scans", "scene0000_00", 3, np.array([1, 2, 1163]))
    with pytest.raises(
        ValueError, match=r"scene0000_00_vh_clean_2\.labels\.ply: label ids \[1163\]"
    ):
        ScanNet(scannet_root).read("scene0000_00", "train")


def test_known_slips_of_the_release_count_as_unlabelled(scannet_root, write_scannet_scene):
    write_scannet_scene(scannet_root / "scans", "scene0270_00", 3, np.array([50, 149, 1]))
    assert ScanNet(scannet_root).read("scene0270_00", "train").segment.tolist() == [-1, -1, 0]


def test_number_of_labels_must_fit(scannet_root):
    reader = ScanNet(scannet_root)
    path = reader.source_files("scene0000_00")[1]
    vertices = {name: array[:-7] for name, array in read_vertices(path).items()}
    write_vertices(path, vertices)
    with pytest.raises(ValueError, match=r"labels\.ply: 53 labels, but the scene has 60"):
        reader.read("scene0000_00", "train")
    write_vertices(path, {axis: vertices[axis] for axis in "xyz"})
    with pytest.raises(ValueError, match=r"labels\.ply: the vertices have no property label"):
        reader.read("scene0000_00", "train")


def test_bad_coordinates_and_missing_colours_name_the_file(scannet_root):
    reader = ScanNet(scannet_root)
    path = reader.source_files("scene0000_00")[0]
    vertices = read_vertices(path)
    vertices["x"][[3, 5]] = np.nan, np.inf
    write_vertices(path, vertices)
    with pytest.raises(ValueError, match=r"vh_clean_2\.ply: 2 of 60 points have NaN"):
        reader.read("scene0000_00", "train")
    write_vertices(path, {axis: np.zeros(60, dtype=np.float32) for axis in "xyz"})
    with pytest.raises(ValueError, match="no colour"):
        reader.read("scene0000_00", "train")


def test_empty_scene_and_one_point(scannet_root, write_scannet_scene):
    write_scannet_scene(scannet_root / "scans", "scene0000_00", 0, np.zeros(0))
    with pytest.raises(ValueError, match=r"scene0000_00.*no points"):
        ScanNet(scannet_root).read("scene0000_00", "train")
    write_scannet_scene(scannet_root / "scans", "scene0000_00", 1, np.array([2]))
    assert len(ScanNet(scannet_root).read("scene0000_00", "train")) == 1


def test_missing_data_says_what_to_download_and_where_to_put_it(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        ScanNet(tmp_path / "nowhere").scenes("train")
    for words in ("nowhere", "terms-of-use", "_vh_clean_2.labels.ply", "paths.data_dir",
                  "PC3D_DATA", "dataset=synthetic"):  # fmt: skip
        assert words in str(error.value)


def test_listed_scenes_that_are_absent_are_counted(scannet_root):
    (scannet_root / "scannetv2_val.txt").write_text("scene0011_00\nscene0015_00\n")
    with pytest.raises(FileNotFoundError, match=r"1 of the 2 scenes.*scene0015_00"):
        ScanNet(scannet_root).scenes("val")


def test_folders_with_strange_names_need_a_list(scannet_root):
    (scannet_root / "scans" / "my_office").mkdir()
    with pytest.raises(ValueError, match=r"my_office.*scannetv2_"):
        ScanNet(scannet_root).scenes("train")
    (scannet_root / "scannetv2_train.txt").write_text("my_office")
    assert ScanNet(scannet_root).scenes("train") == ["my_office"]


def test_unknown_split_is_refused(scannet_root):
    with pytest.raises(ValueError, match="split must be one of train, val, test; got 'dev'"):
        ScanNet(scannet_root).scenes("dev")


def test_predictions_are_nyu40_ids_in_vertex_order_and_validate(scannet_root, tmp_path):
    reader = ScanNet(scannet_root)
    out = tmp_path / "submission"
    classes = np.resize(np.arange(20), 60)
    reader.write_prediction(out, "scene0707_00", classes)
    written = (out / "scene0707_00.txt").read_text().split("\n")
    assert written[:3] + written[17:20] == ["1", "2", "3", "34", "36", "39"]
    assert written[-1] == ""
    assert len(written) == 61
    assert reader.validate(out, "test") == 1


def test_wrong_predictions_are_listed(scannet_root, tmp_path):
    reader = ScanNet(scannet_root)
    (tmp_path / "scene0707_00.txt").write_text("1\n" * 59)
    (tmp_path / "scene0999_00.txt").write_text("1\n")
    with pytest.raises(ValueError) as error:
        reader.validate(tmp_path, "test")
    assert "59 predictions, but the scene has 60 points" in str(error.value)
    assert "scene0999_00.txt: not a scene of this split" in str(error.value)
    (tmp_path / "scene0999_00.txt").unlink()
    (tmp_path / "scene0707_00.txt").write_text("1\n" * 58 + "13\n-1\n")
    with pytest.raises(ValueError, match=r"ids \[-1, 13\] are not legal"):
        reader.validate(tmp_path, "test")
    (tmp_path / "scene0707_00.txt").unlink()
    with pytest.raises(ValueError, match=r"scene0707_00\.txt: missing"):
        reader.validate(tmp_path, "test")


@pytest.mark.parametrize("wrong", [-1, 20])
def test_a_prediction_that_is_no_class_is_never_written(scannet_root, tmp_path, wrong):
    with pytest.raises(ValueError, match=r"scene0707_00: 1 of 60 predictions.*0\.\.19"):
        classes = np.full(60, 3)
        classes[8] = wrong
        ScanNet(scannet_root).write_prediction(tmp_path, "scene0707_00", classes)
    assert list(tmp_path.glob("*.txt")) == []


def test_module_names_every_validation_scene_once():
    assert len(scannet_released._VAL_SCENES) == 142
