"""nuScenes-lidarseg, the 16 classes of the challenge.

Files hold the index of one of 32 categories, which `category.json` names; submissions hold the
position in this list, from 1. The guide for annotators numbers categories differently from the
released files: names decide (`CLASS_OF_CATEGORY`).
"""

from pc3d.data.spec import IGNORE_INDEX, DatasetSpec

# (name, RGB, its categories by index and name)
_CLASSES: tuple[tuple[str, tuple[int, int, int], dict[int, str]], ...] = (
    ("barrier", (112, 128, 144), {9: "movable_object.barrier"}),
    ("bicycle", (220, 20, 60), {14: "vehicle.bicycle"}),
    ("bus", (255, 127, 80), {15: "vehicle.bus.bendy", 16: "vehicle.bus.rigid"}),
    ("car", (255, 158, 0), {17: "vehicle.car"}),
    ("construction_vehicle", (233, 150, 70), {18: "vehicle.construction"}),
    ("motorcycle", (255, 61, 99), {21: "vehicle.motorcycle"}),
    (
        "pedestrian",
        (0, 0, 230),
        {
            2: "human.pedestrian.adult",
            3: "human.pedestrian.child",
            4: "human.pedestrian.construction_worker",
            6: "human.pedestrian.police_officer",
        },
    ),
    ("traffic_cone", (47, 79, 79), {12: "movable_object.trafficcone"}),
    ("trailer", (255, 140, 0), {22: "vehicle.trailer"}),
    ("truck", (255, 99, 71), {23: "vehicle.truck"}),
    ("driveable_surface", (0, 207, 191), {24: "flat.driveable_surface"}),
    ("other_flat", (175, 0, 75), {25: "flat.other"}),
    ("sidewalk", (75, 0, 75), {26: "flat.sidewalk"}),
    ("terrain", (112, 180, 60), {27: "flat.terrain"}),
    ("manmade", (222, 184, 135), {28: "static.manmade"}),
    ("vegetation", (0, 175, 0), {30: "static.vegetation"}),
)
_IGNORED: dict[int, str] = {
    0: "noise",
    1: "animal",
    5: "human.pedestrian.personal_mobility",
    7: "human.pedestrian.stroller",
    8: "human.pedestrian.wheelchair",
    10: "movable_object.debris",
    11: "movable_object.pushable_pullable",
    13: "static_object.bicycle_rack",
    19: "vehicle.emergency.ambulance",
    20: "vehicle.emergency.police",
    29: "static.other",
    31: "vehicle.ego",
}

NUSCENES16 = DatasetSpec(
    name="nuscenes16",
    class_names=tuple(name for name, _, _ in _CLASSES),
    palette=tuple(color for _, color, _ in _CLASSES),
    raw_ids=tuple(range(1, len(_CLASSES) + 1)),
    raw_to_class={
        **{raw: IGNORE_INDEX for raw in _IGNORED},
        **{raw: index for index, (*_, names) in enumerate(_CLASSES) for raw in names},
    },
    sensor="lidar",
)
CLASS_OF_CATEGORY: dict[str, int] = {
    **{name: IGNORE_INDEX for name in _IGNORED.values()},
    **{name: index for index, (*_, names) in enumerate(_CLASSES) for name in names.values()},
}
"""The class of every category of `category.json`, or `IGNORE_INDEX`."""
