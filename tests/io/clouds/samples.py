"""Points to write into files of every format, by other code than that of pc3d."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import laspy
import numpy as np
from laspy.vlrs.vlrlist import VLRList
from plyfile import PlyData, PlyElement

NUM = 37
X, Y, Z = 651234.125, 6861000.5, 35.25
"""Where the points are: float32 would be too coarse there."""


def coordinates(num: int = NUM) -> np.ndarray:
    """[num, 3] multiples of 1/64, which every text and every float keeps."""
    rng = np.random.default_rng(3)
    return rng.integers(0, 6400, (num, 3)) / 64 + [X, Y, Z]


def colors(num: int = NUM) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    return {n: rng.integers(0, 256, num, dtype=np.uint8) for n in ("red", "green", "blue")}


def table(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Columns as rows with named fields."""
    rows = np.empty(len(next(iter(columns.values()))), [(n, a.dtype) for n, a in columns.items()])
    for name, array in columns.items():
        rows[name] = array
    return rows


def points(num: int = NUM) -> dict[str, np.ndarray]:
    """Coordinates, colours, and columns of several types."""
    rng = np.random.default_rng(5)
    x, y, z = coordinates(num).T
    return {
        **{"x": x, "y": y, "z": z},
        **colors(num),
        "time": rng.random(num),
        "ring": rng.integers(0, 64, num, dtype=np.int16),
        "reflectance": rng.normal(size=num).astype(np.float32),
    }


def write_ply(path: Path, columns: Mapping[str, np.ndarray], text: bool = False) -> None:
    PlyData([PlyElement.describe(table(columns), "vertex")], text=text, byte_order="<").write(path)


def write_las(
    path: Path, point_format: int = 7, version: str = "1.4", num: int = NUM
) -> laspy.LasData:
    """A file in which no dimension is constant, with records before and behind the points."""
    rng = np.random.default_rng(point_format)
    header = laspy.LasHeader(version=version, point_format=point_format)
    header.scales, header.offsets = [0.015625, 0.015625, 0.03125], [X, Y, Z]
    header.file_source_id, header.system_identifier = 77, "scanner"
    header.global_encoding.gps_time_type = laspy.header.GpsTimeType.STANDARD
    header.vlrs.append(laspy.VLR("a user id", 4711, "a description", b"\x01\x02\x00\xff"))
    las = laspy.LasData(header)
    las.points = laspy.ScaleAwarePointRecord.zeros(num, header=header)
    for dimension in las.point_format.dimensions:
        if dimension.name in "XYZ":
            las[dimension.name] = rng.integers(-(10**6), 10**6, num)
        elif dimension.dtype is not None and dimension.dtype.kind == "f":
            las[dimension.name] = rng.normal(size=num) * 1e6
        else:
            top = min(int(dimension.max), 2**31 - 1)
            las[dimension.name] = rng.integers(int(dimension.min), top + 1, num)
    if version == "1.4":
        data = bytes(range(200)) * 500
        las.evlrs = VLRList([laspy.VLR("behind", 12, "behind the points", data)])
    las.write(path)
    return las


def write_pcd(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """A binary pcd file."""
    kinds = {"f": "F", "i": "I", "u": "U"}
    rows = table(columns)
    header = [
        "# .PCD v0.7 - Point Cloud Data file format",
        "VERSION 0.7",
        f"FIELDS {' '.join(columns)}",
        f"SIZE {' '.join(str(a.dtype.itemsize) for a in columns.values())}",
        f"TYPE {' '.join(kinds[a.dtype.kind] for a in columns.values())}",
        f"COUNT {' '.join('1' for _ in columns)}",
        f"WIDTH {len(rows)}",
        "HEIGHT 1",
        "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {len(rows)}",
        "DATA binary\n",
    ]
    path.write_bytes("\n".join(header).encode() + rows.tobytes())


def write_text(path: Path, columns: Mapping[str, np.ndarray], mark: str = " ") -> None:
    lines = [mark.join(columns)]
    lines += [mark.join(repr(v.item()) for v in row) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(lines) + "\n")


def write_npz(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    np.savez_compressed(path, **columns)


def write_bin(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    first = [columns[axis] - offset for axis, offset in zip("xyz", (X, Y, Z), strict=True)]
    np.stack([*first, columns["reflectance"]], axis=1).astype("<f4").tofile(path)


WRITERS: dict[str, Callable[[Path, Mapping[str, np.ndarray]], None]] = {
    ".ply": write_ply,
    ".npy": lambda path, columns: np.save(path, table(columns)),
    ".npz": write_npz,
    ".pcd": write_pcd,
    **dict.fromkeys((".txt", ".xyz", ".asc", ".pts"), write_text),
    ".csv": lambda path, columns: write_text(path, columns, ","),
    ".bin": write_bin,
    ".las": lambda path, columns: write_las(path) and None,
    ".laz": lambda path, columns: write_las(path) and None,
}
"""A file of `points()` in every format; .bin has four columns of them, las points of its own."""
