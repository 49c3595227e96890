"""What `pc3d predict` writes is read back: classes, confidence, entropy, in every format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pc3d.data.spec import DatasetSpec
from pc3d.data.specs import SCANNET20
from pc3d.inference.files import class_ids, unlabelled_id
from pc3d.io.cloud import open_cloud, write_cloud
from tests.visualize.rooms import make_room
from tests.visualize.test_scene import read_scene, views
from visualize.__main__ import main
from visualize.predicted import read_classes, read_predicted

ROOM = make_room(200)
RNG = np.random.default_rng(0)
PROBABILITIES = RNG.dirichlet(np.full(20, 0.3), 200).astype(np.float32)
CLASSES = PROBABILITIES.argmax(axis=1)
ENTROPY = -(PROBABILITIES * np.log(np.maximum(PROBABILITIES, 1e-30))).sum(axis=1) / np.log(20)
FAR = DatasetSpec("far", ("a", "b"), ((1, 2, 3), (4, 5, 6)), (0, 300), {0: 0, 300: 1})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "scan.txt"
    np.savetxt(path, np.concatenate([ROOM.xyz, ROOM.rgb], axis=1), "%.3f", header="x y z r g b")
    return path


def written(source: Path, name: str, spec: DatasetSpec, classes: np.ndarray, **more) -> Path:
    """A file as `pc3d predict` writes it; class -1 is a point without finite features."""
    path = source.with_name(name)
    ids, _ = class_ids(spec, path)
    labels = np.where(classes < 0, unlabelled_id(ids), ids[classes]).astype(np.uint16)
    legend = dict(zip(ids.tolist(), spec.class_names, strict=True))
    write_cloud(open_cloud(source), path, {"classification": labels, **more}, legend)
    return path


@pytest.mark.parametrize("name", ["a.ply", "a.las", "a.laz"])
def test_classes_confidence_and_entropy(source: Path, name: str):
    confidence = PROBABILITIES.max(axis=1)
    path = written(source, name, SCANNET20, CLASSES, confidence=confidence, entropy=ENTROPY)
    found = read_predicted(path, SCANNET20, 200)
    np.testing.assert_array_equal(found.classes, CLASSES)
    np.testing.assert_array_equal(found.confidence, confidence)
    np.testing.assert_allclose(found.entropy, ENTROPY)
    assert read_classes(path, SCANNET20, 200).tolist() == CLASSES.tolist()


def test_both_follow_from_probabilities(source: Path):
    columns = {f"p_{n}": p for n, p in zip(SCANNET20.class_names, PROBABILITIES.T, strict=True)}
    found = read_predicted(written(source, "a.laz", SCANNET20, CLASSES, **columns), SCANNET20, 200)
    np.testing.assert_array_equal(found.confidence, PROBABILITIES.max(axis=1))
    np.testing.assert_allclose(found.entropy, ENTROPY, atol=1e-5)


@pytest.mark.parametrize("name", ["a.ply", "a.las"])
def test_ids_that_a_format_cannot_hold_and_points_without_a_class(source: Path, name: str):
    """Ids beyond a byte are numbered from 0 in LAS; 0 is a class, so nothing is another id."""
    classes = np.where(np.arange(200) % 7 == 0, -1, np.arange(200) % 2)
    found = read_predicted(written(source, name, FAR, classes), FAR, 200)
    np.testing.assert_array_equal(found.classes, classes)
    assert found.confidence is None and found.entropy is None


def test_a_page_of_a_labelled_file(source: Path):
    confidence = PROBABILITIES.max(axis=1)
    path = written(source, "b.laz", SCANNET20, CLASSES, confidence=confidence)
    out = source.with_name("b.html")
    main([f"scene={source}", f"pred={path}", f"out={out}", "voxel_size=0.5"])
    scene = read_scene(out)
    assert views(scene) == ["INPUT", "height", "PREDICTION", "confidence"]
    shown = scene["layers"][3]["ramp"] / 255.0
    np.testing.assert_allclose(shown, confidence, atol=0.003)
    assert scene["grid"]["size"] == 0.5 and scene["grid"]["complete"]
    low = np.floor(scene["xyz"].min(axis=0) / 0.5) // 4 * 4
    expected = np.floor(scene["xyz"] / 0.5 + 1e-9) - low
    assert (scene["grid"]["indices"] == expected).all(axis=1).mean() > 0.98


def test_ids_that_are_no_class_are_ignored_on_demand(source: Path):
    ids = np.array([1, 2, 3, 64, 2])
    path = source.with_name("l.txt")
    np.savetxt(path, np.column_stack([ROOM.xyz[:5], ids]), header="x y z label")
    spec = DatasetSpec("als", ("a", "b"), ((1, 2, 3), (4, 5, 6)), (2, 3), {2: 0, 3: 1})
    for ignore in (["others"], ["64", "1"]):
        assert read_classes(path, spec, 5, ignore).tolist() == [-1, 0, 1, -1, 0]
    assert read_classes(path, spec, 5, ["3", "others"]).tolist() == [-1, 0, -1, -1, 0]
    with pytest.raises(ValueError, match=r"label ids \[64\] are not als ids"):
        read_classes(path, spec, 5, ["1"])


def test_labels_of_the_airborne_weights(source: Path):
    """A label space may be that of weights."""
    labels = source.with_name("labels.txt")
    np.savetxt(labels, np.column_stack([ROOM.xyz, 2 + np.arange(200) % 3]), header="x y z label")
    out = source.with_name("c.html")
    main([f"scene={source}", f"labels={labels}", "spec=als-s", f"out={out}"])
    names = [c["name"] for c in read_scene(out)["classes"]]
    assert names == ["ground", "low vegetation", "medium vegetation"]
