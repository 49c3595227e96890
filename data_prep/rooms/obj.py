"""Wavefront OBJ: the triangles of a model and the diffuse colours of its materials."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Color = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Part:
    """The triangles of one material.

    Attributes:
        corners: [T, 3, 3] float64, the corners of every triangle in the file's units.
        color: RGB in 0..1; None where a texture gives it, or where no material is named.
    """

    corners: NDArray[np.float64]
    color: Color | None


@dataclass
class _Model:
    """The state while a file is read."""

    path: Path
    vertices: list[tuple[float, float, float]] = field(default_factory=list)
    materials: dict[str, Color | None] = field(default_factory=dict)
    triangles: dict[Color | None, list[tuple[int, int, int]]] = field(default_factory=dict)
    color: Color | None = None

    def read(self, keyword: str, words: list[str]) -> None:
        match keyword:
            case "v":
                self.vertices.append(_numbers(words[:3]))
            case "f":
                self._add_face([self._index(word) for word in words])
            case "usemtl":
                self.color = self.materials.get(" ".join(words))
            case "mtllib":
                self.materials |= read_materials(self.path.with_name(" ".join(words)))
            case _:  # normals, texture coordinates, groups, lines
                pass

    def _index(self, word: str) -> int:
        """The vertex of `7`, `7/1`, `7//2`, `7/1/2`; negative numbers count from the last one."""
        number, count = int(word.split("/")[0]), len(self.vertices)
        index = number - 1 if number > 0 else count + number
        if number == 0 or not 0 <= index < count:
            raise ValueError(f"vertex {number} of {count}")
        return index

    def _add_face(self, face: list[int]) -> None:
        if len(face) < 2:
            raise ValueError(f"a face of {len(face)} vertices")
        fan = ((face[0], a, b) for a, b in pairwise(face[1:]))
        self.triangles.setdefault(self.color, []).extend(fan)


def read_obj(path: str | Path) -> list[Part]:
    """Read a model: vertices, faces, and the colours (Kd) of its material libraries.

    Polygons are cut into fans, which is exact for convex ones. Textures, normals, lines (also those
    that some exporters write as faces of two vertices) and groups are not read.

    Raises:
        FileNotFoundError: the file or its material library is missing.
        ValueError: a line that cannot be read, or no face; the message names file and line.
    """
    path = Path(path)
    model = _Model(path)
    for number, keyword, words in _lines(path):
        try:
            model.read(keyword, words)
        except ValueError as error:
            line = " ".join([keyword, *words])
            raise ValueError(f"{path}, line {number}: {line[:80]!r}: {error}") from None
    if not model.triangles:
        raise ValueError(f"{path}: no face in it; is this a whole OBJ model?")
    vertices = np.array(model.vertices)
    return [Part(vertices[np.array(rows)], color) for color, rows in model.triangles.items()]


def read_materials(path: str | Path) -> dict[str, Color | None]:
    """The diffuse colour of every material of an MTL file; None where it has a texture."""
    colors: dict[str, Color | None] = {}
    textured: set[str] = set()
    name = ""
    for number, keyword, words in _lines(Path(path)):
        try:
            if keyword == "newmtl":
                name = " ".join(words)
                colors[name] = None
            elif keyword == "Kd":
                red, green, blue = np.clip(_numbers(words[:3]), 0.0, 1.0).tolist()
                colors[name] = (red, green, blue)
            elif keyword == "map_Kd":
                textured.add(name)
        except ValueError as error:
            line = " ".join([keyword, *words])
            raise ValueError(f"{path}, line {number}: {line[:80]!r}: {error}") from None
    return {name: None if name in textured else color for name, color in colors.items()}


def _lines(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Number, keyword and words of every line; a backslash continues a line on the next one."""
    begun: list[str] = []
    for number, line in enumerate(
        path.read_text(encoding="utf-8", errors="replace").split("\n"), 1
    ):
        text = line.split("#", 1)[0].rstrip()
        begun += text.removesuffix("\\").split()
        if begun and not text.endswith("\\"):
            yield number, begun[0], begun[1:]
            begun = []


def _numbers(words: list[str]) -> tuple[float, float, float]:
    numbers = [float(word) for word in words]
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise ValueError("three finite numbers are needed")
    return numbers[0], numbers[1], numbers[2]
