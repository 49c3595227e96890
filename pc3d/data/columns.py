"""What the columns of a file of points are taken for: names become fields, values get our units."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALIASES: Mapping[str, tuple[tuple[str, ...], ...]] = MappingProxyType(
    {
        "color": (
            ("red", "green", "blue"),
            ("r", "g", "b"),
            ("diffusered", "diffusegreen", "diffuseblue"),
        ),
        "normal": (
            ("nx", "ny", "nz"),
            ("normalx", "normaly", "normalz"),
            ("normal0", "normal1", "normal2"),
            ("normals0", "normals1", "normals2"),
        ),
        "intensity": (("intensity",), ("reflectance",), ("reflectivity",), ("remission",), ("i",)),
        "returns": (("returnnumber", "numberofreturns"),),
        "label": (
            ("classification",),
            ("label",),
            ("labels",),
            ("class",),
            ("segment",),
            ("semantic",),
        ),
    }
)
"""Names that a field is known by; the first that a file has counts. They are compared without case,
without anything but letters and digits, and without CloudCompare's prefix `scalar_`: for `Return
Number` and `scalar_ReturnNumber` stands `returnnumber`."""

FIELDS = tuple(ALIASES)
"""The fields that columns can be taken for."""
WIDTHS: Mapping[str, int] = MappingProxyType({f: len(names[0]) for f, names in ALIASES.items()})
"""Number of columns that make a field."""

_16_BIT = 257.0  # 65535 / 255


def fields_of(
    names: Iterable[str],
    mapping: Mapping[str, Sequence[str] | None] = MappingProxyType({}),
    source: str = "the file",
    optional: Collection[str] = (),
) -> dict[str, tuple[str, ...]]:
    """Find the columns of each field.

    Args:
        names: the columns that a file has besides its coordinates.
        mapping: from a field to the columns that it is made of, instead of looking for them; None
            for a field that is not wanted. Their case need not be that of the file.
        source: the file, named in errors.
        optional: fields that stay away if the file lacks the columns that `mapping` names.

    Returns:
        From the fields that were found to the file's own names of their columns.

    Raises:
        ValueError: an unknown field, too few or too many columns for one, or a column that the file
            lacks; the message says what it has.
    """
    names = list(names)
    found: dict[str, tuple[str, ...]] = {}
    for field in FIELDS:
        if field not in mapping:
            candidates = (_known_as(alias, names) for alias in ALIASES[field])
            columns = next((c for c in candidates if None not in c), None)
        elif (wanted := mapping[field]) is None:
            continue
        else:
            _check_mapping(field, wanted)
            columns = [_named(name, names) for name in wanted]
            missing = [name for name, c in zip(wanted, columns, strict=True) if c is None]
            if missing and field not in optional:
                raise ValueError(
                    f"{source}: {field} is to be made of {', '.join(wanted)}, but there is no "
                    f"column {', '.join(missing)}. Its columns are {', '.join(names) or 'none'}"
                )
        if columns is not None and None not in columns:
            found[field] = tuple(c for c in columns if c is not None)
    unknown = sorted(set(mapping) - set(FIELDS))
    if unknown:
        raise ValueError(f"columns are taken for {', '.join(FIELDS)}; got {', '.join(unknown)}")
    return found


def _check_mapping(field: str, wanted: Sequence[str]) -> None:
    if isinstance(wanted, str) or len(wanted) != WIDTHS[field]:
        raise ValueError(
            f"{field} is made of {WIDTHS[field]} columns, such as "
            f"{', '.join(ALIASES[field][0])}; got {wanted}"
        )


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower()).removeprefix("scalar")


def _known_as(alias: Sequence[str], names: Sequence[str]) -> list[str | None]:
    """The columns of these names; one of exactly this name comes before others like it."""
    exact = sorted(names, key=lambda name: name not in alias)
    return [next((name for name in exact if _plain(name) == wanted), None) for wanted in alias]


def _named(wanted: str, names: Sequence[str]) -> str | None:
    """The column of this name, in this case if there is one."""
    if wanted in names:
        return wanted
    return next((name for name in names if name.lower() == wanted.lower()), None)


def color_scale(dtype: np.dtype, low: float, high: float, source: str) -> tuple[float, str]:
    """What colours are divided by to lie in 0..255.

    Args:
        dtype: of the columns.
        low: smallest value of all channels in the whole file.
        high: largest value.
        source: the file, named in the error.

    Returns:
        The divisor, and what was assumed; nothing is for `uint8`.

    Raises:
        ValueError: values that no colours have.
    """
    if np.isnan(low):  # readers refuse such points, and say where they are
        return 1.0, ""
    if low < 0 or high > 65535:
        raise ValueError(
            f"{source}: colours lie in {low:g}..{high:g}; expected 0..255, 0..65535 or 0..1. Are "
            "these columns colours?"
        )
    if high == 0:
        return 1.0, "all colours are 0: black, or not recorded"
    if dtype == np.uint8:
        return 1.0, ""
    if dtype.kind == "f" and high <= 1:
        return 1 / 255, "colours of 0..1 are multiplied by 255"
    if high <= 255:
        return 1.0, f"colours ({dtype}) stay as they are, since none is beyond 255"
    return _16_BIT, f"colours beyond 255 are taken for 16 bits and divided by {_16_BIT:g}"


def to_arrays(
    xyz: NDArray[np.float64],
    columns: Mapping[str, NDArray[Any]],
    fields: Mapping[str, Sequence[str]],
    scales: Mapping[str, float] = MappingProxyType({}),
    source: str = "the file",
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Turn columns into the arrays of a scene.

    Args:
        xyz: [P, 3] metres.
        columns: [P] values by name, all that `fields` names.
        fields: from a field to its columns, as `fields_of` finds them.
        scales: what `"intensity"` and `"color"` are divided by. Without a scale for it, intensity
            stays as it is, and the scale of colours follows from these values: whoever converts a
            file in parts gives that of the whole file (`color_scale`).
        source: the file, named in errors.

    Returns:
        `coord` [P, 3] float64, and of `fields` `color` [P, 3] uint8 or float32 in 0..255, `normal`
        [P, 3] float32, `intensity` [P] float32, `returns` [P, 2] in the file's type, `label` [P]
        int64, the file's own ids; and what was assumed, a sentence each, which do not depend on
        the part of the file.

    Raises:
        ValueError: values that no colours have, or labels that are not integers.
    """
    arrays: dict[str, NDArray[Any]] = {"coord": xyz}
    remarks = []
    for field, names in fields.items():
        values = [columns[name] for name in names]
        if field == "color":
            arrays[field], remark = _colors(np.stack(values, axis=1), scales.get(field), source)
            remarks += [remark] * bool(remark)
        elif field == "normal":
            arrays[field] = np.stack(values, axis=1).astype(np.float32)
        elif field == "intensity":
            arrays[field] = (values[0] / np.float64(scales.get(field, 1))).astype(np.float32)
            if field not in scales and values[0].max(initial=0) > 1:
                remarks.append("intensity reaches beyond 1 and stays as it is; divide_by scales it")
        elif field == "returns":
            arrays[field] = np.stack(values, axis=1)
        elif field == "label":
            arrays[field] = _integers(values[0], names[0], source)
    return arrays, remarks


def _colors(values: NDArray[Any], divisor: float | None, source: str) -> tuple[NDArray[Any], str]:
    """[P, 3] in 0..255, and what was assumed if the divisor is to be found."""
    remark = ""
    if divisor is None:
        low, high = (values.min(), values.max()) if len(values) else (0, 0)
        divisor, remark = color_scale(values.dtype, float(low), float(high), source)
    if values.dtype == np.uint8 and divisor == 1:
        return values, remark
    return (values / divisor).astype(np.float32), remark


def _integers(values: NDArray[Any], name: str, source: str) -> NDArray[np.int64]:
    """Labels, which many formats can only hold as decimal numbers."""
    if values.dtype.kind in "iub":
        return values.astype(np.int64)
    with np.errstate(invalid="ignore"):
        integers = values.astype(np.int64)
    wrong = integers != values
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"{source}: {int(wrong.sum())} of {len(values)} values of the column {name} are no "
            f"integers (first: {values[row]:g}), so they are no labels. Name the column that holds "
            "them: `columns: {label: ...}` in a description, pred_column= or truth_column= of eval"
        )
    return integers
