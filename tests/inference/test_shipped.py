"""The weights that come with pc3d: small, self-describing, and as good as they say."""

from __future__ import annotations

import json
import re
import struct

import numpy as np
import pytest

import pc3d
from data_prep.synthetic import generate
from pc3d.data.datasets import ScanNet
from pc3d.data.specs import SCANNET20
from pc3d.inference import shipped_weights
from pc3d.io.cloud import read_cloud

NAMES = ("als-s", "rooms-s")
TILE = "test_data_77055_627760_LA93_IGN69.laz"


def test_there_are_two_and_they_are_small():
    found = shipped_weights()
    assert tuple(found) == NAMES
    assert all(path.stat().st_size <= 5e6 for path in found.values())


@pytest.mark.parametrize("name", NAMES)
def test_the_file_says_what_it_is(name):
    """Read without pc3d: a header of JSON, as safetensors has it."""
    data = shipped_weights()[name].read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    facts = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["pc3d"])
    training = facts["training"]
    experiment = {"als-s": "experiment=als", "rooms-s": "experiment=rooms_s"}[name]
    assert experiment in training["overrides"] and re.fullmatch("[0-9a-f]{40}", training["commit"])
    assert ("Licence Ouverte 2.0" in training["data"]) == (name == "als-s") and training["data"]
    assert training["tests"] and all(test["miou"] > 0.7 for test in training["tests"])
    assert facts["voxel_size"] > 0 and facts["features"] and facts["spec"]["class_names"]
    assert not re.search(rb"/(root|home|tmp|work)/", data[8 : 8 + size])


def iou(classes: np.ndarray, truth: np.ndarray) -> list[float]:
    """By hand, of the classes that occur in the truth."""
    known = truth >= 0
    classes, truth = classes[known], truth[known]
    return [
        float(((classes == c) & (truth == c)).sum() / ((classes == c) | (truth == c)).sum())
        for c in np.unique(truth)
    ]


def test_a_room_that_training_did_not_see(tmp_path):
    root = generate(tmp_path, num_train=0, num_val=0, num_test=2, num_workers=0)
    predictor = pc3d.load("rooms-s", "cpu")
    assert predictor.spec.class_names == SCANNET20.class_names
    reader = ScanNet(root)
    for scene in reader.scenes("test"):
        room = reader.read(scene, "test")
        found = predictor.predict(room.xyz, room.color)
        assert np.mean(iou(found.classes, room.segment)) > 0.7


def test_the_airborne_tile_that_training_did_not_see(shared_data):
    path = shared_data / "ign_als" / TILE
    if not path.is_file():
        pytest.skip(f"no real scan at {path}")
    names = ("return_number", "number_of_returns", "classification")
    xyz, columns = read_cloud(path, names)
    returns = np.stack([columns[name] for name in names[:2]], axis=1)
    found = pc3d.load("als-s", "cpu").predict(xyz, returns=returns)
    truth = np.array([-1] * 2 + [0, 1, 2, 3, 4] + [-1] * 60)[columns["classification"]]
    assert np.mean(iou(found.classes, truth)) > 0.7
