"""Writing ply: a copy of a ply file with further properties, or any points as vertices."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from plyfile import PlyData, PlyElement, PlyListProperty

from pc3d.io.clouds.file import CHUNK, CloudFile
from pc3d.io.clouds.names import unique
from pc3d.io.clouds.ply import PlyCloud
from pc3d.io.clouds.survey import Span, span_of, survey
from pc3d.io.ply import row_type
from pc3d.io.ply_header import Header, read_header
from pc3d.io.reading import reading
from pc3d.utils.files import replacing

Arrays = Mapping[str, NDArray[Any]]

_KINDS = {
    "i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort",
    "i4": "int", "u4": "uint", "f4": "float", "f8": "double",
}  # fmt: skip
_COLORS = ("red", "green", "blue", "alpha")
_LEGEND = re.compile(r"class -?\d+ ")


def write_ply(
    source: CloudFile, target: Path, added: Arrays, legend: Mapping[int, str]
) -> tuple[str, ...]:
    """Write a ply file as `pc3d.io.cloud.write_cloud` says.

    A ply file keeps its encoding, elements, comments and lists. Others become binary little endian
    with coordinates in double precision; their colours of whole numbers from 0 to 255 are uchar.
    Codes of the legend are comments, "class 2 ground".

    Returns:
        What is not as in the source.

    Raises:
        ValueError: integers that no type of ply holds.
    """
    names, remarks = _property_names(list(added))
    new = {
        names[name]: array.astype(_kind(source.path, name, array.dtype, span_of(array)))
        for name, array in added.items()
    }
    comments = [f"class {code} {_ascii(name)}" for code, name in sorted(legend.items())]
    with replacing(target) as temporary, temporary.open("wb") as file:
        if not isinstance(source, PlyCloud):
            kept = [name for name in source.columns if name not in added]
            remarks += _write_new(source, kept, file, new, comments)
        elif (rows := row_type(header := read_header(source.path))) is not None:
            _copy_rows(source.path, file, (header, rows), new, comments)
        else:
            remarks += _copy_with_plyfile(source.path, file, new, comments)
    return tuple(remarks)


def _property_names(
    columns: Sequence[str], taken: Sequence[str] = ()
) -> tuple[dict[str, str], list[str]]:
    """Names that a header can hold, by column, and which of them are new."""
    names: dict[str, str] = {}
    for column in columns:
        name = re.sub("_?[^!-~]+", "_", column)
        names[column] = unique(name, (*taken, *names.values()))
    changed = [f"the column {c!r} is the property {n}" for c, n in names.items() if c != n]
    return names, changed


def _ascii(text: str) -> str:
    return " ".join(text.split()).encode("ascii", errors="backslashreplace").decode()


def _kind(path: Path, name: str, dtype: np.dtype, span: Span | None) -> np.dtype:
    """The type of ply that holds a column; wide integers need their span."""
    if dtype.kind == "b":
        return np.dtype("u1")
    if dtype.kind == "f":
        return np.promote_types(dtype, "<f4")
    if dtype.str[1:] in _KINDS or span is None:
        return dtype
    for kind in ("i4", "u4"):
        if span.fits(np.iinfo(kind).min, np.iinfo(kind).max):
            return np.dtype(kind)
    if span.fits(-(2**53), 2**53):
        return np.dtype("f8")
    raise ValueError(
        f"{path}: no type of ply holds the column {name}, whole numbers from {span.low} to "
        f"{span.high}. Write .las or .laz, or leave it out."
    )


def _write_new(
    source: CloudFile, kept: Sequence[str], file: IO[bytes], new: Arrays, comments: Sequence[str]
) -> list[str]:
    names, remarks = _property_names(kept, ("x", "y", "z", *new))
    kinds = dict.fromkeys("xyz", np.dtype("f8"))
    kinds.update((names[name], kind) for name, kind in _kinds_of(source, kept).items())
    kinds.update((name, array.dtype) for name, array in new.items())
    rows = np.dtype([(name, kind.newbyteorder("<")) for name, kind in kinds.items()])
    lines = ["ply", "format binary_little_endian 1.0", *(f"comment {text}" for text in comments)]
    lines += [f"element vertex {source.num_points}"]
    lines += [f"property {_KINDS[kind.str[1:]]} {name}" for name, kind in kinds.items()]
    file.write("\n".join([*lines, "end_header", ""]).encode("ascii"))
    start = 0
    for chunk in source.chunks(kept):
        table = np.empty(len(chunk.xyz), rows)
        for i, axis in enumerate("xyz"):
            table[axis] = chunk.xyz[:, i]
        for name in kept:
            table[names[name]] = chunk.columns[name]
        for name, array in new.items():
            table[name] = array[start : start + len(table)]
        start += len(table)
        file.write(table.tobytes())
    return remarks


def _kinds_of(source: CloudFile, kept: Sequence[str]) -> dict[str, np.dtype]:
    """Types of ply for columns of a file; by their values where the type leaves it open."""
    types = {name: source.columns[name] for name in kept}
    colors = [name for name in kept if name in _COLORS and types[name].kind in "fi"]
    wide = [name for name in kept if types[name].str[1:] in ("i8", "u8")]
    spans = survey(source, [*colors, *wide]).spans if colors or wide else {}
    bytes_ = {name: np.dtype("u1") for name in colors if spans[name].fits(0, 255)}
    return {n: bytes_.get(n) or _kind(source.path, n, types[n], spans.get(n)) for n in kept}


def _copy_rows(
    path: Path,
    file: IO[bytes],
    layout: tuple[Header, np.dtype],
    new: Arrays,
    comments: Sequence[str],
) -> None:
    """Copy a file of plain rows; what stands behind the vertices is copied as it is."""
    header, old_rows = layout
    num_rows = header.elements["vertex"].num_rows
    is_little = header.encoding == "binary_little_endian"
    kinds = {name: old_rows[name] for name in old_rows.names or ()}
    kinds.update(
        (name, array.dtype.newbyteorder("<" if is_little else ">")) for name, array in new.items()
    )
    rows = np.dtype([*kinds.items()])
    with reading(path):
        table = np.memmap(path, old_rows, "r", header.size, (num_rows,))
    with path.open("rb") as source:
        lines = source.read(header.size).decode("ascii", errors="surrogateescape")
        changed = _change_header(lines.splitlines(keepends=True), new, comments)
        file.write("".join(changed).encode("ascii", errors="surrogateescape"))
        for start in range(0, num_rows, CHUNK):
            block = table[start : start + CHUNK]
            copy = np.empty(len(block), rows)
            for name in rows.names or ():
                copy[name] = new[name][start : start + CHUNK] if name in new else block[name]
            file.write(copy.tobytes())
        source.seek(header.size + table.nbytes)
        shutil.copyfileobj(source, file)


def _change_header(lines: Sequence[str], new: Arrays, comments: Sequence[str]) -> list[str]:
    """The lines of a header with other types of the vertices' properties, and further ones."""
    end = "\r\n" if lines[0].endswith("\r\n") else "\n"
    properties = {n: f"property {_KINDS[a.dtype.str[1:]]} {n}{end}" for n, a in new.items()}
    changed: list[str] = []
    element = None
    for line in lines:
        words = line.split() or [""]
        if words[0] in ("element", "end_header"):
            if element == "vertex":
                changed += properties.values()
            if element is None:
                changed += [f"comment {text}{end}" for text in comments]
            element = words[1] if len(words) > 1 else ""
        if words[0] == "property" and element == "vertex" and words[-1] in properties:
            line = properties.pop(words[-1])
        if not (comments and words[0] == "comment" and _is_legend(line)):
            changed.append(line)
    return changed


def _is_legend(line: str) -> bool:
    return bool(_LEGEND.match(line.removeprefix("comment ")))


def _copy_with_plyfile(
    path: Path, file: IO[bytes], new: Arrays, comments: Sequence[str]
) -> list[str]:
    """Copy a file in memory: ascii, or vertices that have lists or stand behind other elements."""
    with reading(path):
        ply = PlyData.read(str(path))
    old = ply["vertex"]
    lists = [p for p in old.properties if isinstance(p, PlyListProperty)]
    kinds = {p.name: old.data.dtype[p.name] for p in old.properties}
    kinds.update((name, array.dtype) for name, array in new.items())
    table = np.empty(old.count, [*kinds.items()])
    for name in kinds:
        table[name] = new[name] if name in new else old[name]
    vertex = PlyElement.describe(
        table,
        "vertex",
        len_types={p.name: p.len_dtype for p in lists},
        val_types={p.name: p.val_dtype for p in lists},
        comments=old.comments,
    )
    kept = [text for text in ply.comments if not (comments and _LEGEND.match(text))]
    elements = [vertex if element.name == "vertex" else element for element in ply.elements]
    # plyfile 1.1 writes single numbers beside lists in the order of the machine, whatever it says.
    order = "=" if ply.text else "<"
    PlyData(elements, ply.text, order, [*kept, *comments], ply.obj_info).write(file)
    return ["big endian numbers are written little endian"] if ply.byte_order == ">" else []
