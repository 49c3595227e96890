"""The SemanticKITTI reader, on tiny scans in the released layout, and on real ones."""

from __future__ import annotations

import numpy as np
import pytest

from pc3d.data.datasets import SemanticKITTI

PART = {"train": ["00"], "val": ["08"], "test": ["11"]}


def test_official_splits_are_disjoint_and_complete(tmp_path, write_kitti_scan):
    for number in range(22):
        points = np.ones((1, 4))
        write_kitti_scan(tmp_path, f"sequences/{number:02d}", "000000", points, None)
    splits = {split: SemanticKITTI(tmp_path).scenes(split) for split in ("train", "val", "test")}
    sequences = {split: [int(s[:2]) for s in scenes] for split, scenes in splits.items()}
    assert sequences["train"] == [0, 1, 2, 3, 4, 5, 6, 7, 9, 10]
    assert sequences["val"] == [8]
    assert sequences["test"] == list(range(11, 22))


def test_sequences_and_frames_choose_scenes(kitti_root):
    reader = SemanticKITTI(kitti_root, sequences={"train": [0], "val": ["08", "extra"]})
    assert reader.scenes("train") == ["00/000000", "00/000001", "00/000002"]
    assert reader.scenes("val") == ["08/000007", "extra/000964"]
    few = SemanticKITTI(
        kitti_root, frames={"train": ["00/000002", "00/000000"], "test": ["extra/000964"]}
    )
    assert few.scenes("train") == ["00/000002", "00/000000"]
    assert few.scenes("test") == ["extra/000964"]
    assert few.scenes("val") == ["08/000007"]
    assert len(few.read("extra/000964", "test")) == 55


@pytest.mark.parametrize(
    "arguments",
    [
        {"sequences": {"train": ["00"]}, "frames": {"train": ["00/000000"]}},
        {"sequences": {"training": ["00"]}},
        {"frames": {"dev": ["00/000000"]}},
    ],
)
def test_contradicting_or_unknown_splits_are_refused(kitti_root, arguments):
    with pytest.raises(ValueError, match="split"):
        SemanticKITTI(kitti_root, **arguments)


def test_points_and_labels(kitti_root):
    """Moving car is car; the upper 16 bits are the instance; 0 and 99 are unlabelled."""
    reader = SemanticKITTI(kitti_root, sequences=PART)
    sample = reader.read("00/000001", "train")
    points = np.fromfile(reader.source_files("00/000001")[0], dtype=np.float32).reshape(-1, 4)
    np.testing.assert_array_equal(sample.xyz, points[:, :3])
    np.testing.assert_array_equal(sample.intensity, points[:, 3])
    assert sample.segment[:5].tolist() == [8, 0, -1, 18, -1]
    assert (sample.instance == 7).all()
    assert sample.color is None


def test_the_map_of_spvnas_leaves_out_buses_and_lane_markings(kitti_root, write_kitti_scan):
    raw = np.array([13, 60, 257, 40, 252, 259])
    write_kitti_scan(kitti_root, "sequences/08", "000007", np.ones((6, 4)), raw)
    maps = {"official": [4, 8, 4, 8, 0, 4], "spvnas": [-1, -1, -1, 8, 0, 4]}
    for name, expected in maps.items():
        reader = SemanticKITTI(kitti_root, sequences=PART, label_map=name)
        assert reader.read("08/000007", "val").segment.tolist() == expected
    with pytest.raises(ValueError, match="label_map must be one of"):
        SemanticKITTI(kitti_root, label_map="pointcept")


def test_points_without_a_return_and_without_an_instance(kitti_root, write_kitti_scan):
    """Look-alike formats write (0, 0, 0); such points are read like any others."""
    points = np.zeros((4, 4))
    points[1] = [3, 2, 1, 0.5]
    raw = np.array([0, (65535 << 16) + 10, 40, 1 << 16])
    write_kitti_scan(kitti_root, "sequences/08", "000007", points, raw)
    sample = SemanticKITTI(kitti_root, sequences=PART).read("08/000007", "val")
    assert sample.xyz.tolist() == [[0, 0, 0], [3, 2, 1], [0, 0, 0], [0, 0, 0]]
    assert sample.segment.tolist() == [-1, 0, 8, -1]
    assert sample.instance.tolist() == [-1, 65535, -1, 1]


def test_hidden_files_are_no_scans(kitti_root):
    for name in ("._000000.bin", ".DS_Store"):
        (kitti_root / "sequences/00/velodyne" / name).write_bytes(b"\0")
    assert len(SemanticKITTI(kitti_root, sequences=PART).scenes("train")) == 3


def test_labels_may_lack_in_the_test_split_only(kitti_root):
    reader = SemanticKITTI(kitti_root, sequences=PART)
    assert reader.read("11/000000", "test").segment is None
    assert reader.read("08/000007", "test").segment is not None
    with pytest.raises(FileNotFoundError, match=r"labels/000000\.label.*data_odometry_labels"):
        reader.read("11/000000", "val")


def test_only_the_whole_test_split_is_packed(kitti_root, tmp_path, monkeypatch):
    reader = SemanticKITTI(kitti_root, sequences=PART)
    for scene in reader.scenes("test"):
        classes = np.zeros(len(reader.read(scene, "test")), dtype=np.int64)
        reader.write_prediction(tmp_path / "out", scene, classes)
    assert reader.pack(tmp_path / "out", "test") is None
    number = {"test": len(reader.scenes("test"))}
    monkeypatch.setattr(SemanticKITTI, "official", number)
    assert reader.pack(tmp_path / "out", "test") == tmp_path / "out.zip"


def test_number_of_labels_must_fit(kitti_root):
    reader = SemanticKITTI(kitti_root, sequences=PART)
    np.zeros(49, dtype=np.uint32).tofile(reader.source_files("00/000000")[1])
    with pytest.raises(
        ValueError, match=r"000000\.label: 49 labels \(196 bytes\), but the scan has 50 points"
    ):
        reader.read("00/000000", "train")


def test_unknown_label_names_the_file(kitti_root):
    reader = SemanticKITTI(kitti_root, sequences=PART)
    np.full(50, 33, dtype=np.uint32).tofile(reader.source_files("00/000000")[1])
    with pytest.raises(ValueError, match=r"000000\.label: label ids \[33\]"):
        reader.read("00/000000", "train")


@pytest.mark.parametrize(
    ("column", "words"),
    [(1, "1 of 50 points have NaN or infinite coordinates"), (3, "1 of 50 points.*intensity")],
)
def test_numbers_that_are_not_finite_name_the_file(kitti_root, column, words):
    reader = SemanticKITTI(kitti_root, sequences=PART)
    path = reader.source_files("00/000000")[0]
    points = np.fromfile(path, dtype=np.float32).reshape(-1, 4)
    points[7, column] = np.inf
    points.tofile(path)
    with pytest.raises(ValueError, match=rf"000000\.bin: {words}"):
        reader.read("00/000000", "train")


def test_empty_scan_truncated_scan_and_one_point(kitti_root, write_kitti_scan):
    reader = SemanticKITTI(kitti_root, sequences=PART)
    scan, label = reader.source_files("00/000000")
    label.write_bytes(b"")
    scan.write_bytes(b"")
    with pytest.raises(ValueError, match=r"000000\.bin: the scene has no points"):
        reader.read("00/000000", "train")
    scan.write_bytes(b"\0" * 33)
    with pytest.raises(ValueError, match=r"000000\.bin: 33 bytes are not a whole number of points"):
        reader.read("00/000000", "train")
    write_kitti_scan(kitti_root, "sequences/00", "000000", np.ones((1, 4)), np.array([40]))
    assert len(reader.read("00/000000", "train")) == 1


def test_missing_data_says_what_to_download_and_what_is_missing(kitti_root, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        SemanticKITTI(kitti_root).scenes("train")
    for words in ("9 of 10", "sequences/01/velodyne", "semantic-kitti.org", "paths.data_dir",
                  "PC3D_DATA", "dataset=synthetic", "sequences.train"):  # fmt: skip
        assert words in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"00/velodyne/000009\.bin"):
        SemanticKITTI(kitti_root, frames={"val": ["00/000009"]}).scenes("val")


def test_predictions_use_the_ids_of_submissions_and_validate(kitti_root, tmp_path):
    reader = SemanticKITTI(kitti_root, sequences={"test": ["11", "extra"]})
    reader.write_prediction(tmp_path, "11/000000", np.resize(np.arange(19), 54))
    path = tmp_path / "sequences/11/predictions/000000.label"
    raw = np.fromfile(path, dtype=np.uint32)
    assert raw[:19].tolist() == [10, 11, 15, 18, 20, 30, 31, 32, 40, 44, 48, 49, 50, 51, 70, 71,
                                 72, 80, 81]  # fmt: skip
    with pytest.raises(ValueError, match=r"extra/predictions/000964\.label: missing"):
        reader.validate(tmp_path, "test")
    reader.write_prediction(tmp_path, "extra/000964", np.zeros(55, dtype=np.int64))
    assert reader.validate(tmp_path, "test") == 2
    with pytest.raises(ValueError, match=r"11/000000: 54 of 54 predictions"):
        reader.write_prediction(tmp_path, "11/000000", np.full(54, -1))


def test_real_scans(shared_data):
    """Counts that the data's description states."""
    reader = SemanticKITTI(
        shared_data / "semantickitti",
        sequences={"train": ["00"]},
        frames={"test": ["extra/000964"]},
    )
    scenes = reader.scenes("train")
    assert len(scenes) == 12
    samples = [reader.read(scene, "train") for scene in scenes[:3]]
    assert [len(s) for s in samples[:2]] == [124_668, 124_605]
    assert 0.9 < (samples[0].segment >= 0).mean() < 1
    assert samples[0].instance.max() > 0
    assert 0 <= samples[0].intensity.min() <= samples[0].intensity.max() <= 1
    assert len(reader.read(*reader.scenes("test"), "test")) == 120_485
