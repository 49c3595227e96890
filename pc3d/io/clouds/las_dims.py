"""Dimensions of LAS files to write: what the standard's hold, and the records that describe others.

Source: LAS 1.4 R15 (ASPRS, 2019).
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import laspy
import numpy as np
from laspy.point import dims
from laspy.point.dims import DimensionInfo
from laspy.point.format import ExtraBytesParams
from numpy.typing import NDArray

from pc3d.io.clouds.names import unique
from pc3d.io.clouds.survey import Span

CLASSES, EXTRA = (b"LASF_Spec", 0), (b"LASF_Spec", 4)
"""User and record id of the names of classes, and of the descriptions of extra dimensions."""

CODES = "classification"
EXTRA_BYTES = 192
"""Size of the description of an extra dimension."""

_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
_NAME_BYTES, _CLASS_BYTES = 32, 15
_MAX_RECORD = 65535


def holds(dimension: DimensionInfo, dtype: np.dtype, span: Span) -> bool:
    """Whether a dimension of the standard holds the values of a column exactly."""
    kind = dimension.dtype
    if kind is not None and kind.kind == "f":
        return (dtype.kind == "f" and dtype <= kind) or span.fits(-(2**24), 2**24)
    return span.fits(int(dimension.min), int(dimension.max))


def extra_dimension(name: str, dtype: np.dtype) -> DimensionInfo:
    """An extra dimension for a column."""
    if dtype.kind == "b":
        dtype = np.dtype("u1")
    if dtype.kind == "f":
        dtype = np.promote_types(dtype, "f4")
    return DimensionInfo.from_extra_bytes_param(ExtraBytesParams(name, dtype))


def extra_name(column: str, point_format: laspy.PointFormat, taken: Collection[str]) -> str:
    """A name for an extra dimension: the column's own if it can be, else one like it."""
    fields = point_format.dtype().names or ()
    names = {"x", "y", "z", *point_format.dimension_names, *fields, *dims.OLD_LASPY_NAMES, *taken}
    return unique(column.replace("\0", "_"), names, _NAME_BYTES)


def store(points: laspy.PackedPointRecord, dimension: str, values: NDArray[Any]) -> None:
    """Set the values of a dimension."""
    if dimension in (points.array.dtype.names or ()):
        points.array[dimension] = values
    else:  # bits of a field, which laspy shifts: it takes integers only
        points[dimension][:] = np.asarray(values).astype(np.uint8)


def describe(dimension: DimensionInfo) -> bytes:
    """The description of an extra dimension of single numbers."""
    assert dimension.dtype is not None
    code = _TYPES.index(dimension.dtype.str[1:]) + 1
    head = struct.pack(f"<2xBx{_NAME_BYTES}s", code, dimension.name.encode())
    return head.ljust(EXTRA_BYTES, b"\0")


def class_names(legend: Mapping[int, str]) -> bytes:
    """The record of the names of classes: 256 codes, each with 15 bytes of its name or none."""
    names = [legend.get(code, "").encode()[:_CLASS_BYTES] for code in range(256)]
    whole = [name.decode(errors="ignore").encode() for name in names]
    return b"".join(struct.pack(f"B{_CLASS_BYTES}s", i, name) for i, name in enumerate(whole))


def check_sizes(path: Path, point_format: laspy.PointFormat) -> None:
    """Raise a `ValueError` if there are more extra dimensions than a file can have."""
    num_extra = len(list(point_format.extra_dimensions))
    if num_extra * EXTRA_BYTES > _MAX_RECORD or point_format.size > _MAX_RECORD:
        raise ValueError(
            f"{path}: {num_extra} columns besides those of the standard are more than LAS can have "
            f"({_MAX_RECORD // EXTRA_BYTES}). Write .ply, or leave some out."
        )


def check_codes(path: Path, codes: NDArray[Any], span: Span) -> None:
    """Raise a `ValueError` if these are no codes of classes."""
    if not span.fits(0, 255):
        raise ValueError(
            f"{path}: {CODES} must be whole numbers from 0 to 255 in LAS; got {span.low} to "
            f"{span.high} ({codes.dtype}). Map them to such codes first."
        )
