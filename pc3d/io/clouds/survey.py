"""What the values of a file span, found in one pass: a format to write may need to know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pc3d.io.clouds.file import CHUNK, CloudFile

STEPS = (1e-3, 1e-4, 1e-5, 1e-6)
"""Steps of which all coordinates may be multiples, e.g. because they were rounded to them."""


class Span(NamedTuple):
    """What values a column has.

    Attributes:
        low: the least value; NaN if one is.
        high: the greatest; NaN if one is.
        is_whole: whether all are finite whole numbers.
    """

    low: float
    high: float
    is_whole: bool

    def fits(self, low: int, high: int) -> bool:
        """Whether the values are whole numbers within bounds."""
        return self.is_whole and low <= self.low and self.high <= high


class Survey(NamedTuple):
    """What one pass over a file found.

    Attributes:
        spans: of columns, by name.
        low: [3] least finite coordinates.
        high: [3] greatest.
        num_not_finite: points without finite coordinates.
        steps: those of `STEPS` that all coordinates are multiples of, up to rounding.
    """

    spans: dict[str, Span]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    num_not_finite: int
    steps: tuple[float, ...]


def span_of(values: NDArray[Any]) -> Span:
    """The span of at least one value; whole numbers stay exact."""
    low, high = values.min().item(), values.max().item()
    is_whole = values.dtype.kind in "iub" or (
        bool(np.isfinite(values).all()) and bool((values == np.rint(values)).all())
    )
    return Span(low, high, is_whole)


def survey(source: CloudFile, names: Sequence[str]) -> Survey:
    """Read a file once.

    Args:
        source: the file.
        names: columns whose span is asked for.
    """
    spans: dict[str, Span] = {}
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    num_not_finite = 0
    steps: tuple[float, ...] = STEPS
    for chunk in source.chunks(names, CHUNK):
        for name, values in chunk.columns.items():
            spans[name] = _join(spans.get(name), span_of(values))
        xyz = chunk.xyz[np.isfinite(chunk.xyz).all(axis=1)]
        num_not_finite += len(chunk.xyz) - len(xyz)
        low = np.minimum(low, xyz.min(0, initial=np.inf))
        high = np.maximum(high, xyz.max(0, initial=-np.inf))
        steps = tuple(step for step in steps if _are_multiples(xyz, step))
    return Survey(spans, low, high, num_not_finite, steps)


def _join(a: Span | None, b: Span) -> Span:
    if a is None:
        return b
    low, high = min(a.low, b.low), max(a.high, b.high)
    if b.low != b.low:  # NaN: `min` and `max` keep the first then
        low, high = b.low, b.high
    return Span(low, high, a.is_whole and b.is_whole)


def _are_multiples(xyz: NDArray[np.float64], step: float) -> bool:
    errors = np.abs(np.rint(xyz / step) * step - xyz)
    return bool((errors <= 2 * np.spacing(np.abs(xyz))).all())
