"""Any points as LAS 1.4: what the standard knows by its names, all else as extra dimensions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import laspy
import numpy as np
from numpy.typing import NDArray

from pc3d.io.clouds.file import CHUNK, CloudFile
from pc3d.io.clouds.las_dims import (
    CLASSES,
    CODES,
    EXTRA,
    check_codes,
    check_sizes,
    class_names,
    describe,
    extra_dimension,
    extra_name,
    holds,
    store,
)
from pc3d.io.clouds.las_output import Output, new_record
from pc3d.io.clouds.survey import STEPS, Span, Survey, span_of, survey

Arrays = Mapping[str, NDArray[Any]]

_PLAIN, _COLORED = 6, 7
_COLORS = ("red", "green", "blue")
_RETURNS = ("return_number", "number_of_returns")
_SCALES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)
_MOST = 2**31 - 1


class _Place(NamedTuple):
    """The dimension for a column, and what its values are multiplied with."""

    dimension: str
    factor: int = 1


def new_las(source: CloudFile, added: Arrays, legend: Mapping[int, str]) -> Output:
    """What to write for points of another format.

    The scale is the coarsest of 1 mm to 1 µm (if the unit is the metre) that loses nothing, or else
    the finest with which the coordinates fit.

    Raises:
        ValueError: points without finite coordinates, classes that are not 0 to 255, or too many
            columns.
    """
    kept = [name for name in source.columns if name not in added]
    types = {**{n: source.columns[n] for n in kept}, **{n: a.dtype for n, a in added.items()}}
    found = survey(source, kept)
    spans = {**found.spans, **{name: span_of(array) for name, array in added.items()}}
    if CODES in added:
        check_codes(source.path, added[CODES], spans[CODES])
    remarks: list[str] = []
    places, point_format = _places(types, spans, remarks)
    check_sizes(source.path, point_format)
    header = laspy.LasHeader(version="1.4", point_format=point_format)
    header.global_encoding.wkt = True  # as the standard has it from point format 6 on
    header.generating_software = "pc3d"
    header.scales, header.offsets = _grid(source, found, remarks)
    extra = b"".join(describe(d) for d in point_format.extra_dimensions)
    records = [new_record(EXTRA, extra, b"Extra Bytes Record")] if extra else []
    if legend:
        records.append(new_record(CLASSES, class_names(legend), b"Classification Lookup"))
    return Output(header, records, _points(source, kept, added, header, places), remarks)


def _places(
    types: Mapping[str, np.dtype], spans: Mapping[str, Span], remarks: list[str]
) -> tuple[dict[str, _Place], laspy.PointFormat]:
    """The dimensions for columns, and a point format that has them."""
    factor = _color_factor(types, spans)
    point_format = laspy.PointFormat(_COLORED if factor else _PLAIN)
    standard = {d.name: d for d in point_format.dimensions if d.name not in "XYZ"}
    places = {name: _Place(name, factor) for name in _COLORS if factor}
    for name, dtype in types.items():
        if name in places:
            continue
        if name in standard and holds(standard[name], dtype, spans[name]):
            places[name] = _Place(name)
            continue
        new = extra_name(name, point_format, types.keys() - {name})
        point_format.dimensions.append(extra_dimension(new, dtype))
        places[name] = _Place(new)
        if new != name:
            remarks.append(f"the column {name!r} is the extra dimension {new!r}")
    return places, point_format


def _color_factor(types: Mapping[str, np.dtype], spans: Mapping[str, Span]) -> int:
    """What makes colours 0 to 65535; 0 if they are no colours that LAS can hold."""
    if not set(_COLORS) <= set(types):
        return 0
    kinds = {types[name] for name in _COLORS}
    if not all(spans[name].low >= 0 and spans[name].high <= 65535 for name in _COLORS):
        return 0
    most = max(spans[name].high for name in _COLORS)
    if kinds <= {np.dtype("u2")}:
        return 1
    if all(kind.kind == "f" for kind in kinds) and most <= 1:
        return 65535
    if not all(spans[name].is_whole for name in _COLORS):
        return 0
    return 257 if most <= 255 else 1


def _grid(
    source: CloudFile, found: Survey, remarks: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scales and offsets."""
    if found.num_not_finite:
        raise ValueError(
            f"{source.path}: {found.num_not_finite} of {source.num_points} points have no finite "
            "coordinates, which LAS cannot hold. Write .ply or .npy."
        )
    offsets = np.floor(found.low)
    span = float((found.high - offsets).max())
    finest = next((scale for scale in _SCALES if span / scale < _MOST), None)
    if finest is None:
        raise ValueError(f"{source.path}: coordinates span {span}, more than LAS can hold")
    scale = next((step for step in found.steps if step >= finest), finest)
    if scale > STEPS[0]:
        remarks.append(f"coordinates span {span}, so they are rounded to {scale}")
    return np.full(3, scale), offsets


def _points(
    source: CloudFile,
    kept: Sequence[str],
    added: Arrays,
    header: laspy.LasHeader,
    places: Mapping[str, _Place],
) -> Iterator[laspy.PackedPointRecord]:
    dimensions = {place.dimension for place in places.values()}
    start = 0
    for xyz, columns in source.chunks(kept, CHUNK):
        points = laspy.PackedPointRecord.zeros(len(xyz), header.point_format)
        raw = np.rint((xyz - header.offsets) / header.scales)
        for i, axis in enumerate("XYZ"):
            points.array[axis] = raw[:, i]
        for name in _RETURNS:
            if name not in dimensions:
                store(points, name, np.ones(len(xyz), np.uint8))
        for name, (dimension, factor) in places.items():
            values = columns[name] if name in columns else added[name][start : start + len(xyz)]
            store(points, dimension, values if factor == 1 else np.rint(values * float(factor)))
        start += len(xyz)
        yield points
