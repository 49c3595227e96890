"""PLY vertices: mapped from binary files of plain rows, by `plyfile` from all others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from plyfile import PlyData, PlyListProperty

from pc3d.io.ply_header import Element, Header, read_header
from pc3d.io.reading import reading
from pc3d.utils.files import write_bytes

_NAME_OF = {
    "i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort",
    "i4": "int", "u4": "uint", "f4": "float", "f8": "double",
}  # fmt: skip


def read_vertices(path: str | Path) -> dict[str, NDArray]:
    """Read the vertex element of a ply file; faces and other elements are not touched.

    Args:
        path: a ply file, ascii or binary.

    Returns:
        One [V] array per property, in the order and with the types of the file; no lists.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a ply file, a damaged or truncated one, or no vertices with x, y and z.
    """
    vertices = {name: np.array(array) for name, array in map_vertices(path).items()}
    missing = [axis for axis in "xyz" if axis not in vertices]
    if missing:
        raise ValueError(
            f"{path}: the vertices have no {', '.join(missing)}; got the properties "
            f"{str(list(vertices))[:400]}, expected at least x, y, z"
        )
    return vertices


def map_vertices(path: str | Path) -> dict[str, NDArray]:
    """The vertex element as `read_vertices` reads it, with any properties.

    Where the rows of the file allow it, the arrays are views of the mapped file, and nothing is
    read before it is used; do not keep them longer than the file is sure to stay as it is.

    Raises:
        As `read_vertices`, except that there may be no x, y or z.
    """
    header = read_header(path)
    vertex = _vertex_element(path, header)
    rows = row_type(header)
    if rows is None:
        return _read_with_plyfile(path)
    return _map_rows(path, rows, vertex.num_rows, header.size)


def row_type(header: Header) -> np.dtype | None:
    """Type of the vertices if they are rows of one size right behind the header; else None."""
    first = next(iter(header.elements.values()))  # others may take any space
    if first.name != "vertex" or first.dtype is None or header.encoding == "ascii":
        return None
    is_little = header.encoding == "binary_little_endian"
    return first.dtype.newbyteorder("<" if is_little else ">")


def write_vertices(
    path: str | Path,
    vertices: Mapping[str, NDArray],
    faces: NDArray[np.integer] | None = None,
) -> None:
    """Write a binary little endian ply file, atomically.

    Args:
        path: the file to write; its folder is made if it is missing.
        vertices: one [V] array per property; 8 to 32 bit integers, float32 or float64.
        faces: [F, 3] vertex indices, or None for a file without a face element.

    Raises:
        ValueError: arrays of unequal length, of a type that ply lacks, or faces not [F, 3].
    """
    path = Path(path)
    columns = {name: np.asarray(array) for name, array in vertices.items()}
    _check_columns(path, columns)
    count = len(next(iter(columns.values())))
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    header += [f"property {_NAME_OF[a.dtype.str[1:]]} {name}" for name, a in columns.items()]
    table = np.empty(count, dtype=[(n, a.dtype.newbyteorder("<")) for n, a in columns.items()])
    for name, array in columns.items():
        table[name] = array
    blocks = [table]
    if faces is not None:
        if faces.ndim != 2 or faces.shape[1] != 3:
            raise ValueError(f"{path}: faces must be [F, 3]; got {faces.shape}")
        header += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
        corners = np.empty(len(faces), dtype=[("count", "u1"), ("index", "<i4", 3)])
        corners["count"], corners["index"] = 3, faces
        blocks.append(corners)
    text = "\n".join([*header, "end_header", ""]).encode("ascii")
    write_bytes(path, text + b"".join(block.tobytes() for block in blocks))


def count_vertices(path: str | Path) -> int:
    """Number of vertices, as the header of a ply file says.

    Raises:
        As `read_header`, and ValueError for a file without vertices.
    """
    return _vertex_element(path, read_header(path)).num_rows


def _vertex_element(path: str | Path, header: Header) -> Element:
    if "vertex" not in header.elements:
        raise ValueError(f"{path}: no vertex element; got {str(list(header.elements))[:400]}")
    return header.elements["vertex"]


def _map_rows(
    path: str | Path, dtype: np.dtype, num_vertices: int, offset: int
) -> dict[str, NDArray]:
    table: NDArray = np.empty(0, dtype=dtype)
    if num_vertices:
        with reading(path):
            table = np.memmap(path, dtype, "r", offset, (num_vertices,))
    return {name: table[name] for name in dtype.names or ()}


def _read_with_plyfile(path: str | Path) -> dict[str, NDArray]:
    with reading(path):
        vertex = PlyData.read(str(path))["vertex"]
    return {p.name: vertex[p.name] for p in vertex.properties if not isinstance(p, PlyListProperty)}


def _check_columns(path: Path, columns: Mapping[str, NDArray]) -> None:
    lengths = {name: array.shape for name, array in columns.items()}
    if not columns or len(set(lengths.values())) != 1 or next(iter(columns.values())).ndim != 1:
        raise ValueError(
            f"{path}: vertices must be one or more [V] arrays of one length; got {lengths}"
        )
    for name, array in columns.items():
        if array.dtype.str[1:] not in _NAME_OF:
            raise ValueError(
                f"{path}: ply has no type for {array.dtype} (property {name}); "
                f"expected one of {sorted(_NAME_OF)}. Cast it first."
            )
