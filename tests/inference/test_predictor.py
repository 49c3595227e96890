"""`pc3d.load(...).predict(...)`: the same as the test program, in any order, of any size."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import pc3d
from pc3d.data.collate import collate
from pc3d.data.sample import read_points
from pc3d.inference import Predictor, find_weights
from pc3d.inference import predictor as module
from pc3d.models.weights import read_weights, write_weights
from tests.inference.conftest import FACTS


def reference(predictor, xyz, color):
    """One forward pass over the whole cloud, as a test makes it."""
    sample = read_points("a", "a", xyz, color=color.astype(np.float32))
    batch = collate([predictor.voxelize(sample)])
    with torch.inference_mode():
        return predictor.network(batch).at_points(batch).softmax(dim=1).numpy()


def test_a_cloud_of_one_window_is_what_a_test_makes_of_it(predictor, points):
    xyz, color = points
    expected = reference(predictor, xyz, color)
    found = predictor.predict(xyz, color, extent=100.0, probabilities=True)
    np.testing.assert_array_equal(found.probabilities, expected)
    np.testing.assert_array_equal(found.classes, expected.argmax(axis=1))
    np.testing.assert_array_equal(found.confidence, expected.max(axis=1))
    assert len(np.unique(found.classes)) == 3
    assert (found.classes.dtype, found.confidence.dtype) == (np.int64, np.float32)
    assert predictor.predict(xyz, color, extent=100.0).probabilities is None


def test_windows_are_looked_at_one_by_one(predictor, points):
    """Each with features of its own, such as the height above its own ground."""
    xyz, color = points
    found = predictor.predict(xyz, color, extent=15.0, overlap=0.0, probabilities=True)
    assert predictor.extent == 12.0
    low = xyz[:, :2].min(axis=0)
    corner = (xyz[:, :2] - low < (14.9, 14.9)).all(axis=1) & (xyz[:, 1] - low[1] < 4.9)
    # Of starts 0 and about 15 along x, and 0 and about 5 along y, only one window has this part.
    inside = (xyz[:, 0] - low[0] < 15.0) & (xyz[:, 1] - low[1] < 15.0)
    expected = reference(predictor, xyz[inside], color[inside])
    rows = np.flatnonzero(inside)
    alone = np.isin(rows, np.flatnonzero(corner))
    assert alone.sum() > 300
    np.testing.assert_array_equal(found.probabilities[rows[alone]], expected[alone])
    whole = reference(predictor, xyz, color)
    assert np.abs(found.probabilities - whole).max() > 1e-3


def test_the_extent_of_training_is_the_default(predictor, points):
    xyz, color = points
    found = predictor.predict(xyz, color, probabilities=True).probabilities
    asked = predictor.predict(xyz, color, extent=12.0, overlap=0.25, probabilities=True)
    np.testing.assert_array_equal(found, asked.probabilities)
    scan = replace(predictor, extent=None).predict(xyz, color, probabilities=True).probabilities
    np.testing.assert_array_equal(scan, reference(predictor, xyz, color))
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_every_point_keeps_its_place_whatever_the_order(predictor, points):
    xyz, color = points
    order = np.random.default_rng(0).permutation(len(xyz))
    found = predictor.predict(xyz, color, probabilities=True).probabilities
    shuffled = predictor.predict(xyz[order], color[order], probabilities=True).probabilities
    np.testing.assert_allclose(shuffled, found[order], atol=1e-5)


def test_coordinates_of_maps_lose_nothing(predictor, points):
    """A shift by a whole number of metres changes no voxel."""
    xyz, color = points
    found = predictor.predict(xyz, color).classes
    shifted = predictor.predict(xyz - (930_000, 6_440_000, 0), color).classes
    assert (found == shifted).mean() > 0.999


def test_transforms_of_evaluation_are_applied(weights, points):
    xyz, color = points
    clamp = {"_target_": "pc3d.data.transforms.ClampRange", "low": None, "high": [5.0, 99.0, 99.0]}
    changed = replace(weights, facts={**FACTS, "transforms": [clamp]})
    local = xyz - xyz.min(axis=0)
    plain = Predictor.of(weights).predict(local, color, extent=99.0).classes
    clamped = Predictor.of(changed).predict(local, color, extent=99.0).classes
    far = np.minimum(local, (5.0, 99.0, 99.0))
    expected = Predictor.of(weights).predict(far, color, extent=99.0).classes
    assert (clamped == expected).mean() > 0.99 and (clamped != plain).mean() > 0.05


def test_memory_is_bounded_by_smaller_windows(predictor, points, monkeypatch):
    xyz, color = points
    seen = []
    score = Predictor._score

    def counting(self, xyz, fields):
        seen.append(len(xyz))
        return score(self, xyz, fields)

    monkeypatch.setattr(Predictor, "_score", counting)
    monkeypatch.setattr(module, "MAX_POINTS", 700)
    assert len(predictor.predict(xyz, color, extent=99.0).classes) == len(xyz)
    assert len(seen) > 6000 / 1400 and max(seen) < 4 * 700


def test_loading_by_name_file_and_run(weights, points, tmp_path, monkeypatch):
    path = tmp_path / "a=b (1).safetensors"
    write_weights(path, weights)
    xyz, color = points
    expected = Predictor.of(weights).predict(xyz, color).classes
    np.testing.assert_array_equal(pc3d.load(path).predict(xyz, color).classes, expected)
    shipped = tmp_path / "weights"
    shipped.mkdir()
    (shipped / "tiny-s.safetensors").write_bytes(path.read_bytes())
    monkeypatch.setattr("pc3d.inference.loading.files", lambda _: tmp_path)
    np.testing.assert_array_equal(pc3d.load("tiny-s", "cpu").predict(xyz, color).classes, expected)
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").touch()
    (run / "checkpoints" / "best.ckpt").touch()
    assert find_weights(run) == run / "checkpoints" / "best.ckpt"
    with pytest.raises(FileNotFoundError, match=r"no weights 'tiny-m'.*comes with pc3d \(tiny-s\)"):
        pc3d.load("tiny-m")


def test_facts_survive_json(weights, tmp_path):
    write_weights(tmp_path / "a.safetensors", weights)
    spec = Predictor.of(read_weights(tmp_path / "a.safetensors")).spec
    assert spec == Predictor.of(weights).spec
    assert spec.raw_to_class == {2: 0, 5: 1, 6: 2, 1: -1}
    assert json.loads(json.dumps(FACTS))["spec"]["raw_to_class"] != FACTS["spec"]["raw_to_class"]


@pytest.mark.parametrize("key", ["spec", "features", "voxel_size", "transforms"])
def test_weights_that_say_too_little(weights, key):
    facts = {name: value for name, value in FACTS.items() if name != key}
    with pytest.raises(ValueError, match=rf"does not say its {key}: .*pc3d export run="):
        Predictor.of(replace(weights, facts=facts))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"xyz": np.zeros((5, 2))}, r"numbers \[P, 3\]; got float64 \[5, 2\]"),
        ({"xyz": np.zeros((0, 3))}, "no points"),
        ({"xyz": np.full((5, 3), np.nan)}, "5 of 5 points have NaN"),
        ({"xyz": np.array([["a"] * 3])}, "must be numbers"),
        ({"color": None}, "needs the color of every point, and there is none"),
        ({"color": np.zeros((4, 3))}, r"color must be numbers \[5, 3\]; got float64 \[4, 3\]"),
        ({"color": np.zeros(5)}, r"color must be numbers \[5, 3\]; got float64 \[5\]"),
        ({"intensity": np.zeros((5, 1))}, r"intensity must be numbers \[5\]; got float64 \[5, 1\]"),
        ({"color": np.full((5, 3), "a")}, "color must be numbers"),
        ({"color": np.full((5, 3), np.nan)}, "color has values that are NaN or infinite"),
        ({"color": np.full((5, 3), 0.5)}, r"color must be 0..255; got 0.5..0.5. Multiply by 255"),
        ({"color": np.full((5, 3), 256)}, "got 256..256. Colours of 16 bits / 257"),
        ({"color": np.full((5, 3), -1)}, "color must be 0..255; got -1..-1"),
        ({"xyz": None}, r"numbers \[P, 3\]; got object"),
        ({"xyz": np.eye(5, 3) * 1e7}, "the points: .*less than 1,000 km"),
        (
            {"extent": 1e-9, "xyz": np.eye(5, 3)},
            "1 m, .* 1,000,000 windows of 1e-09",
        ),
        ({"overlap": 1.0}, "overlap is a share"),
        ({"extent": 0}, "positive number of metres; got 0"),
    ],
)
def test_bad_input_is_refused_before_any_work(predictor, change, words):
    arguments = {"xyz": np.zeros((5, 3)), "color": np.zeros((5, 3)), **change}
    with pytest.raises(ValueError, match=words):
        predictor.predict(**arguments)


def test_small_integers_do_not_overflow(predictor, points):
    xyz = np.rint((points[0][:500] - points[0].mean(axis=0)) * (8, 12, 3)).astype(np.int64)
    assert xyz.min() < -100 and 100 < xyz.max() < 128
    expected = predictor.predict(xyz.astype(np.float64), points[1][:500])
    found = predictor.predict(xyz.astype(np.int8), points[1][:500])
    np.testing.assert_array_equal(found.confidence, expected.confidence)
    np.testing.assert_array_equal(found.classes, expected.classes)


@pytest.mark.parametrize("device", ["cuda:99", "meta", "gpu", 0])
def test_devices_that_are_not_there(weights, tmp_path, device):
    write_weights(tmp_path / "a.safetensors", weights)
    with pytest.raises(ValueError, match=f"device={device}: there are cpu"):
        pc3d.load(tmp_path / "a.safetensors", device)


def test_one_point_is_a_cloud(predictor):
    found = predictor.predict(np.array([[3, 4, 5]]), np.array([[1, 2, 3]]))
    assert found.classes.shape == (1,) and 0 < found.confidence[0] <= 1


def test_a_window_over_the_voxel_budget_is_cut(predictor, points, monkeypatch):
    xyz, color = points
    sizes = []
    forward = type(predictor.network).forward

    def counting(self, batch):
        sizes.append(len(batch.voxels.coords))
        return forward(self, batch)

    monkeypatch.setattr(type(predictor.network), "forward", counting)
    monkeypatch.setattr(module, "MAX_VOXELS", 1500)
    predictor.predict(xyz, color, extent=100.0)
    assert len(sizes) > 2 and max(sizes) <= 1500


def test_weights_in_the_home_folder(monkeypatch, tmp_path, weights):
    write_weights(tmp_path / "a.safetensors", weights)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_weights("~/a.safetensors") == tmp_path / "a.safetensors"


@pytest.mark.parametrize(
    "spec", [{}, {**FACTS["spec"], "palette": 3}, {**FACTS["spec"], "raw_to_class": [1]}]
)
def test_a_label_space_that_is_damaged(weights, spec):
    with pytest.raises(ValueError, match=r"a\.ckpt: its label space is damaged"):
        Predictor.of(replace(weights, facts={**FACTS, "spec": spec}))
