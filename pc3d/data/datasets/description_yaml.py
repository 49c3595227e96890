"""Reading a description: whatever is wrong with it is said with file, key and what is expected."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from pc3d.data.columns import FIELDS, WIDTHS
from pc3d.data.datasets.base import SPLITS
from pc3d.data.datasets.description import SHIPPED, Description, LabelClass
from pc3d.io.reading import read_text
from pc3d.utils.colors import distinct_colors

EXAMPLE = """\
  name: my5
  classes:
    ground: {ids: [2], color: [168, 128, 90]}
    building: {ids: [6]}
  ignore: [0, 1]
  splits: {train: ["train/*.laz"], val: [area1.laz]}"""
"""Of a description, for messages."""

_KEYS = ("name", "classes", "ignore", "columns", "names", "intensity", "splits", "sensor")
_MAX_ID = 2**24 - 1  # a colour's


def find_description(root: Path, name: str | Path) -> Path:
    """The file of a description.

    Args:
        root: the folder of the data.
        name: a path from there or from the working directory, or the bare name of one that comes
            with pc3d.

    Raises:
        FileNotFoundError: there is none; the message shows what it looks like.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        shipped = sorted(p.stem for p in SHIPPED.glob("*.yaml"))
        if str(name) not in shipped:
            raise FileNotFoundError(
                f"no description {str(name)!r} comes with pc3d; it has {', '.join(shipped)}. One "
                "of your own is named with its ending: dataset.yaml"
            )
        return SHIPPED / f"{name}.yaml"
    for candidate in (root / path, path):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(
        f"{(root / path).absolute()}: there is no description of the data. Say what the files "
        f"hold (docs/custom_data.md), e.g.\n{EXAMPLE}"
    )


def read_description(path: Path) -> Description:
    """Read and check a description.

    Raises:
        FileNotFoundError: no such file.
        ValueError: anything wrong with it; the message names file and key, what stands there, and
            what is expected.
    """
    top = _Node(path, "", _load(path))
    keys = top.mapping(_KEYS)
    for key in ("name", "classes"):
        if key not in keys:
            raise ValueError(f"{path}: {key} is missing. A description looks like\n{EXAMPLE}")
    classes = tuple(_classes(keys["classes"]))
    sensor = keys["sensor"].value if "sensor" in keys else None
    if sensor not in (None, "lidar"):
        raise keys["sensor"].error("lidar, for single scans with the sensor at zero")
    return Description(
        path=path,
        name=keys["name"].text(),
        classes=classes,
        ignore=_ignore(keys["ignore"], classes) if "ignore" in keys else (),
        columns=_columns(keys["columns"]) if "columns" in keys else {},
        names=_names(keys["names"]) if "names" in keys else (),
        divide_by=_divide_by(keys["intensity"]) if "intensity" in keys else {},
        splits=_splits(keys["splits"]) if "splits" in keys else None,
        sensor=sensor,
    )


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice; YAML keeps the last in silence."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value!r} stands there twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _load(path: Path) -> Any:
    text = read_text(path)
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        hint = ". Indent with spaces, not with tabs" if "\\t" in str(error.problem) else ""
        raise ValueError(f"{path}{line}: not valid YAML: {error.problem}{hint}") from error
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path}: not valid YAML: {reason}") from error


class _Node:
    """A value with its place in the file, which errors name."""

    def __init__(self, path: Path, key: str, value: Any) -> None:
        self.path, self.key, self.value = path, key, value

    @property
    def place(self) -> str:
        return f"{self.path}: {self.key}" if self.key else str(self.path)

    def error(self, expected: str) -> ValueError:
        shown = repr(self.value)
        shown = shown if len(shown) < 80 else f"{shown[:80]}..."
        return ValueError(f"{self.place}: expected {expected}; got {shown}")

    def mapping(self, known: Collection[str] | None = None) -> dict[str, _Node]:
        """The nodes of a mapping from text, all of whose keys are known."""
        keys = "text" if known is None else ", ".join(known)
        if not isinstance(self.value, dict) or not self.value:
            raise self.error(f"keys ({keys}) with values")
        nodes = {}
        for key, value in self.value.items():
            if not isinstance(key, str) or not key.strip():
                raise ValueError(
                    f"{self.place}: expected text as key; got {key!r}. Put it into quotes"
                )
            if known is not None and key not in known:
                close = get_close_matches(key, known, 1)
                hint = f" Is {close[0]!r} meant?" if close else ""
                raise ValueError(
                    f"{self.place}: unknown key {key!r}.{hint} Expected {', '.join(known)}"
                )
            nodes[key] = _Node(self.path, f"{self.key}.{key}" if self.key else key, value)
        return nodes

    def list(self, expected: str) -> list[_Node]:
        if not isinstance(self.value, list) or not self.value:
            raise self.error(expected)
        return [_Node(self.path, self.key, value) for value in self.value]

    def text(self) -> str:
        if not isinstance(self.value, str) or not self.value.strip():
            raise self.error("text")
        return self.value

    def integer(self, low: int, high: int, what: str) -> int:
        if type(self.value) is not int or not low <= self.value <= high:
            raise self.error(f"{what}, integers of {low}..{high}")
        return self.value

    def positive(self) -> float:
        if type(self.value) not in (int, float) or not 0 < self.value < float("inf"):
            raise self.error("a number above 0")
        return float(self.value)


def _classes(node: _Node) -> Iterator[LabelClass]:
    nodes = {name: part.mapping(("ids", "color")) for name, part in node.mapping().items()}
    given = {n: _color(keys["color"]) for n, keys in nodes.items() if "color" in keys}
    taken = set(given.values())
    free = (color for color in distinct_colors() if color not in taken)
    owner: dict[int, str] = {}
    for name, keys in nodes.items():
        if "ids" not in keys:
            raise ValueError(f"{node.place}.{name}: ids is missing, e.g. {{ids: [2]}}")
        ids = _ids(keys["ids"])
        for i in ids:
            if i in owner:
                raise ValueError(
                    f"{keys['ids'].place}: the id {i} stands there twice, in {owner[i]} and {name}"
                )
            owner[i] = name
        yield LabelClass(name, ids, given[name] if name in given else next(free))


def _ids(node: _Node) -> tuple[int, ...]:
    what = "the ids that files have for it"
    return tuple(i.integer(-_MAX_ID, _MAX_ID, what) for i in node.list(f"{what}, e.g. [3, 4]"))


def _color(node: _Node) -> tuple[int, int, int]:
    what = "red, green, blue"
    channels = node.list(f"[{what}]")
    if len(channels) != 3:
        raise node.error(f"[{what}]")
    red, green, blue = (c.integer(0, 255, what) for c in channels)
    return red, green, blue


def _ignore(node: _Node, classes: Sequence[LabelClass]) -> tuple[int, ...] | None:
    if node.value == "others":
        return None
    if node.value == []:
        return ()
    ids = [i.integer(-_MAX_ID, _MAX_ID, "ids") for i in node.list("ids, or `others`")]
    for c in classes:
        both = sorted(set(ids) & set(c.ids))
        if both:
            raise ValueError(f"{node.place}: {both} are also ids of the class {c.name}")
    return tuple(dict.fromkeys(ids))


def _columns(node: _Node) -> Mapping[str, tuple[str, ...] | None]:
    columns: dict[str, tuple[str, ...] | None] = {}
    for field, part in node.mapping(FIELDS).items():
        width = WIDTHS[field]
        expected = "the name of a column" if width == 1 else f"the names of {width} columns"
        if part.value is None and field != "label":
            columns[field] = None
            continue
        parts = part.list(expected) if isinstance(part.value, list) else [part]
        if len(parts) != width or not all(isinstance(p.value, str) for p in parts):
            raise part.error(expected + (", or null" if field != "label" else ""))
        columns[field] = tuple(p.text() for p in parts)
    return columns


def _names(node: _Node) -> tuple[str, ...]:
    names = tuple(part.text() for part in node.list("names of columns, x, y and z among them"))
    if not (set("xyz") <= set(names) or set("XYZ") <= set(names)):
        raise node.error("x, y and z among the names (`_` leaves a column out)")
    return names


def _divide_by(intensity: _Node) -> Mapping[str, float]:
    return {"intensity": intensity.mapping(("divide_by",))["divide_by"].positive()}


def _splits(node: _Node) -> Mapping[str, tuple[str, ...]]:
    expected = 'files or patterns such as "crops/*.laz", from the folder of the data'
    splits = {}
    for split, part in node.mapping(SPLITS).items():
        patterns = part.list(expected)
        splits[split] = tuple(pattern.text() for pattern in patterns)
        for pattern in patterns:
            if not _is_pattern(pattern.value):
                raise pattern.error(expected)
    return splits


def _is_pattern(text: str) -> bool:
    path = PurePosixPath(text)
    parts = path.parts
    odd = path.is_absolute() or ".." in parts or "\\" in text or "\0" in text
    return bool(parts) and not odd and all(part == "**" or "**" not in part for part in parts)
