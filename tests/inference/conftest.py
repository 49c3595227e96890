"""A small network with random weights that asks for colour and height."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pc3d.inference import Predictor
from pc3d.models import MinkUNet
from pc3d.models.checkpoint import FORMAT
from pc3d.models.weights import Weights

MODEL = {
    "widths": [8, 8, 12, 12, 12, 8, 8, 8],
    "depths": [1] * 8,
    "stem_channels": 8,
    "stem_depth": 1,
    "stem_kernel_size": 3,
    "expand_down": False,
}
FACTS: dict[str, Any] = {
    "format": FORMAT,
    "model": {"_target_": "pc3d.models.MinkUNet", **MODEL},
    "transforms": [],
    "spec": {
        "name": "three",
        "class_names": ["ground", "tree", "roof"],
        "palette": [[160, 120, 80], [20, 160, 40], [200, 40, 40]],
        "raw_ids": [2, 5, 6],
        "raw_to_class": {2: 0, 5: 1, 6: 2, 1: -1},
    },
    "features": ["color", "height"],
    "voxel_size": 0.25,
    "extent": 12.0,
}


@pytest.fixture(scope="session")
def weights() -> Weights:
    """With norms that do not leave the random network constant."""
    torch.manual_seed(1)
    network = MinkUNet(in_channels=4, num_classes=3, **MODEL)
    torch.nn.init.normal_(network.head.weight, std=2.0)
    return Weights("a.ckpt", network.state_dict(), FACTS)


@pytest.fixture(scope="session")
def predictor(weights) -> Predictor:
    return Predictor.of(weights)


@pytest.fixture(scope="session")
def points() -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of a map in float64, and colours: 30 m x 20 m of hills."""
    rng = np.random.default_rng(4)
    xyz = rng.random((6000, 3)) * (30.0, 20.0, 3.0)
    xyz[:, 2] += np.sin(xyz[:, 0] / 4) * 2
    color = rng.integers(0, 256, (6000, 3)).astype(np.uint8)
    return xyz + np.array([931_000.125, 6_449_000.5, 80.0]), color
