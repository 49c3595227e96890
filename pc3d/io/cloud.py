"""Files of points in any format: read in parts, and copied with further columns.

The formats themselves stand in `pc3d.io.clouds`; each is imported when a file of it is met.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.io.clouds.file import Chunk, CloudFile, check_names
from pc3d.io.clouds.names import is_number

__all__ = [
    "EXTENSIONS",
    "OUTPUTS",
    "Chunk",
    "CloudFile",
    "check_target",
    "find_clouds",
    "is_cloud",
    "names_for",
    "open_cloud",
    "read_all",
    "read_cloud",
    "write_cloud",
]

_READERS = {
    ".ply": "ply.open_ply",
    ".las": "las.open_las",
    ".laz": "las.open_las",
    ".pcd": "pcd.open_pcd",
    ".npy": "npy.open_npy",
    ".npz": "npz.open_npz",
    **dict.fromkeys((".txt", ".xyz", ".csv", ".asc", ".pts"), "text.open_text"),
    ".bin": "raw.open_bin",
}
_WRITERS = {
    ".ply": "ply_writer.write_ply",
    ".las": "las_writer.write_las",
    ".laz": "las_writer.write_las",
    ".npy": "npy_writer.write_npy",
}
_NAMED = (".ply", ".las", ".laz", ".pcd", ".npz")
EXTENSIONS = tuple(_READERS)
"""Of files that can be read."""
OUTPUTS = tuple(_WRITERS)
"""Of files that can be written."""


def find_clouds(folder: Path) -> Iterator[Path]:
    """The files of points below a folder, sorted; hidden ones are left out.

    macOS leaves one, `._a.ply`, beside files that it copies.
    """
    for path in sorted(folder.rglob("*")):
        if is_cloud(path) and not path.name.startswith("."):
            yield path


def is_cloud(path: Path) -> bool:
    """Whether a path is a file in a format that can be read."""
    return path.suffix.lower() in EXTENSIONS and path.is_file()


def open_cloud(path: str | Path, columns: Sequence[str] = ()) -> CloudFile:
    """Open a file of points; its extension says the format.

    Args:
        path: the file.
        columns: names of its columns, for formats that have none (a table in .npy, .bin) or may
            have none (text); `_` leaves one out.

    Raises:
        FileNotFoundError, PermissionError: as they say.
        ValueError: an unknown extension, a damaged file, no points, no coordinates, or columns
            that nobody named.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(
            f"{path}: no file of points by its name; expected one of {', '.join(EXTENSIONS)}"
        )
    cloud: CloudFile = _load(reader)(path, tuple(columns))
    if not cloud.num_points:
        raise ValueError(f"{path}: no points in this file")
    return cloud


def names_for(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Names of columns as far as they are for a file: none where its format has its own."""
    return () if path.suffix.lower() in _NAMED else tuple(names)


def read_cloud(path: str | Path, names: Sequence[str] = (), columns: Sequence[str] = ()) -> Chunk:
    """Read all points of a file at once.

    Args:
        path: the file.
        names: columns to read besides the coordinates.
        columns: as of `open_cloud`.

    Raises:
        As `open_cloud`, and ValueError for a column that the file does not have.
    """
    return read_all(open_cloud(path, columns), names)


def read_all(cloud: CloudFile, names: Sequence[str] = ()) -> Chunk:
    """Read all points of an open file at once.

    Args:
        cloud: the file.
        names: columns to read besides the coordinates.

    Raises:
        ValueError: a column that the file does not have, or a damaged file.
    """
    check_names(cloud, names)
    xyz = np.empty((cloud.num_points, 3))
    values = {name: np.empty(cloud.num_points, cloud.columns[name]) for name in names}
    start = 0
    for chunk in cloud.chunks(names):
        rows = slice(start, start + len(chunk.xyz))
        xyz[rows] = chunk.xyz
        for name in names:
            values[name][rows] = chunk.columns[name]
        start = rows.stop
    return Chunk(xyz, values)


def write_cloud(
    source: CloudFile,
    target: str | Path,
    added: Mapping[str, NDArray[Any]],
    legend: Mapping[int, str],
) -> tuple[str, ...]:
    """Write a copy of a file of points with further columns, whole or not at all.

    All columns of the source are carried over in order and with their exact values, except where a
    column of that name is added; .npy holds only what is added: `classification`, and every other
    column in a file `<stem>.<name>.npy` beside. How each format is written: `docs/formats.md`.

    Args:
        source: from `open_cloud`.
        target: the file to write, of an extension in `OUTPUTS`; its folder is made.
        added: [P] columns; in las and laz, `classification` (0 to 255) is that of the standard.
        legend: names of the codes in `classification`.

    Returns:
        What is not as in the source, a sentence each.

    Raises:
        ValueError: an unknown extension, a target that is the source, columns of another length,
            or values that the format cannot hold.
        OSError: the target cannot be written.
    """
    target = Path(target)
    check_target(source.path, target)
    arrays = {name: np.asarray(array) for name, array in added.items()}
    for name, array in arrays.items():
        if name in ("x", "y", "z", "X", "Y", "Z", ""):
            raise ValueError(
                f"{target}: a column cannot be named {name!r}, which is a coordinate or no name"
            )
        if array.shape != (source.num_points,) or not is_number(array.dtype):
            raise ValueError(
                f"{target}: column {name} must be {source.num_points} numbers, as many as points; "
                f"got {list(array.shape)} of {array.dtype}"
            )
    with _writing(source.path, target):
        remarks: tuple[str, ...] = _load(_WRITERS[target.suffix.lower()])(
            source, target, arrays, legend
        )
    return remarks


def check_target(source: Path, target: str | Path) -> None:
    """Raise a `ValueError` if a file cannot be written, or is the source under another name."""
    target = Path(target)
    if target.suffix.lower() not in OUTPUTS:
        raise ValueError(
            f"{target}: cannot be written; expected an extension of {', '.join(OUTPUTS)}"
        )
    if target.exists() and source.exists() and target.samefile(source):
        raise ValueError(f"{target}: is the file that is read ({source}); choose another name")


def _load(place: str) -> Any:
    module, name = place.split(".")
    return getattr(import_module(f"pc3d.io.clouds.{module}"), name)


@contextmanager
def _writing(source: Path, target: Path) -> Iterator[None]:
    """Name the target in what is wrong with its disk or folder, not a temporary file in it."""
    try:
        yield
    except OSError as error:
        if error.filename is not None and Path(os.fsdecode(error.filename)) == source:
            raise
        reason = error.strerror or str(error)
        if error.filename is not None and Path(os.fsdecode(error.filename)) in target.parents:
            reason += f" ({os.fsdecode(error.filename)})"
        raise OSError(error.errno or 0, f"cannot be written: {reason}", str(target)) from error
