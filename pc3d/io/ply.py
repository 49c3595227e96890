"""PLY vertices: binary little endian files are mapped, all others go through `plyfile`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from plyfile import PlyData, PlyParseError

from pc3d.utils.files import write_bytes

_DTYPE_OF = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1",
    "short": "<i2", "int16": "<i2", "ushort": "<u2", "uint16": "<u2",
    "int": "<i4", "int32": "<i4", "uint": "<u4", "uint32": "<u4",
    "float": "<f4", "float32": "<f4", "double": "<f8", "float64": "<f8",
}  # fmt: skip
_NAME_OF = {
    "i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort",
    "i4": "int", "u4": "uint", "f4": "float", "f8": "double",
}  # fmt: skip


class _Layout(NamedTuple):
    """Where the vertices lie in a binary little endian file."""

    dtype: np.dtype
    num_vertices: int
    offset: int


def read_vertices(path: str | Path) -> dict[str, NDArray]:
    """Read the vertex element of a ply file; faces and other elements are not touched.

    Args:
        path: a ply file, ascii or binary.

    Returns:
        One [V] array per property, in the order and with the types of the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a ply file, a truncated file, or no vertices with x, y and z.
    """
    path = Path(path)
    with path.open("rb") as file:
        if file.readline(16).strip() != b"ply":
            raise ValueError(f"{path}: not a ply file (the first line is not 'ply')")
        layout = _fast_layout(path, file)
    vertices = _read_with_plyfile(path) if layout is None else _read_mapped(path, layout)
    missing = [axis for axis in "xyz" if axis not in vertices]
    if missing:
        raise ValueError(
            f"{path}: the vertices have no {', '.join(missing)}; got the properties "
            f"{list(vertices)}, expected at least x, y, z"
        )
    return vertices


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


def _fast_layout(path: Path, file: BinaryIO) -> _Layout | None:
    """Parse the header behind its first line; None if the vertices cannot simply be mapped."""
    simple = True
    count, element = 0, None
    properties: list[tuple[str, str]] = []
    for raw in file:
        match raw.decode("ascii", errors="replace").split():
            case ["end_header"]:
                names = [name for name, _ in properties]
                mappable = simple and len(set(names)) == len(names) > 0
                return _Layout(np.dtype(properties), count, file.tell()) if mappable else None
            case ["format", encoding, *_]:
                simple &= encoding == "binary_little_endian"
            case ["element", name, size]:
                # Elements in front of the vertices would shift them by an unknown size.
                simple &= element is not None or name == "vertex"
                simple &= size.isdecimal()
                element, count = name, int(size) if name == "vertex" and simple else count
            case ["property", kind, name] if element == "vertex" and kind in _DTYPE_OF:
                properties.append((name, _DTYPE_OF[kind]))
            case ["property", *_] if element == "vertex":
                simple = False
    raise ValueError(f"{path}: truncated ply header, 'end_header' is missing")


def _read_mapped(path: Path, layout: _Layout) -> dict[str, NDArray]:
    expected = layout.offset + layout.num_vertices * layout.dtype.itemsize
    size = path.stat().st_size
    if size < expected:
        raise ValueError(
            f"{path}: truncated: {size} bytes, but header and {layout.num_vertices} vertices take "
            f"{expected}. Copy or download the file again."
        )
    if layout.num_vertices == 0:
        table = np.empty(0, dtype=layout.dtype)
    else:
        table = np.memmap(path, layout.dtype, "r", layout.offset, (layout.num_vertices,))
    return {name: np.array(table[name]) for name in layout.dtype.names or ()}


def _read_with_plyfile(path: Path) -> dict[str, NDArray]:
    try:
        ply = PlyData.read(str(path))
    except (PlyParseError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: damaged or truncated ply file: {error}") from error
    elements = [element.name for element in ply.elements]
    if "vertex" not in elements:
        raise ValueError(f"{path}: no vertex element; got {elements}")
    vertex = ply["vertex"]
    return {p.name: np.array(vertex[p.name]) for p in vertex.properties}


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
