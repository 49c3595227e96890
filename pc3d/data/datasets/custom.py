"""Point files of one's own, in any format, described by one YAML file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from pc3d.data.columns import color_scale, to_arrays
from pc3d.data.datasets.base import SPLITS
from pc3d.data.datasets.description import Description
from pc3d.data.datasets.description_yaml import find_description, read_description
from pc3d.data.datasets.layout import (
    PREPARED,
    RECORD,
    Arrays,
    ProcessedLayout,
    read_prepared,
    subfolders,
)
from pc3d.data.datasets.reader import LayoutReader
from pc3d.data.sample import PointSample
from pc3d.io.cloud import Chunk, CloudFile, is_cloud, names_for, open_cloud, read_all
from pc3d.io.submission import SubmissionFormat, ids_of_lines, lines_of

_log = logging.getLogger(__name__)

DESCRIPTION = "dataset.yaml"
"""The name that a description has in the folder that it describes."""

_DOWNLOAD = "nothing, these are files of your own; docs/custom_data.md says how to describe them"
_EXPECTED = """\
  dataset.yaml               (classes, columns and splits)
  train/a.laz, val/b.laz     (or wherever `splits` of dataset.yaml says; also .las, .ply, .pcd, ...)
or prepared:
  dataset.yaml, train/a.laz/{coord,color,...}.npy  (tiles: train/a.laz/<tile>/coord.npy ...)"""


class Custom(LayoutReader):
    """Reader of a folder of point files. Scenes are named like files: `crops/a` is `crops/a.laz`.

    Two layouts are recognized; where both are present, the prepared one is read.

    * prepared: what `python -m data_prep.custom` writes: a folder of arrays for every file, or for
      every tile of it, whose scenes are then `crops/a/<tile>`;
    * the files as they are.

    Args:
        root: the folder of the files.
        description: the YAML file that says what they hold, from `root` or the working directory,
            or the bare name of one in `pc3d/data/descriptions`.

    Raises:
        FileNotFoundError: there is no description.
        ValueError: anything wrong with it.
    """

    title, download, expected = "custom data", _DOWNLOAD, _EXPECTED
    submission = SubmissionFormat(lambda scene: f"{scene}.txt", lines_of, ids_of_lines, "*.txt")

    def __init__(self, root: str | Path, description: str | Path = DESCRIPTION) -> None:
        root = Path(root)
        found = read_description(find_description(root, description))
        prepared = PreparedFiles(root, {}, listing=Listing(root, found, _is_prepared))
        layouts = (prepared, PointFiles(Listing(root, found, is_cloud)))
        super().__init__(root, found.spec, layouts, settings=found.settings())
        wanted = {field: list(names) for field, names in found.columns.items() if names is not None}
        self.conventions = {"columns": wanted, "divide_by": dict(found.divide_by)}

    def read(self, scene: str, split: str) -> PointSample:
        try:
            return super().read(scene, split)
        except FileNotFoundError:
            layout = self.layout
            if isinstance(layout, PointFiles) and layout.label_path(scene).exists():
                raise layout.no_labels(scene, split) from None
            raise


@dataclass(frozen=True)
class Listing:
    """The files of every split.

    Attributes:
        root: the folder of the files.
        description: says which files a split has.
        is_file: whether a path is a file of points, or what it became.
    """

    root: Path
    description: Description
    is_file: Callable[[Path], bool]

    def files(self, split: str) -> list[Path]:
        """The files of a split, in the order of its patterns.

        Raises:
            FileNotFoundError: a split without files, or a pattern that names none.
            ValueError: a file in two splits, or two files of one name.
        """
        if split not in self.patterns:
            only = "" if self.description.splits else f", and no folder {self.root / split}"
            raise FileNotFoundError(
                f"{self.description.path}: there is no splits.{split}{only}, so there is no "
                f"{split} split. Name its files in `splits`"
            )
        for pattern in self.patterns[split]:
            if not self._matches(pattern):
                there = sorted(p.relative_to(self.root).as_posix() for p in self.root.glob("*"))
                raise FileNotFoundError(
                    f"{self.description.path}: splits.{split}: {pattern!r} names no file of points "
                    f"below {self.root}, which holds {', '.join(there[:8])}"
                    f"{', ...' if len(there) > 8 else ''}"
                )
        return self._splits()[split]

    def name(self, path: Path) -> str:
        """The scene that a file is."""
        return path.relative_to(self.root).with_suffix("").as_posix()

    @cached_property
    def file_of(self) -> Mapping[str, Path]:
        """From the scenes of all splits to their files."""
        return {self.name(path): path for paths in self._splits().values() for path in paths}

    @property
    def patterns(self) -> Mapping[str, tuple[str, ...]]:
        """Of the splits that there are."""
        if self.description.splits is not None:
            return self.description.splits
        return {split: (f"{split}/**/*",) for split in SPLITS if (self.root / split).is_dir()}

    def _splits(self) -> dict[str, list[Path]]:
        splits = {
            split: list(dict.fromkeys(path for p in patterns for path in self._matches(p)))
            for split, patterns in self.patterns.items()
        }
        for one, other in combinations(splits, 2):
            shared = sorted(set(splits[one]) & set(splits[other]))
            same = {one, other} == {"val", "test"} and set(splits[one]) == set(splits[other])
            if shared and not same:
                raise ValueError(
                    f"{self.description.path}: {shared[0].relative_to(self.root)} is in the splits "
                    f"{one} and {other} ({len(shared)} files in all). Scores would be too good; "
                    "only val and test may be the same files, all of them"
                )
        seen: dict[str, Path] = {}
        for path in (path for paths in splits.values() for path in paths):
            if seen.setdefault(self.name(path), path) != path:
                raise ValueError(
                    f"{path}: has the name of {seen[self.name(path)]}, and scenes are named "
                    "without the ending. Rename one, or leave it out of the splits"
                )
        return splits

    def _matches(self, pattern: str) -> list[Path]:
        literal = self.root / pattern
        paths = [literal] if literal.exists() else sorted(self.root.glob(pattern))
        return [path for path in paths if not self._is_hidden(path) and self.is_file(path)]

    def _is_hidden(self, path: Path) -> bool:
        return any(part.startswith(".") for part in path.relative_to(self.root).parts)


def _is_prepared(path: Path) -> bool:
    return (path / RECORD).is_file()


@dataclass(frozen=True)
class PointFiles:
    """The files as they are: a scene each."""

    listing: Listing

    @property
    def root(self) -> Path:
        return self.listing.root

    def is_there(self) -> bool:
        return self.root.is_dir()

    def scenes(self, split: str) -> list[str]:
        return [self.listing.name(path) for path in self.listing.files(split)]

    def files(self, scene: str) -> list[Path]:
        return [self.label_path(scene)]

    def shared_files(self, scene: str) -> list[Path]:
        return [self.listing.description.path]

    def label_path(self, scene: str) -> Path:
        """The file of a scene.

        Raises:
            FileNotFoundError: no split has this scene.
        """
        path = self.listing.file_of.get(scene)
        if path is None:
            raise FileNotFoundError(
                f"{self.root / scene}: no file of this name is in a split of "
                f"{self.listing.description.path}"
            )
        return path

    def num_points(self, scene: str) -> int:
        return self.open(scene).cloud.num_points

    def open(self, scene: str) -> DescribedFile:
        """Open the file of a scene."""
        description, path = self.listing.description, self.label_path(scene)
        cloud = open_cloud(path, names_for(path, description.names))
        fields = description.fields_of(cloud.columns, str(path))
        return DescribedFile(cloud, description, fields)

    def arrays(self, scene: str) -> Arrays:
        file = self.open(scene)
        arrays, remarks = file.arrays(
            read_all(file.cloud, file.columns), file.description.divide_by
        )
        file.log(remarks)
        return arrays

    def no_labels(self, scene: str, split: str) -> FileNotFoundError:
        """The error of a scene without labels that needs them."""
        file = self.open(scene)
        return FileNotFoundError(
            f"{file.cloud.path}: the labels of {scene} ({split}) are missing, and only the test "
            f"split does without. The file has the columns {', '.join(file.cloud.columns)}; if one "
            f"holds labels, say so in {file.description.path}: `columns: {{label: ...}}`"
        )


@dataclass(frozen=True)
class DescribedFile:
    """An open file, and what its columns are taken for.

    Attributes:
        cloud: the file.
        description: of the data set.
        fields: from fields to their columns.
    """

    cloud: CloudFile
    description: Description
    fields: Mapping[str, tuple[str, ...]]

    @property
    def columns(self) -> list[str]:
        """The columns of all fields."""
        return list(dict.fromkeys(name for names in self.fields.values() for name in names))

    def arrays(self, chunk: Chunk, scales: Mapping[str, float]) -> tuple[Arrays, list[str]]:
        """Points of the file as arrays of a scene, and what was assumed, see `to_arrays`.

        Raises:
            ValueError: labels or colours that are none, or ids that the description does not know.
        """
        source = str(self.cloud.path)
        arrays, remarks = to_arrays(chunk.xyz, chunk.columns, self.fields, scales, source)
        if "label" in arrays:
            arrays["segment"] = self.description.to_class(arrays.pop("label"), source)
        return arrays, remarks

    def scales(self, look: Callable[[Chunk], None]) -> tuple[dict[str, float], list[str]]:
        """What values are divided by, found in one pass over coordinates and colours.

        Args:
            look: is given every part of the file, for what else is to be found in that pass.

        Returns:
            The divisors that `arrays` takes, and what was assumed of colours.

        Raises:
            ValueError: colours that are none.
        """
        names = self.fields.get("color", ())
        low, high = np.inf, -np.inf
        for chunk in self.cloud.chunks(names):
            look(chunk)
            low = min([low, *(float(column.min()) for column in chunk.columns.values())])
            high = max([high, *(float(column.max()) for column in chunk.columns.values())])
        scales = dict(self.description.divide_by)
        if not names:
            return scales, []
        dtype = self.cloud.columns[names[0]]
        scales["color"], remark = color_scale(dtype, low, high, str(self.cloud.path))
        return scales, [remark] * bool(remark)

    def log(self, remarks: list[str]) -> None:
        """Keep what was assumed, which a preparation writes down."""
        for remark in (*self.cloud.remarks, *dict.fromkeys(remarks)):
            _log.debug("%s: %s", self.cloud.path, remark)


@dataclass(frozen=True, kw_only=True)
class PreparedFiles(ProcessedLayout):
    """What `data_prep.custom` makes: a folder where each file was, with its arrays or its tiles.

    Attributes:
        listing: of the folders that were files.
    """

    listing: Listing

    def is_there(self) -> bool:
        return (self.root / PREPARED).is_file()

    def scenes(self, split: str) -> list[str]:
        scenes = []
        for folder in self.listing.files(split):
            name, tiles = self.listing.name(folder), subfolders(folder)
            scenes += [f"{name}/{tile.name}" for tile in tiles] if tiles else [name]
        return scenes

    def folder(self, scene: str) -> Path:
        file_of = self.listing.file_of
        if scene in file_of:
            return file_of[scene]
        name, _, tile = scene.rpartition("/")
        return file_of.get(name, self.root / name) / tile

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        super().check_settings({})
        prepared = read_prepared(self.root)
        found = {} if prepared is None else prepared["settings"]
        differing = [key for key, value in settings.items() if found.get(key, value) != value]
        if differing:
            key = differing[0]
            raise ValueError(
                f"{self.root} was prepared with {key} {found[key]}, and "
                f"{self.listing.description.path} says {settings[key]}. Prepare again, or take the "
                f"description it was prepared with: {self.root / DESCRIPTION}"
            )
