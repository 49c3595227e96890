"""The raw ids of SemanticKITTI that streets have, and what returns are made by."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from data_prep.rooms.shapes import Shape, Vector, moved, rotation_about
from data_prep.streets.surfaces import Surface


class Label(IntEnum):
    """Raw ids, named as in semantic-kitti.yaml."""

    UNLABELED = 0
    OUTLIER = 1
    CAR = 10
    BICYCLE = 11
    MOTORCYCLE = 15
    TRUCK = 18
    OTHER_VEHICLE = 20
    PERSON = 30
    BICYCLIST = 31
    MOTORCYCLIST = 32
    ROAD = 40
    PARKING = 44
    SIDEWALK = 48
    OTHER_GROUND = 49
    BUILDING = 50
    FENCE = 51
    LANE_MARKING = 60
    VEGETATION = 70
    TRUNK = 71
    TERRAIN = 72
    POLE = 80
    TRAFFIC_SIGN = 81
    OTHER_OBJECT = 99
    MOVING_CAR = 252
    MOVING_BICYCLIST = 253
    MOVING_PERSON = 254
    MOVING_MOTORCYCLIST = 255
    MOVING_BUS = 257
    MOVING_TRUCK = 258
    MOVING_OTHER_VEHICLE = 259


COUNTED = frozenset(label for label in Label if label < Label.ROAD or label >= Label.MOVING_CAR) - {
    Label.UNLABELED,
    Label.OUTLIER,
}
"""Labels of things that have instance ids; all else has id 0."""


@dataclass(frozen=True, eq=False)
class Thing:
    """One labelled object.

    Attributes:
        label: raw id.
        shapes: its primitives. Own frame: x forward, z = 0 on the ground.
        instance: id within its label and sequence, 0 where it is none of `COUNTED`.
    """

    label: Label
    shapes: tuple[Shape[Surface], ...]
    instance: int = 0

    def placed(self, position: Vector, yaw: float) -> Thing:
        """Turned by `yaw` (radians, about the own origin), then shifted to a [3] position."""
        shapes = moved(self.shapes, rotation_about("z", yaw), position)
        return Thing(self.label, tuple(shapes), self.instance)
