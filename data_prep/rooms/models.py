"""Rooms that hold real shapes: models of a folder take the place of furniture of their category."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from data_prep.rooms import categories as cat
from data_prep.rooms.layout import Room
from data_prep.rooms.materials import Material, textile
from data_prep.rooms.mesh import bundled
from data_prep.rooms.obj import Part, read_obj
from data_prep.rooms.shapes import Category, Furniture, Kind, Shape, bounds, rotation_about

# The first row that shares a word with a file's name says what the model is; words end where a
# letter case changes, at digits and at punctuation, so that "lamp_table" is a lamp and
# "bedsideTable2" a table.
CATEGORY_OF_WORD: tuple[tuple[str, Category], ...] = (
    ("lamp desklamp", cat.LAMP),
    ("rug carpet tatami", cat.RUG),
    ("stool ottoman pouf", cat.OTTOMAN),
    ("pictureframe picture painting", cat.PICTURE),
    ("armchair chair silla", cat.CHAIR),
    ("couch sofa", cat.SOFA),
    ("desk", cat.DESK),
    ("bed", cat.BED),
    ("shelf shelves bookcase bookshelf", cat.BOOKSHELF),
    ("whiteboard board", cat.BOARD),
    ("cabinet wardrobe sideboard dresser nightstand", cat.CABINET),
    ("table", cat.TABLE),
    ("refrigerator fridge", cat.REFRIGERATOR),
    ("cactus plant", cat.PLANT),
    ("box crate", cat.BOX),
)
# What rooms do not have without models: width, depth and height in metres, least and most.
_EXTRA = {
    cat.LAMP: ((0.3, 0.3, 1.3), (0.45, 0.45, 1.7)),
    cat.RUG: ((1.2, 0.8, 0.01), (2.0, 1.4, 0.02)),
}
_NUM_TRIES = 50


@dataclass(frozen=True)
class ModelFile:
    """An OBJ file, and the width, depth and height of its model in its own units."""

    path: Path
    size: tuple[float, float, float]


@dataclass(frozen=True)
class ModelLibrary:
    """The models of a folder.

    Attributes:
        models: of each category, in the order of their paths.
        digest: of the files that a room may be made of, materials included.
    """

    models: Mapping[Category, Sequence[ModelFile]]
    digest: str

    def __len__(self) -> int:
        return sum(map(len, self.models.values()))


def open_library(folder: str | Path) -> ModelLibrary:
    """Find the OBJ files below a folder that `CATEGORY_OF_WORD` knows, and read each once.

    Raises:
        FileNotFoundError: the folder, or a file that a model refers to, is missing.
        ValueError: no known model, or a damaged one; the message names file and line.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"meshes={folder} is no folder of OBJ files")
    models: dict[Category, list[ModelFile]] = {}
    digest = hashlib.sha256()
    found = sorted(folder.rglob("*.obj"))
    for path in found:
        category = category_of(path.stem)
        if category is None:
            continue
        # All are read, so that what is damaged is said before anything is generated.
        width, depth, height = np.ptp(_box_of(read_obj(path)), axis=0).tolist()
        models.setdefault(category, []).append(ModelFile(path, (width, depth, height)))
        for part in (path, *sorted(path.parent.glob("*.mtl"))):
            digest.update(part.relative_to(folder).as_posix().encode() + b"\0" + part.read_bytes())
    if not models:
        words = " ".join(words for words, _ in CATEGORY_OF_WORD)
        raise ValueError(
            f"meshes={folder}: none of {len(found)} OBJ files has a name that says what it is; "
            f"expected one of these words in it: {words}"
        )
    return ModelLibrary(models, digest.hexdigest()[:16])


def category_of(stem: str) -> Category | None:
    """What a model is by its file's name without suffix; None where the name does not say."""
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", stem)}
    return next((cat for known, cat in CATEGORY_OF_WORD if words & set(known.split())), None)


def with_models(rng: Generator, room: Room, library: ModelLibrary) -> Room:
    """Put a model in the box of every object of its category; add a lamp and a rug.

    Args:
        rng: source of the choices. The room itself does not depend on it.
        room: a furnished room.
        library: the models.
    """
    furniture = [
        _remodelled(rng, item, library.models[item.category])
        if item.category in library.models
        else item
        for item in room.furniture
    ]
    extras: list[Furniture] = []
    for category in (category for category in _EXTRA if category in library.models):
        extras += _extra(rng, room, category, library.models[category])
    obstacles = [bounds([item])[None] for item in extras if item.category != cat.RUG]
    return replace(
        room,
        furniture=(*furniture, *extras),
        obstacles=np.concatenate([room.obstacles, *obstacles]),
    )


def _remodelled(rng: Generator, item: Furniture, models: Sequence[ModelFile]) -> Furniture:
    """One of the models that need the least distortion, in the object's own box."""
    low, high = bounds([item.placed(0.0, 0.0, yaw=-item.yaw)])
    stretch = np.log(high - low) - np.log(np.array([model.size for model in models]) + 1e-3)
    best = np.argsort(stretch.std(axis=1), kind="stable")[: -(-len(models) // 2)]
    model = read_obj(models[int(rng.choice(best))].path)
    shapes = _shapes(model, low, high, item.shapes[0].material)
    turn = rotation_about("z", item.yaw)
    return replace(item, shapes=tuple(shape.turned(turn) for shape in shapes))


def _extra(
    rng: Generator, room: Room, category: Category, models: Sequence[ModelFile]
) -> list[Furniture]:
    """A rug anywhere, whatever stands there; a lamp where nothing else does, if there is room."""
    width, depth, height = rng.uniform(*_EXTRA[category])
    model = read_obj(models[int(rng.integers(len(models)))].path)
    low, high = np.array([-width, -depth, 0.0]) / 2, np.array([width, depth, 2 * height]) / 2
    item = Furniture(category, tuple(_shapes(model, low, high, textile(rng))))
    reach = np.hypot(width, depth) / 2
    for x, y in rng.uniform(reach, np.maximum(room.size[:2] - reach, reach), (_NUM_TRIES, 2)):
        placed = item.placed(x, y, yaw=rng.uniform(0, 2 * np.pi))
        low, high = bounds([placed])
        meets = (low < room.obstacles[:, 1]) & (room.obstacles[:, 0] < high)
        if category == cat.RUG or not meets.all(axis=1).any():
            return [placed]
    return []


def _box_of(model: Sequence[Part]) -> NDArray[np.float64]:
    """[2, 3] box around a model in the frame of furniture."""
    corners = np.concatenate([_upright(part.corners).reshape(-1, 3) for part in model])
    return np.stack([corners.min(axis=0), corners.max(axis=0)])


def _upright(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """From OBJ's usual axes (y up, front towards +z) to furniture's (z up, front towards +y)."""
    x, y, z = np.moveaxis(corners, -1, 0)
    return np.stack([-x, z, y], axis=-1)


def _shapes(
    model: Sequence[Part],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    material: Material,
) -> list[Shape[Material]]:
    """The parts of a model, stretched to a box; `material` where a part has no colour."""
    box = _box_of(model)
    half = np.maximum(np.ptp(box, axis=0) / 2, 1e-9)
    center, axes = (low + high) / 2, np.diag((high - low) / 2)
    return [
        Shape(
            Kind.MESH,
            center,
            axes,
            material if part.color is None else Material(part.color),
            bundled((_upright(part.corners) - box.mean(axis=0)) / half),
        )
        for part in model
    ]
