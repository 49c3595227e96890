"""SemanticKITTI, single scan, 19 classes: the official map, and that of SPVNAS."""

from dataclasses import replace

from pc3d.data.spec import IGNORE_INDEX, DatasetSpec

# (id of submissions, name, RGB, every raw id of the class). The official yaml lists colours as
# BGR; these are RGB.
_CLASSES: tuple[tuple[int, str, tuple[int, int, int], tuple[int, ...]], ...] = (
    (10, "car", (100, 150, 245), (10, 252)),
    (11, "bicycle", (100, 230, 245), (11,)),
    (15, "motorcycle", (30, 60, 150), (15,)),
    (18, "truck", (80, 30, 180), (18, 258)),
    (20, "other-vehicle", (0, 0, 255), (20, 13, 16, 256, 257, 259)),
    (30, "person", (255, 30, 30), (30, 254)),
    (31, "bicyclist", (255, 40, 200), (31, 253)),
    (32, "motorcyclist", (150, 30, 90), (32, 255)),
    (40, "road", (255, 0, 255), (40, 60)),
    (44, "parking", (255, 150, 255), (44,)),
    (48, "sidewalk", (75, 0, 75), (48,)),
    (49, "other-ground", (175, 0, 75), (49,)),
    (50, "building", (255, 200, 0), (50,)),
    (51, "fence", (255, 120, 50), (51,)),
    (70, "vegetation", (0, 175, 0), (70,)),
    (71, "trunk", (135, 60, 0), (71,)),
    (72, "terrain", (150, 240, 80), (72,)),
    (80, "pole", (255, 240, 150), (80,)),
    (81, "traffic-sign", (255, 0, 0), (81,)),
)
_IGNORED = (0, 1, 52, 99)  # unlabeled, outlier, other-structure, other-object

SEMANTICKITTI19 = DatasetSpec(
    name="semantickitti19",
    class_names=tuple(name for _, name, _, _ in _CLASSES),
    palette=tuple(color for _, _, color, _ in _CLASSES),
    raw_ids=tuple(raw for raw, _, _, _ in _CLASSES),
    raw_to_class={
        **{raw: IGNORE_INDEX for raw in _IGNORED},
        **{raw: index for index, (*_, ids) in enumerate(_CLASSES) for raw in ids},
    },
    sensor="lidar",
)

# bus, on-rails, lane-marking, moving-on-rails, moving-bus
_IGNORED_BY_SPVNAS = (13, 16, 60, 256, 257)

SEMANTICKITTI19_SPVNAS = replace(
    SEMANTICKITTI19,
    name="semantickitti19_spvnas",
    raw_to_class={
        **SEMANTICKITTI19.raw_to_class,
        **{raw: IGNORE_INDEX for raw in _IGNORED_BY_SPVNAS},
    },
)
"""The map of the SPVNAS code, which leaves out buses, trains and lane markings. Scores of the two
maps differ by up to a few tenths of a point: compare within one."""
