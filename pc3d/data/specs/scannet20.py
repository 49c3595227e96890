"""ScanNet v2, the 20 classes of the benchmark (ids are NYU40 ids)."""

from pc3d.data.spec import IGNORE_INDEX, DatasetSpec

_CLASSES: tuple[tuple[int, str, tuple[int, int, int]], ...] = (
    (1, "wall", (174, 199, 232)),
    (2, "floor", (152, 223, 138)),
    (3, "cabinet", (31, 119, 180)),
    (4, "bed", (255, 187, 120)),
    (5, "chair", (188, 189, 34)),
    (6, "sofa", (140, 86, 75)),
    (7, "table", (255, 152, 150)),
    (8, "door", (214, 39, 40)),
    (9, "window", (197, 176, 213)),
    (10, "bookshelf", (148, 103, 189)),
    (11, "picture", (196, 156, 148)),
    (12, "counter", (23, 190, 207)),
    (14, "desk", (247, 182, 210)),
    (16, "curtain", (219, 219, 141)),
    (24, "refrigerator", (255, 127, 14)),
    (28, "shower curtain", (158, 218, 229)),
    (33, "toilet", (44, 160, 44)),
    (34, "sink", (112, 128, 144)),
    (36, "bathtub", (227, 119, 194)),
    (39, "otherfurniture", (82, 84, 163)),
)

# 0..40 are NYU40 ids. 50 and 149 stand in scene0270_00, scene0270_02 and scene0384_00 of the
# release by mistake and count as unlabelled.
_LEGAL = (*range(41), 50, 149)
_CLASS_OF = {raw: index for index, (raw, _, _) in enumerate(_CLASSES)}

SCANNET20 = DatasetSpec(
    name="scannet20",
    class_names=tuple(name for _, name, _ in _CLASSES),
    palette=tuple(color for _, _, color in _CLASSES),
    raw_ids=tuple(raw for raw, _, _ in _CLASSES),
    raw_to_class={raw: _CLASS_OF.get(raw, IGNORE_INDEX) for raw in _LEGAL},
)
