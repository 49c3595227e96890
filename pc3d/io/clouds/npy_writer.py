"""Added columns in `.npy` files: one array per column, in the order of the points."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from pc3d.io.clouds.file import CloudFile
from pc3d.utils.files import replacing

MAIN = "classification"
"""The column that the file itself holds."""


def write_npy(
    source: CloudFile, target: Path, added: Mapping[str, NDArray[Any]], legend: Mapping[int, str]
) -> tuple[str, ...]:
    """Write what is added, as `pc3d.io.cloud.write_cloud` says.

    Raises:
        ValueError: no column `classification`, a name that no file can have, or a file beside the
            target that is the source.
    """
    if MAIN not in added:
        raise ValueError(f"{target}: a .npy file holds the column {MAIN}; got {list(added)}")
    paths = {}
    for name in added.keys() - {MAIN}:
        if not name or set("/\\\0:") & set(name):
            raise ValueError(f"{target}: no file can be named for the column {name!r}; rename it")
        paths[name] = path = target.with_name(f"{target.stem}.{name}.npy")
        if path.exists() and path.samefile(source.path):
            raise ValueError(f"{path}: is the file that is read; choose another name to write to")
    with ExitStack() as stack:  # the first file is put in place last
        for name, path in {MAIN: target, **paths}.items():
            _write(stack.enter_context(replacing(path)), added[name])
    return ()


def _write(path: Path, array: NDArray[Any]) -> None:
    array = np.ascontiguousarray(array)
    with path.open("wb") as file:  # not np.save, which does not say why a disk takes no more
        npy.write_array_header_1_0(file, npy.header_data_from_array_1_0(array))
        file.write(array.data)
