"""Points in `.bin` files: rows of float32 without a header, as of KITTI and nuScenes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pc3d.io.binary import num_rows
from pc3d.io.clouds.file import ArrayCloud
from pc3d.io.clouds.names import SKIP, split_coordinates
from pc3d.io.reading import file_size, reading

KITTI = ("x", "y", "z", "intensity")
NUSCENES = (*KITTI, "ring")


def open_bin(path: Path, columns: Sequence[str] = ()) -> ArrayCloud:
    """Map a file of little endian float32 numbers.

    Args:
        path: the file.
        columns: names of the numbers of a point; if there are none, those of KITTI, or of nuScenes
            for its `.pcd.bin`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a size that is no whole number of points, or no coordinates among the columns.
    """
    names = tuple(columns) or (NUSCENES if path.name.endswith(".pcd.bin") else KITTI)
    kept = [i for i, name in enumerate(names) if name != SKIP]
    xyz, others = split_coordinates(path, [names[i] for i in kept])
    num_bytes = file_size(path)
    if num_bytes % (4 * len(names)):
        raise ValueError(
            f"{path}: {num_bytes} bytes are not a whole number of points of {len(names)} float32 "
            f"({', '.join(names)}). Say what they are, names=[x,y,z,intensity,ring] for "
            "nuScenes; _ leaves one out."
        )
    table = np.empty((0, len(names)), "<f4")
    if num_bytes:
        with reading(path):
            table = np.memmap(path, "<f4", "r", shape=(num_rows(path, names), len(names)))
    remark = f"rows of {len(names)} float32 without names are taken for {', '.join(names)}"
    x, y, z = (table[:, kept[i]] for i in xyz)
    arrays = {name: table[:, kept[i]] for name, i in others.items()}
    return ArrayCloud(path, (x, y, z), arrays, () if columns else (remark,))
