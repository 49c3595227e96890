"""The nuScenes reader on generated tables, and on real keyframes wrapped in such."""

from __future__ import annotations

import hashlib
import json
import pickle

import numpy as np
import pytest

from pc3d.data.datasets import NuScenes
from pc3d.data.datasets.nuscenes import MINI_VAL_DRIVES, VAL_DRIVES
from pc3d.data.specs import NUSCENES16
from tests.data.fixtures import CATEGORIES, write_nuscenes

MINI = {"scene-0061": 2, "scene-0103": 3, "scene-0553": 1, "scene-0916": 1}
CLASSES = {name: index for index, name in enumerate(NUSCENES16.class_names)}


@pytest.fixture
def mini(tmp_path):
    labels = np.resize(np.arange(32), 40)
    return tmp_path, write_nuscenes(tmp_path, "v1.0-mini", MINI, labels=labels)


def test_official_validation_drives():
    """The digest is of the numbers of the published list, in order."""
    assert len(VAL_DRIVES) == 150
    text = " ".join(sorted(name.removeprefix("scene-") for name in VAL_DRIVES))
    digest = "bf92f2761f1bddfa66dd93055cab4f461a8ccff02443aeaa77281786f626dd80"
    assert hashlib.sha256(text.encode()).hexdigest() == digest
    assert {"scene-0103", "scene-0916"} == MINI_VAL_DRIVES
    assert MINI_VAL_DRIVES <= VAL_DRIVES


def test_splits_of_the_full_release(tmp_path):
    # scene-0553 is in the training part of mini, and in the validation of the full release
    write_nuscenes(tmp_path, "v1.0-trainval", {"scene-0061": 2, "scene-0553": 1, "scene-0003": 1},
                   labels=np.zeros(40))  # fmt: skip
    write_nuscenes(tmp_path, "v1.0-test", {"scene-0077": 2})
    (tmp_path / "v1.0-test" / "lidarseg.json").unlink()
    reader = NuScenes(tmp_path)
    scenes = {split: reader.scenes(split) for split in ("train", "val", "test")}
    assert {split: len(names) for split, names in scenes.items()} == {
        "train": 2,
        "val": 2,
        "test": 2,
    }
    assert [name.split("-")[2] for name in scenes["val"]] == ["2", "1"]  # 0003 before 0553
    assert len(set().union(*scenes.values())) == 6
    assert reader.read(scenes["test"][0], "test").segment is None
    with pytest.raises(FileNotFoundError, match=r"_lidarseg\.bin: the labels"):
        reader.read(scenes["test"][0], "val")


def test_splits_of_mini(mini):
    reader = NuScenes(mini[0], version="v1.0-mini")
    assert len(reader.scenes("train")) == 3
    assert len(reader.scenes("val")) == 4
    with pytest.raises(FileNotFoundError, match="no keyframes of the test split"):
        reader.scenes("test")
    with pytest.raises(ValueError, match="version must be one of"):
        NuScenes(mini[0], version="v1.0")


def test_points_intensity_and_classes(mini):
    root, tokens = mini
    reader = NuScenes(root, version="v1.0-mini")
    sample = reader.read(tokens[0], "train")
    path, label_path = reader.layout.files(tokens[0])
    points = np.fromfile(path, dtype="<f4").reshape(-1, 5)
    np.testing.assert_array_equal(sample.xyz, points[:, :3])
    np.testing.assert_allclose(sample.intensity, points[:, 3] / 255, rtol=1e-6)
    assert 0 <= sample.intensity.min() < sample.intensity.max() <= 1
    assert label_path == root / f"lidarseg/v1.0-mini/{tokens[0]}_lidarseg.bin"
    expected = {"vehicle.car": "car", "human.pedestrian.police_officer": "pedestrian",
                "vehicle.bus.rigid": "bus", "flat.sidewalk": "sidewalk", "flat.other": "other_flat",
                "static.vegetation": "vegetation", "movable_object.barrier": "barrier"}  # fmt: skip
    for category, name in expected.items():
        assert sample.segment[CATEGORIES.index(category)] == CLASSES[name]
    for category in ("noise", "vehicle.ego", "animal", "static.other", "vehicle.emergency.police"):
        assert sample.segment[CATEGORIES.index(category)] == -1
    assert (sample.segment[:32] >= 0).sum() == 20  # of 32 categories


def test_categories_are_told_by_name_whatever_their_numbers(tmp_path):
    """The guide for annotators numbers them differently from the released files."""
    shuffled = [CATEGORIES[i] for i in np.random.default_rng(0).permutation(32)]
    labels = np.resize(np.arange(32), 40)
    tokens = write_nuscenes(tmp_path, "v1.0-mini", MINI, shuffled, labels=labels)
    sample = NuScenes(tmp_path, version="v1.0-mini").read(tokens[0], "train")
    for index, name in enumerate(shuffled):
        assert sample.segment[index] == NUSCENES16.raw_to_class[CATEGORIES.index(name)]


def test_ids_that_the_table_does_not_know(tmp_path):
    labels = np.full(40, 31)
    tokens = write_nuscenes(tmp_path, "v1.0-mini", MINI, CATEGORIES[:31], labels=labels)
    reader = NuScenes(tmp_path, version="v1.0-mini")
    with pytest.raises(ValueError, match=r"_lidarseg\.bin: label ids \[31\]"):
        reader.read(tokens[0], "train")


def test_the_table_of_nuscenes_without_lidarseg(tmp_path):
    tokens = write_nuscenes(tmp_path, "v1.0-mini", MINI, None, labels=np.zeros(40))
    with pytest.raises(ValueError, match=r"category\.json: .*Unpack nuScenes-lidarseg over it"):
        NuScenes(tmp_path, version="v1.0-mini").read(tokens[0], "train")


def test_other_categories(tmp_path):
    names = [*CATEGORIES[:31], "vehicle.hovercraft"]
    tokens = write_nuscenes(tmp_path, "v1.0-mini", MINI, names, labels=np.zeros(40))
    with pytest.raises(ValueError, match=r"category\.json: categories \['vehicle\.hovercraft'\]"):
        NuScenes(tmp_path, version="v1.0-mini").read(tokens[0], "train")


def test_damaged_files_name_the_file(mini):
    root, tokens = mini
    reader = NuScenes(root, version="v1.0-mini")
    path, label_path = reader.layout.files(tokens[0])
    label_path.write_bytes(b"\0" * 39)
    with pytest.raises(ValueError, match=r"_lidarseg\.bin: 39 labels.*40 points"):
        reader.read(tokens[0], "train")
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"\.pcd\.bin: 797 bytes are not a whole number"):
        reader.read(tokens[0], "train")
    label_path.write_bytes(b"")
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"\.pcd\.bin: the scene has no points"):
        reader.read(tokens[0], "train")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"\.pcd\.bin"):
        reader.read(tokens[0], "train")
    with pytest.raises(FileNotFoundError, match="no LiDAR keyframe 'another'"):
        reader.read("another", "train")


def test_readers_travel_to_workers(mini):
    root, tokens = mini
    reader = NuScenes(root, version="v1.0-mini")
    scenes = reader.scenes("val")
    copy = pickle.loads(pickle.dumps(reader))
    assert copy.scenes("val") == scenes
    np.testing.assert_array_equal(
        copy.read(tokens[0], "train").xyz, reader.read(tokens[0], "train").xyz
    )


def test_predictions_are_bytes_from_one_named_by_the_sweep(tmp_path):
    (tokens,) = [write_nuscenes(tmp_path, "v1.0-test", {"scene-0077": 2})]
    reader = NuScenes(tmp_path)
    for token in tokens:
        reader.write_prediction(tmp_path / "out", token, np.resize(np.arange(16), 40))
    path = tmp_path / "out" / "lidarseg" / "test" / f"{tokens[0]}_lidarseg.bin"
    assert path.read_bytes()[:16] == bytes(range(1, 17))
    assert reader.validate(tmp_path / "out", "test") == 2
    path.write_bytes(bytes(40))
    with pytest.raises(ValueError, match=r"ids \[0\] are not legal"):
        reader.validate(tmp_path / "out", "test")


@pytest.mark.parametrize("number", range(6))
def test_real_keyframes(shared_data, tmp_path, number):
    folder = shared_data / "nuscenes" / f"data{number}"
    points = np.fromfile(folder / "points.bin", dtype="<f4").reshape(-1, 5)
    raw = np.fromfile(folder / "ground.bin", dtype=np.uint8)
    (token,) = write_nuscenes(tmp_path, "v1.0-mini", {"scene-0061": 1}, points=points, labels=raw)
    sample = NuScenes(tmp_path, version="v1.0-mini").read(token, "train")
    np.testing.assert_array_equal(sample.xyz, points[:, :3])
    assert len(sample) == len(raw) > 30_000
    assert sample.intensity.min() >= 0 and 0.5 < sample.intensity.max() <= 1
    # the ego vehicle, more than a quarter of the points, and noise are ignored
    assert (sample.segment[(raw == 31) | (raw == 0)] == -1).all()
    assert 0.2 < (raw == 31).mean() < 0.3
    assert (sample.segment[raw == 24] == CLASSES["driveable_surface"]).all()
    # what is named driveable surface lies below the sensor, which is mounted at 1.84 m
    heights = sample.xyz[sample.segment == CLASSES["driveable_surface"], 2]
    assert -2.5 < np.median(heights) < -1.2
    assert np.median(sample.xyz[sample.segment == CLASSES["manmade"], 2]) > -1
    assert json.loads((tmp_path / "v1.0-mini" / "category.json").read_text())[24]["index"] == 24
