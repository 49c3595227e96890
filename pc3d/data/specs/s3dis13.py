"""S3DIS, 13 classes. Files name a class in words; ids are positions in this order.

Other code bases list table, chair, sofa and bookcase in another order: compare by name.
"""

from pc3d.data.spec import DatasetSpec

_CLASSES: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("ceiling", (0, 255, 0)),
    ("floor", (0, 0, 255)),
    ("wall", (0, 255, 255)),
    ("beam", (255, 255, 0)),
    ("column", (255, 0, 255)),
    ("window", (100, 100, 255)),
    ("door", (200, 200, 100)),
    ("table", (170, 120, 200)),
    ("chair", (255, 0, 0)),
    ("sofa", (200, 100, 100)),
    ("bookcase", (10, 200, 100)),
    ("board", (200, 200, 200)),
    ("clutter", (50, 50, 50)),
)

S3DIS13 = DatasetSpec(
    name="s3dis13",
    class_names=tuple(name for name, _ in _CLASSES),
    palette=tuple(color for _, color in _CLASSES),
    raw_ids=tuple(range(len(_CLASSES))),
    raw_to_class={index: index for index in range(len(_CLASSES))},
)
