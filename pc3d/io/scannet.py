"""The small files of a ScanNet scan: label table, over-segmentation, aggregation, facts."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


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
    path = Path(path)
    table: dict[str, RawLabel] = {}
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        missing = [c for c in ("raw_category", "id", "nyu40id") if c not in (rows.fieldnames or ())]
        if missing:
            raise ValueError(
                f"{path}: the columns {missing} are missing; got {rows.fieldnames}. Download "
                "scannetv2-labels.combined.tsv again; it is separated by tabs."
            )
        for row in rows:
            where = f"{path}:{rows.line_num}"
            label = RawLabel(_number(row["id"], where), _number(row["nyu40id"], where))
            name = (row["raw_category"] or "").strip()
            if table.setdefault(name, label) != label:
                raise ValueError(f"{where}: {name!r} is {label}, but was {table[name]} before")
    return table


def _number(text: str | None, where: str) -> int:
    text = (text or "").strip()
    if text and not text.isdecimal():
        raise ValueError(f"{where}: expected an id; got {text!r}")
    return int(text) if text else 0


def read_segments(path: str | Path, num_vertices: int) -> NDArray[np.int64]:
    """[V] segment of every vertex, from `<scene>_vh_clean_2.0.010000.segs.json`.

    Raises:
        ValueError: not such a file, or not one id per vertex of the mesh.
    """
    segments = _field(path, "segIndices", list)
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
    named = str(_field(path, "sceneId", str)).removeprefix("scannet.")
    if named != scene:
        raise ValueError(f"{path}: sceneId is {named!r}; expected {scene!r}")
    groups = []
    for group in _field(path, "segGroups", list):
        if not isinstance(group, dict) or not {"label", "segments"} <= group.keys():
            raise ValueError(f"{path}: every entry of segGroups needs label and segments")
        groups.append(
            ObjectGroup(str(group["label"]), _integers(path, "segments", group["segments"]))
        )
    return groups


def read_axis_alignment(path: str | Path) -> NDArray[np.float64] | None:
    """[4, 4] the transform to upright axes in `<scene>.txt`; None if the file has none.

    Raises:
        ValueError: not sixteen numbers.
    """
    for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "axisAlignment":
            try:
                return np.array([float(number) for number in value.split()]).reshape(4, 4)
            except ValueError:
                raise ValueError(f"{path}: axisAlignment must be 16 numbers; got {value}") from None
    return None


def _field(path: str | Path, key: str, kind: type) -> Any:
    try:
        content = json.loads(Path(path).read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: damaged JSON ({error}). Download the file again.") from error
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, kind):
        raise ValueError(f"{path}: expected {key} to be a {kind.__name__}; got {type(value)}")
    return value


def _integers(path: str | Path, key: str, values: Sequence[Any]) -> NDArray[np.int64]:
    array = np.array(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"{path}: {key} must be a list of integers")
    return array.astype(np.int64)
