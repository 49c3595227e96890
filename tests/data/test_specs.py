"""The label spaces, against what their data sets publish."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

import numpy as np
import pytest

from pc3d.data.specs import (
    NUSCENES16,
    S3DIS13,
    SCANNET20,
    SCANNET200,
    SEMANTICKITTI19,
    SEMANTICKITTI19_SPVNAS,
    SPECS,
)
from pc3d.data.specs.nuscenes16 import CLASS_OF_CATEGORY
from pc3d.data.specs.scannet200 import GROUPS
from tests.data.fixtures import CATEGORIES


@pytest.mark.parametrize("spec", SPECS.values(), ids=list(SPECS))
def test_every_class_has_its_own_name_colour_and_id(spec):
    assert spec.num_classes == int(re.search(r"(\d+)(_|$)", spec.name)[1])
    assert len(set(spec.class_names)) == len(set(spec.raw_ids)) == spec.num_classes
    assert len(set(spec.palette)) == spec.num_classes
    assert all(0 <= value <= 255 for color in spec.palette for value in color)
    assert set(spec.raw_to_class.values()) - {-1} == set(range(spec.num_classes))


@pytest.mark.parametrize("spec", [SCANNET20, SCANNET200, S3DIS13, SEMANTICKITTI19])
def test_ids_of_files_are_ids_of_submissions(spec):
    for index, raw in enumerate(spec.raw_ids):
        assert spec.raw_to_class[raw] == index
    classes = np.arange(spec.num_classes)
    np.testing.assert_array_equal(spec.to_class(spec.to_raw(classes), "file"), classes)


@pytest.mark.parametrize("spec", SPECS.values(), ids=list(SPECS))
def test_an_unknown_id_is_an_error_of_the_file(spec):
    for wrong in (-1, 9999, 2**40):
        with pytest.raises(ValueError, match=rf"a\.label: label ids \[{wrong}\]"):
            spec.to_class(np.array([spec.raw_ids[0], wrong]), "a.label")


def test_scannet20():
    ids = dict(zip(SCANNET20.class_names, SCANNET20.raw_ids, strict=True))
    assert tuple(ids.values()) == (*range(1, 13), 14, 16, 24, 28, 33, 34, 36, 39)
    assert ids["refrigerator"] == 24
    color = dict(zip(SCANNET20.class_names, SCANNET20.palette, strict=True))
    assert color["wall"] == (174, 199, 232)
    assert color["otherfurniture"] == (82, 84, 163)
    # 13 blinds, 40 otherprop and 0 are legal in files; 50 and 149 stand in three scenes by mistake
    for raw in (0, 13, 40, 50, 149):
        assert SCANNET20.raw_to_class[raw] == -1
    assert {41, 51, 148, 150} & SCANNET20.raw_to_class.keys() == set()


def test_scannet200_groups_and_classes():
    assert {name: len(group) for name, group in GROUPS.items()} == {
        "head": 66,
        "common": 68,
        "tail": 66,
    }
    assert sorted(index for group in GROUPS.values() for index in group) == list(range(200))
    place = {name: index for index, name in enumerate(SCANNET200.class_names)}
    raw = dict(zip(SCANNET200.class_names, SCANNET200.raw_ids, strict=True))
    assert place["chair"] == 1 and raw["mattress"] == 1191 and place["mattress"] == 199
    assert place["cushion"] in GROUPS["common"] and place["mailbox"] in GROUPS["head"]
    assert place["storage container"] in GROUPS["tail"]
    # absent from the validation split, by the benchmark's own list
    only_train = (121, 221, 286, 331, 399, 572, 581, 1174, 1178, 1183, 1190)
    assert [SCANNET200.class_names[SCANNET200.raw_to_class[i]] for i in only_train] == [
        "bicycle", "storage container", "candle", "guitar case", "purse", "alarm clock",
        "music stand", "cd case", "structure", "storage organizer", "luggage",
    ]  # fmt: skip


def test_scannet200_as_a_whole():
    """The digest is of the published list: `<id> <name> <H, C or T>`, in train-index order."""
    group_of = {index: name[0].upper() for name, group in GROUPS.items() for index in group}
    rows = zip(SCANNET200.raw_ids, SCANNET200.class_names, range(200), strict=True)
    text = ";".join(f"{raw} {name} {group_of[index]}" for raw, name, index in rows)
    digest = "754fc60cc4010166cf80f2e679ba1a2a1744e86206dcc97b319359671a932447"
    assert hashlib.sha256(text.encode()).hexdigest() == digest


def test_scannet200_shares_colours_with_scannet20_where_the_class_is_the_same():
    wide = dict(zip(SCANNET200.class_names, SCANNET200.palette, strict=True))
    for name, color in zip(SCANNET20.class_names, SCANNET20.palette, strict=True):
        if name in wide and name != "desk":
            assert wide[name] == color, name


def test_s3dis_is_compared_by_name_since_two_orders_are_in_use():
    ours = ("ceiling", "floor", "wall", "beam", "column", "window", "door", "table", "chair",
            "sofa", "bookcase", "board", "clutter")  # fmt: skip
    theirs = ("ceiling", "floor", "wall", "beam", "column", "window", "door", "chair", "table",
              "bookcase", "sofa", "board", "clutter")  # fmt: skip
    assert S3DIS13.class_names == ours
    assert sorted(theirs) == sorted(ours) and theirs != ours
    # the class that the other order calls 7 is our 8
    assert [S3DIS13.class_names.index(name) for name in theirs[7:11]] == [8, 7, 10, 9]
    color = dict(zip(ours, S3DIS13.palette, strict=True))
    assert color["chair"] == (255, 0, 0) and color["bookcase"] == (10, 200, 100)


KITTI_MAP = {
    "car": (10, 252), "bicycle": (11,), "motorcycle": (15,), "truck": (18, 258),
    "other-vehicle": (20, 13, 16, 256, 257, 259), "person": (30, 254), "bicyclist": (31, 253),
    "motorcyclist": (32, 255), "road": (40, 60), "parking": (44,), "sidewalk": (48,),
    "other-ground": (49,), "building": (50,), "fence": (51,), "vegetation": (70,), "trunk": (71,),
    "terrain": (72,), "pole": (80,), "traffic-sign": (81,),
}  # fmt: skip


def test_semantickitti_with_moving_ids():
    assert tuple(KITTI_MAP) == SEMANTICKITTI19.class_names
    expected = {raw: -1 for raw in (0, 1, 52, 99)}
    expected |= {raw: i for i, ids in enumerate(KITTI_MAP.values()) for raw in ids}
    assert dict(SEMANTICKITTI19.raw_to_class) == expected
    assert SEMANTICKITTI19.raw_ids == tuple(ids[0] for ids in KITTI_MAP.values())


def test_the_map_of_spvnas_leaves_out_buses_trains_and_lane_markings():
    left_out = {13, 16, 60, 256, 257}  # 259 moving-other-vehicle stays
    for raw, index in SEMANTICKITTI19.raw_to_class.items():
        assert SEMANTICKITTI19_SPVNAS.raw_to_class[raw] == (-1 if raw in left_out else index)
    assert SEMANTICKITTI19_SPVNAS.class_names == SEMANTICKITTI19.class_names
    assert SEMANTICKITTI19_SPVNAS.raw_to_class.keys() == SEMANTICKITTI19.raw_to_class.keys()


def test_colours_of_semantickitti_are_rgb_though_its_file_is_bgr():
    color = dict(zip(SEMANTICKITTI19.class_names, SEMANTICKITTI19.palette, strict=True))
    assert color["car"] == (100, 150, 245)
    assert color["building"] == (255, 200, 0)
    assert color["vegetation"] == (0, 175, 0)


def test_semantickitti_against_its_own_file(shared_data):
    """`semantic-kitti.yaml`: colours by raw id (BGR), and the map of ids."""
    text = (shared_data / "semantickitti" / "semantic-kitti.yaml").read_text()

    def section(name: str) -> str:
        return re.search(rf"^{name}:.*\n((?:[ ]+.*\n)+)", text, re.MULTILINE)[1]

    bgr = {
        int(raw): tuple(int(v) for v in values.split(","))
        for raw, values in re.findall(r"(\d+)\s*:\s*\[([\d, ]+)\]", section("color_map"))
    }
    for raw, color in zip(SEMANTICKITTI19.raw_ids, SEMANTICKITTI19.palette, strict=True):
        assert bgr[raw] == color[::-1]
    learning_map = re.findall(r"(\d+)\s*:\s*(\d+)", section("learning_map"))
    assert {int(raw): int(c) - 1 for raw, c in learning_map} == dict(SEMANTICKITTI19.raw_to_class)
    inverse = re.findall(r"(\d+)\s*:\s*(\d+)", section("learning_map_inv"))
    assert tuple(int(raw) for c, raw in inverse if int(c) > 0) == SEMANTICKITTI19.raw_ids


def test_nuscenes_categories_and_ids():
    assert NUSCENES16.raw_ids == tuple(range(1, 17))
    assert CLASS_OF_CATEGORY.keys() == set(CATEGORIES)
    for index, name in enumerate(CATEGORIES):
        assert NUSCENES16.raw_to_class[index] == CLASS_OF_CATEGORY[name]
    # the challenge's map, from ids to classes that count from 1
    challenge = {9: 1, 14: 2, 15: 3, 16: 3, 17: 4, 18: 5, 21: 6, 2: 7, 3: 7, 4: 7, 6: 7, 12: 8,
                 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 30: 16}  # fmt: skip
    assert {r: c + 1 for r, c in NUSCENES16.raw_to_class.items() if c >= 0} == challenge
    ignored = [name for name, c in CLASS_OF_CATEGORY.items() if c == -1]
    assert {"noise", "vehicle.ego", "static.other", "animal"} <= set(ignored)
    counts = Counter(CLASS_OF_CATEGORY.values())
    assert counts[NUSCENES16.class_names.index("pedestrian")] == 4
    assert counts[NUSCENES16.class_names.index("bus")] == 2
