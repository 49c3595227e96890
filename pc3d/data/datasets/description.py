"""The one YAML file that describes a data set of one's own: classes, columns, splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pc3d.data.columns import fields_of
from pc3d.data.spec import IGNORE_INDEX, DatasetSpec

SHIPPED = Path(__file__).parents[1] / "descriptions"
"""Descriptions that are named without a path."""


@dataclass(frozen=True)
class LabelClass:
    """A class.

    Attributes:
        name: as it is shown.
        ids: the ids that files have for it; predictions are written as the first.
        color: RGB, 0..255.
    """

    name: str
    ids: tuple[int, ...]
    color: tuple[int, int, int]


@dataclass(frozen=True)
class Description:
    """What the files of a folder hold, and what is wanted of it.

    Attributes:
        path: the YAML file.
        name: of the label space.
        classes: in the order of their indices.
        ignore: ids that are not scored; None for all that no class has.
        columns: from fields to columns, as `pc3d.data.columns.fields_of` takes them.
        names: columns of files that have no names for them.
        divide_by: what intensity is divided by, if anything.
        splits: from a split to patterns of files; None for the folders `train`, `val` and `test`.
        sensor: `"lidar"` for single scans with the sensor at zero.
    """

    path: Path
    name: str
    classes: tuple[LabelClass, ...]
    ignore: tuple[int, ...] | None
    columns: Mapping[str, tuple[str, ...] | None]
    names: tuple[str, ...]
    divide_by: Mapping[str, float]
    splits: Mapping[str, tuple[str, ...]] | None
    sensor: Literal["lidar"] | None

    @cached_property
    def spec(self) -> DatasetSpec:
        """The label space. Its map does not hold what `ignore: others` takes."""
        classes = {i: index for index, c in enumerate(self.classes) for i in c.ids}
        return DatasetSpec(
            name=self.name,
            class_names=tuple(c.name for c in self.classes),
            palette=tuple(c.color for c in self.classes),
            raw_ids=tuple(c.ids[0] for c in self.classes),
            raw_to_class={**dict.fromkeys(self.ignore or (), IGNORE_INDEX), **classes},
            sensor=self.sensor,
        )

    def settings(self) -> dict[str, Any]:
        """What the arrays of a scene follow from, as JSON has it."""
        return {
            "classes": [list(c.ids) for c in self.classes],
            "ignore": "others" if self.ignore is None else sorted(self.ignore),
            "columns": {f: None if c is None else list(c) for f, c in self.columns.items()},
            "names": list(self.names),
            "divide_by": dict(self.divide_by),
        }

    def fields_of(self, names: Mapping[str, Any], source: str) -> dict[str, tuple[str, ...]]:
        """The columns of every field of a file, which may lack labels.

        Args:
            names: the columns of the file.
            source: the file, named in errors.

        Raises:
            ValueError: the file lacks a column that the description names.
        """
        return fields_of(names, self.columns, source, optional=("label",))

    def to_class(self, raw: NDArray[np.integer], source: str) -> NDArray[np.int64]:
        """Map the ids of a file to classes.

        Args:
            raw: [P] ids as they stand in the file.
            source: the file, named in the error.

        Returns:
            [P] int64 classes or `IGNORE_INDEX`.

        Raises:
            ValueError: ids that are neither of a class nor ignored.
        """
        ids, inverse, counts = np.unique(raw, return_inverse=True, return_counts=True)
        unknown = self.unknown_ids(dict(zip(ids.tolist(), counts.tolist(), strict=True)))
        if unknown:
            shown = ", ".join(f"{i} ({n:,} points)" for i, n in list(unknown.items())[:8])
            raise ValueError(
                f"{source}: label ids that {self.path} does not know: {shown}"
                f"{', ...' if len(unknown) > 8 else ''}. Add them to a class there, or to `ignore` "
                "(`ignore: others` takes all)."
            )
        known = self.spec.raw_to_class
        classes = np.array([known.get(i, IGNORE_INDEX) for i in ids.tolist()], dtype=np.int64)
        found: NDArray[np.int64] = classes[inverse.reshape(-1)]
        return found

    def unknown_ids(self, counts: Mapping[int, int]) -> dict[int, int]:
        """Of the numbers of points by id, those of ids that are neither of a class nor ignored."""
        if self.ignore is None:
            return {}
        return {i: n for i, n in counts.items() if i not in self.spec.raw_to_class}
