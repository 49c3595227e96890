"""Overlapping windows over a cloud of any size, and the votes of its points, in bounded memory.

Windows of equal size cover the horizontal plane on a grid; the full height stays together. They
are visited column by column along the longer side, and a point's votes are complete when the last
column that covers it is done: what waits is at most what two columns hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from pc3d.data.sample import bounds

Rows = NDArray[np.int64]
Scores = NDArray[np.float32]
Places = NDArray[np.floating]
_MIN_EXTENT = 0.1  # metres


@dataclass(frozen=True)
class Column:
    """Windows that cover the same part of the longer side.

    Attributes:
        rows: the points of the column, by their place along the longer side.
        num_done: how many of them, from the first on, no later column covers.
        windows: the points of every window, as places in `rows`; none is empty.
    """

    rows: Rows
    num_done: int
    windows: list[Rows]


def bounded_extent(xy: NDArray[np.floating], extent: float, max_points: int) -> float:
    """The side of windows: `extent`, or the size of the cloud, halved while too many points fit in.

    Args:
        xy: [P, 2] metres, P > 0.
        extent: metres; infinity for one window over all.
        max_points: that a square of the window's size may hold. Less than 0.1 m it never gets.
    """
    low, high = bounds(xy)
    sides = (high - low).astype(np.float64)
    extent = min(extent, max(float(sides.max()), _MIN_EXTENT))
    while len(xy) > max_points and extent > _MIN_EXTENT:
        cells = ((xy - low) / extent).astype(np.int64)
        _, counts = np.unique(
            cells[:, 0] * (int(sides[1] / extent) + 1) + cells[:, 1], return_counts=True
        )
        if counts.max() <= max_points:
            break
        extent /= 2
    return extent


def starts(length: float, extent: float, overlap: float) -> NDArray[np.float64]:
    """Where the fewest windows begin that cover `length` and overlap by no less than asked.

    Args:
        length: metres to cover, from 0.
        extent: metres of a window.
        overlap: share of a window that the next one covers too, in [0, 1).

    Returns:
        [W] metres, evenly spaced; the last window ends at `length`, or the only one beyond it.
    """
    number = 1
    if length > extent:
        number += ceil((length - extent) / (extent * (1 - overlap)))
    found: NDArray[np.float64] = np.linspace(0.0, max(0.0, length - extent), number)
    return found


def columns(xy: NDArray[np.floating], extent: float, overlap: float) -> Iterator[Column]:
    """The columns of windows over points, from one end of the longer side to the other.

    Args:
        xy: [P, 2] metres, P > 0.
        extent: metres of a window, in both directions.
        overlap: share of a window that the next one covers too, in [0, 1).
    """
    low, high = bounds(xy)
    lengths = high - low
    along, across = (0, 1) if lengths[0] >= lengths[1] else (1, 0)
    order = np.argsort(xy[:, along], kind="stable")
    place = xy[order, along] - low[along]
    begins = starts(float(lengths[along]), extent, overlap)
    firsts, lasts = _spans(place, begins, extent)
    across_begins = starts(float(lengths[across]), extent, overlap)
    for i, (first, last) in enumerate(zip(firsts.tolist(), lasts.tolist(), strict=True)):
        next_first = int(firsts[i + 1]) if i + 1 < len(firsts) else last
        rows = order[first:last]
        if len(rows):
            beside = xy[rows, across] - low[across]
            yield Column(rows, next_first - first, _windows(rows, beside, across_begins, extent))


def _windows(rows: Rows, place: NDArray[np.floating], begins: Places, extent: float) -> list[Rows]:
    """Places in `rows` of the points of every window, in the order of the file."""
    order = np.argsort(place, kind="stable")
    spans = zip(*_spans(place[order], begins, extent), strict=True)
    windows = [order[first:last] for first, last in spans]
    return [window[np.argsort(rows[window])] for window in windows if len(window)]


def _spans(place: Places, begins: Places, extent: float) -> tuple[Rows, Rows]:
    """First and one after the last of the sorted places that lie in each window."""
    firsts = np.searchsorted(place, begins)
    lasts = np.searchsorted(place, begins + extent)
    lasts[-1] = len(place)
    lasts[:-1] = np.maximum(lasts[:-1], firsts[1:])  # rounding must leave no gap between windows
    return firsts, lasts


def votes(
    found: Iterator[Column], score: Callable[[Rows], Scores], num_classes: int
) -> Iterator[tuple[Rows, Scores]]:
    """The mean score of every point over the windows that hold it.

    Args:
        found: of `columns`.
        score: from Q points ([Q] rows of the cloud) to their [Q, num_classes] scores.
        num_classes: C.

    Yields:
        [Q] rows and [Q, C] scores, every row of the cloud once.
    """
    waiting = np.zeros((0, num_classes), dtype=np.float32)
    counts = np.zeros(0, dtype=np.float32)
    for column in found:
        more = len(column.rows) - len(waiting)
        sums = np.concatenate([waiting, np.zeros((more, num_classes), dtype=np.float32)])
        counts = np.concatenate([counts, np.zeros(more, dtype=np.float32)])
        for window in column.windows:
            sums[window] += score(column.rows[window])
            counts[window] += 1
        done = column.num_done
        yield column.rows[:done], np.divide(sums[:done], counts[:done, None], dtype=np.float32)
        waiting, counts = sums[done:], counts[done:]
