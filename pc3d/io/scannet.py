"""The small files of a ScanNet scan: label table, over-segmentation, aggregation, facts."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pc3d.io.reading import read_json, read_text, reading


class RawLabel(NamedTuple):
    """What the label table says of a raw category; 0 where it says nothing.

    Attributes:
        id: of the category, which ScanNet200 is made of.
        nyu40: of its NYU40 class.
    """

    id: int
    nyu40: int


class ObjectGroup(NamedTuple):
    """An annotated object.

    Attributes:
        label: raw category, e.g. `"office chair"`.
        segments: ids in the over-segmentation.
    """

    label: str
    segments: NDArray[np.int64]


def read_label_table(path: str | Path) -> dict[str, RawLabel]:
    """Read `scannetv2-labels.combined.tsv`, in any of the forms that it was released in.

    Columns are found by name; line ends, a byte order mark and further columns do not matter.

    Returns:
        From raw category to ids.

    Raises:
        ValueError: a column is missing, a number is none, or one category has two ids.
    """
    table: dict[str, RawLabel] = {}
    rows = csv.DictReader(
        StringIO(read_text(path), newline=None), delimiter="\t", quoting=csv.QUOTE_NONE
    )
    with reading(path):
        numbered = [(rows.line_num, row) for row in rows]
        names = rows.fieldnames or []
    columns = ("raw_category", "id", "nyu40id")
    missing = [name for name in columns if name not in names]
    if missing or not numbered:
        raise ValueError(
            f"{path}: the columns {missing} are missing, or there are no rows; got the columns "
            f"{str(names)[:400]}. Download scannetv2-labels.combined.tsv again; it is separated by "
            "tabs."
        )
    for number, row in numbered:
        where = f"{path}:{number}"
        if any(row[column] is None for column in columns):
            raise ValueError(f"{where}: the line is cut off. Download the table again.")
        name = row["raw_category"].strip()
        label = RawLabel(_id(row["id"], where), _id(row["nyu40id"], where))
        if table.setdefault(name, label) != label:
            raise ValueError(f"{where}: {name[:80]!r} is {label}, but was {table[name]} before")
    return table


def _id(text: str, where: str) -> int:
    text = text.strip()
    if text and not (text.isdecimal() and len(text) < 10):
        raise ValueError(f"{where}: expected an id; got {text[:80]!r}")
    return int(text) if text else 0


def read_segments(path: str | Path, num_vertices: int) -> NDArray[np.int64]:
    """[V] segment of every vertex, from `<scene>_vh_clean_2.0.010000.segs.json`.

    Raises:
        ValueError: not such a file, or not one id per vertex of the mesh.
    """
    segments = _field(path, read_json(path), "segIndices", list)
    if len(segments) != num_vertices:
        raise ValueError(
            f"{path}: {len(segments)} segment ids, but the scene has {num_vertices} vertices. "
            "Expected the segments of <scene>_vh_clean_2.ply."
        )
    return _integers(path, "segIndices", segments)


def read_aggregation(path: str | Path, scene: str) -> list[ObjectGroup]:
    """The objects of `<scene>.aggregation.json`.

    Raises:
        ValueError: not such a file, or one of another scene.
    """
    content = read_json(path)
    named = _field(path, content, "sceneId", str).removeprefix("scannet.")
    if named != scene:
        raise ValueError(f"{path}: sceneId is {named[:80]!r}; expected {scene!r}")
    return [
        ObjectGroup(
            _field(path, group, "label", str),
            _integers(path, "segments", _field(path, group, "segments", list)),
        )
        for group in _field(path, content, "segGroups", list)
    ]


def read_axis_alignment(path: str | Path) -> NDArray[np.float64] | None:
    """[4, 4] the transform to upright axes in `<scene>.txt`; None if the file has none.

    Raises:
        ValueError: not sixteen numbers.
    """
    for line in read_text(path).splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "axisAlignment":
            try:
                matrix = np.array([float(number) for number in value.split()]).reshape(4, 4)
            except ValueError:
                matrix = np.full((4, 4), np.nan)
            if not np.isfinite(matrix).all():
                raise ValueError(f"{path}: axisAlignment must be 16 numbers; got {value[:200]}")
            return matrix
    return None


def _field(path: str | Path, content: Any, key: str, kind: type) -> Any:
    """The entry of a JSON object, which must be of a type."""
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, kind):
        raise ValueError(
            f"{path}: expected {key} to be a {kind.__name__}; got {type(value).__name__}"
        )
    return value


def _integers(path: str | Path, key: str, values: list[Any]) -> NDArray[np.int64]:
    with reading(path, f"{key} is no list of integers"):
        array = np.array(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"{path}: {key} must be a list of integers")
    return array.astype(np.int64)
