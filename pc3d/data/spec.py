"""The facts about a data set that never stand in YAML: classes, colours, file ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

IGNORE_INDEX = -1
"""The one ignore label inside pc3d. Files' own values are mapped to it at the edge."""


@dataclass(frozen=True)
class DatasetSpec:
    """The label space of a data set.

    Args:
        name: field-standard name, e.g. `"scannet20"`.
        class_names: one name per class, in train-index order.
        palette: RGB colour (0..255) per class.
        raw_ids: the id that files and submissions use for each class, in train-index order.
        raw_to_class: every id that may legally stand in a label file, mapped to its class or to
            `IGNORE_INDEX`. An id outside this map is an error of the file, never class 0.
        sensor: `"lidar"` if files hold single scans with the sensor at zero, which are then also
            scored by distance.
    """

    name: str
    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    raw_ids: tuple[int, ...]
    raw_to_class: Mapping[int, int]
    sensor: Literal["lidar"] | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.class_names), len(self.palette), len(self.raw_ids)}
        if len(lengths) != 1:
            raise ValueError(
                f"{self.name}: class_names, palette and raw_ids must have one entry per class; "
                f"got {len(self.class_names)}, {len(self.palette)}, {len(self.raw_ids)}"
            )

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def to_class(self, raw: NDArray[np.integer], source: str) -> NDArray[np.int64]:
        """Map the ids of a label file to classes.

        Args:
            raw: [P] ids as they stand in the file.
            source: the file, named in the error.

        Returns:
            [P] int64 classes in `[0, num_classes)` or `IGNORE_INDEX`.

        Raises:
            ValueError: an id that `raw_to_class` does not know.
        """
        raw = np.asarray(raw, dtype=np.int64)
        low, high = min(self.raw_to_class), max(self.raw_to_class)
        unknown_class = IGNORE_INDEX - 1
        table = np.full(high - low + 1, unknown_class, dtype=np.int64)
        for raw_id, class_id in self.raw_to_class.items():
            table[raw_id - low] = class_id
        # Extremes are found several times faster than a mask, and few files have a wrong id.
        if raw.size == 0 or (raw.min() >= low and raw.max() <= high):
            classes: NDArray[np.int64] = table[raw - low]
            if raw.size == 0 or classes.min() != unknown_class:
                return classes
        found = [raw_id for raw_id in np.unique(raw).tolist() if raw_id not in self.raw_to_class]
        raise ValueError(
            f"{source}: label ids {found[:8]} are not {self.name} ids (known: {low}..{high}). "
            "Is this file from another data set or release?"
        )

    def to_raw(self, classes: NDArray[np.integer]) -> NDArray[np.int64]:
        """Map classes to the ids that submissions use.

        Raises:
            ValueError: a class outside `[0, num_classes)`; a prediction is never "ignore".
        """
        if len(classes) and not (classes.min() >= 0 and classes.max() < self.num_classes):
            raise ValueError(
                f"{self.name}: predictions must be classes 0..{self.num_classes - 1}; got "
                f"{int(classes.min())}..{int(classes.max())}"
            )
        return np.asarray(self.raw_ids, dtype=np.int64)[classes]
