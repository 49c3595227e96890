"""A copy of a LAS file with further columns: every number that is stored in it stays as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import laspy
import numpy as np
from laspy.header import Version
from laspy.point import dims
from numpy.typing import NDArray

from pc3d.io.clouds.las import LasCloud
from pc3d.io.clouds.las_dims import (
    CLASSES,
    CODES,
    EXTRA,
    EXTRA_BYTES,
    check_codes,
    check_sizes,
    class_names,
    describe,
    extra_dimension,
    extra_name,
    holds,
    store,
)
from pc3d.io.clouds.las_output import Origin, Output, Raw, new_record
from pc3d.io.clouds.las_parts import COPC, LASZIP, copy_record
from pc3d.io.clouds.names import part_names
from pc3d.io.clouds.survey import span_of

Arrays = Mapping[str, NDArray[Any]]

_WITH_BYTE = {0: 6, 1: 6, 2: 7, 3: 7, 4: 9, 5: 10}
"""Point formats that have 8 bits for the class, and all dimensions of those that have 5."""

_SCAN_ANGLE = 0.006
"""Degrees of a step of the scan angle from point format 6 on; before, it is 1 degree."""

_GEO_KEYS, _HAS_WKT = (b"LASF_Projection", 34735), 1 << 4


class _Extra(NamedTuple):
    """An extra dimension, and its description in the file; b"" if there is none."""

    dimension: dims.DimensionInfo
    description: bytes


def copy_las(source: LasCloud, added: Arrays, legend: Mapping[int, str]) -> Output:
    """What to write as a copy of a file with further columns.

    A column replaces the dimension of its name if that holds its values; others become extra
    dimensions. Classes over 31 may need another point format.

    Raises:
        ValueError: classes that are not 0 to 255, or too many dimensions.
    """
    remarks: list[str] = []
    point_format = laspy.PointFormat(_format_for(source, added, remarks))
    extra = _extra(source)
    values = {}
    for name, array in added.items():
        place = _place(source, point_format, extra, name, array)
        values[place] = array
        if place != name:
            remarks.append(f"the column {name!r} is the extra dimension {place!r}")
    if extra != _extra(source):
        extra = [described for e in extra for described in _described(e)]
    point_format.dimensions.extend(e.dimension for e in extra)
    check_sizes(source.path, point_format)
    records = _records(source, extra, legend, remarks)
    header = deepcopy(source.header)
    header.system_identifier = header.generating_software = (
        ""  # laspy takes ASCII only; put back later
    )
    header.set_version_and_point_format(_version(header, point_format.id), point_format)
    points = _points(source, point_format, values)
    return Output(header, records, points, remarks, Origin(source.path, source.parts))


def _extra(source: LasCloud) -> list[_Extra]:
    """The extra dimensions of a file; bytes that nothing describes may be the last one."""
    dimensions = list(source.header.point_format.extra_dimensions)
    data = b""
    if source.header.vlrs.get("ExtraBytesVlr"):  # laspy understands the record
        with source.path.open("rb") as file:
            data = next(copy_record(file, r) for r in source.parts.records if r.key == EXTRA)
    starts = range(0, EXTRA_BYTES * len(dimensions), EXTRA_BYTES)
    descriptions = [data[start : start + EXTRA_BYTES] for start in starts]
    return [_Extra(*pair) for pair in zip(dimensions, descriptions, strict=True)]


def _described(extra: _Extra) -> list[_Extra]:
    """The same bytes with descriptions: bytes that have none become numbers of a byte."""
    if extra.description:
        return [extra]
    name, width = extra.dimension.name, extra.dimension.num_elements
    names = part_names(name, width) if width > 1 else (name,)
    new = [extra_dimension(name, np.dtype("u1")) for name in names]
    return [_Extra(dimension, describe(dimension)) for dimension in new]


def _format_for(source: LasCloud, added: Arrays, remarks: list[str]) -> int:
    """The source's point format, or one that holds the classes."""
    old = source.header.point_format
    if CODES not in added:
        return old.id
    span = span_of(added[CODES])
    check_codes(source.path, added[CODES], span)
    if span.high <= int(old[CODES].max):
        return old.id
    new = _WITH_BYTE[old.id]
    remarks.append(
        f"point format {old.id} holds classes up to {old[CODES].max}, but there is a class "
        f"{span.high}; it becomes format {new} of LAS 1.4"
    )
    keys = [record.key for record in source.parts.records]
    if _GEO_KEYS in keys and not source.parts.number(6, 2) & _HAS_WKT:
        remarks.append("the coordinate system stays described by GeoTIFF keys, not by WKT")
    return new


def _version(header: laspy.LasHeader, format_id: int) -> Version:
    """The source's version, or the first that laspy writes and that has the point format."""
    if format_id in dims.VERSION_TO_POINT_FMT.get(str(header.version), ()):
        return header.version
    return Version.from_str(dims.preferred_file_version_for_point_format(format_id))


def _place(
    source: LasCloud,
    point_format: laspy.PointFormat,
    extra: list[_Extra],
    name: str,
    array: NDArray[Any],
) -> str:
    """The dimension for a column; if it is an extra one, `extra` gets it."""
    standard = {d.name: d for d in point_format.dimensions}
    if name in standard and holds(standard[name], array.dtype, span_of(array)):
        return name
    for i, (dimension, _) in enumerate(extra):
        if dimension.name == name and dimension.num_elements == 1:
            new = extra_dimension(name, array.dtype)
            extra[i] = _Extra(new, describe(new))
            return name
    taken = {*source.columns, *(e.dimension.name for e in extra)}
    new = extra_dimension(extra_name(name, point_format, taken), array.dtype)
    extra.append(_Extra(new, describe(new)))
    return new.name


def _records(
    source: LasCloud, extra: Sequence[_Extra], legend: Mapping[int, str], remarks: list[str]
) -> list[Raw]:
    """The source's records; those that hold no longer are replaced or left out."""
    new: dict[tuple[bytes, int], Raw] = {}
    if extra != _extra(source):
        data = b"".join(e.description for e in extra)
        new[EXTRA] = new_record(EXTRA, data, b"Extra Bytes Record")
    if legend:
        new[CLASSES] = new_record(CLASSES, class_names(legend), b"Classification Lookup")
    kept = [r for r in source.parts.records if r.key != LASZIP and r.key not in new]
    if any(record.key[0] == COPC for record in kept):
        remarks.append("the COPC index does not hold for the copy, and is left out")
    with source.path.open("rb") as file:
        old = [Raw(r.head, copy_record(file, r)) for r in kept if r.key[0] != COPC]
    return [*old, *new.values()]


def _points(
    source: LasCloud, point_format: laspy.PointFormat, values: Arrays
) -> Iterator[laspy.PackedPointRecord]:
    start = 0
    for old in source.records():
        new = laspy.PackedPointRecord.zeros(len(old), point_format)
        _copy_standard(old, new)
        for name in set(point_format.extra_dimension_names) - set(values):
            if name in (old.array.dtype.names or ()):
                new.array[name] = old.array[name]
            else:  # a byte that had no description
                place = source.places[name]
                new.array[name] = old.array[place.dimension.name][:, place.part]
        for name, array in values.items():
            store(new, name, array[start : start + len(old)])
        start += len(old)
        yield new


def _copy_standard(old: laspy.PackedPointRecord, new: laspy.PackedPointRecord) -> None:
    if old.point_format.id == new.point_format.id:
        for name in laspy.PointFormat(old.point_format.id).dtype().names or ():
            new.array[name] = old.array[name]
        return
    known = set(new.point_format.standard_dimension_names)
    for name in old.point_format.standard_dimension_names:
        if name in known:
            store(new, name, np.array(old[name]))
    new.array["scan_angle"] = np.rint(old.array["scan_angle_rank"] / _SCAN_ANGLE)
