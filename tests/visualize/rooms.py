"""A room of three boxes for tests: floor, wall and a chair."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pc3d.data.specs import SCANNET20

WALL, FLOOR, CHAIR, DOOR = (
    SCANNET20.class_names.index(name) for name in ("wall", "floor", "chair", "door")
)


class Room(NamedTuple):
    xyz: NDArray[np.float32]
    rgb: NDArray[np.uint8]
    labels: NDArray[np.int64]


def make_room(num_points: int = 3000, seed: int = 0) -> Room:
    """A floor of 4 x 3 m, one wall 2 m high and a chair; one point in 50 has no label."""
    rng = np.random.default_rng(seed)
    classes = rng.choice([FLOOR, WALL, CHAIR], size=num_points, p=[0.6, 0.3, 0.1])
    xyz = rng.random((num_points, 3)) * [4.0, 3.0, 2.0]
    xyz[classes == FLOOR, 2] = 0.0
    xyz[classes == WALL, 1] = 3.0
    xyz[classes == CHAIR] = [1.0, 1.0, 0.0] + rng.random(((classes == CHAIR).sum(), 3)) * 0.5
    rgb = rng.integers(0, 256, (num_points, 3)).astype(np.uint8)
    labels = np.where(rng.random(num_points) < 0.02, -1, classes)
    return Room(xyz.astype(np.float32), rgb, labels)
