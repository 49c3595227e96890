"""Nearest neighbours: the k points nearest to each query within its own cloud, exactly.

Squared distances are specified to the bit, so that every kernel finds the same rows:

    d = (dx * dx + dy * dy) + dz * dz    with dx, dy, dz = point - query

where every single operation is rounded to the type of the points, and no product is fused with a
sum. A point is a neighbour if d is finite and at most the limit: `radius * radius`, in that type
from the radius rounded to it. Of points equally far the one with the smaller row comes first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_ops.library import define
from cuda_ops.nearest_neighbors import cpu, cuda
from cuda_ops.nearest_neighbors.spec import checked_bounds, not_finite, squared_limit

MAX_POINTS = 2**31 - 1
"""Rows that a table of int32 can name."""
_PAIRS = 1 << 21
"""Distances that the reference holds at once."""


def _check_finite(points: Tensor, queries: Tensor) -> None:
    counts = [len(x) - int(x.isfinite().all(dim=1).sum()) for x in (points, queries)]
    if any(counts):
        raise not_finite(*counts)


def reference_nearest_neighbors(
    points: Tensor,
    point_offsets: Tensor,
    queries: Tensor,
    query_offsets: Tensor,
    k: int,
    radius: float | None,
) -> tuple[Tensor, Tensor]:
    limit = squared_limit(radius, points.dtype)
    point_bounds = checked_bounds("point_offsets", point_offsets, len(points))
    query_bounds = checked_bounds("query_offsets", query_offsets, len(queries))
    if points.device.type == "cpu":
        _check_finite(points, queries)
    table = queries.new_full((k, len(queries)), -1, dtype=torch.int32)
    distance = points.new_full((k, len(queries)), torch.inf)
    for cloud in range(len(point_bounds) - 1):
        first, end = point_bounds[cloud : cloud + 2]
        begin, stop = query_bounds[cloud : cloud + 2]
        if first == end:
            continue
        step = max(1, _PAIRS // (end - first))
        for start in range(begin, stop, step):
            rows = slice(start, min(start + step, stop))
            x, y, z = (points[first:end] - queries[rows].unsqueeze(1)).unbind(2)
            squared = (x * x + y * y) + z * z
            found, order = squared.sort(dim=1, stable=True)  # NaN comes last
            is_near = found[:, :k] <= limit
            near = min(k, end - first)
            table[:near, rows] = torch.where(is_near, order[:, :k] + first, -1).int().T
            distance[:near, rows] = torch.where(is_near, found[:, :k], torch.inf).T
    return table, distance


def fake_nearest_neighbors(
    points: Tensor,
    point_offsets: Tensor,
    queries: Tensor,
    query_offsets: Tensor,
    k: int,
    radius: float | None,
) -> tuple[Tensor, Tensor]:
    table = queries.new_empty((k, queries.shape[0]), dtype=torch.int32)
    return table, points.new_empty((k, queries.shape[0]))


_nearest_neighbors = define(
    "nearest_neighbors(Tensor points, Tensor point_offsets, Tensor queries, Tensor query_offsets, "
    "SymInt k, float? radius) -> (Tensor, Tensor)",
    reference_nearest_neighbors,
    fake_nearest_neighbors,
    cpu.nearest_neighbors,
    cuda.nearest_neighbors,
    like=None,
)


def _check_rows(name: str, rows: Tensor, dtype: torch.dtype) -> None:
    if rows.ndim != 2 or rows.shape[1] != 3 or rows.dtype != dtype:
        raise ValueError(
            f"{name} must be [rows, 3] coordinates in float32 or float64, points and queries in "
            f"the same; got {tuple(rows.shape)} {rows.dtype}"
        )
    if rows.shape[0] > MAX_POINTS:
        raise ValueError(
            f"{name} has {rows.shape[0]} rows; at most {MAX_POINTS} are searched at once. "
            "Search in parts."
        )


def _check(
    points: Tensor, point_offsets: Tensor, queries: Tensor, query_offsets: Tensor, k: int
) -> None:
    wide = points.dtype == torch.float64
    _check_rows("points", points, torch.float64 if wide else torch.float32)
    _check_rows("queries", queries, points.dtype)
    for name, offsets in (("point_offsets", point_offsets), ("query_offsets", query_offsets)):
        if offsets.ndim != 1 or offsets.shape[0] < 1 or offsets.dtype != torch.int64:
            raise ValueError(
                f"{name} must be [clouds + 1] int64, from 0 to the number of rows; got "
                f"{tuple(offsets.shape)} {offsets.dtype}"
            )
    if point_offsets.shape != query_offsets.shape:
        raise ValueError(
            "point_offsets and query_offsets must be of the same clouds; got "
            f"{point_offsets.shape[0] - 1} and {query_offsets.shape[0] - 1} clouds"
        )
    if k < 1:
        raise ValueError(f"k must be at least 1; got {k}")


def nearest_neighbors(
    points: Tensor,
    point_offsets: Tensor,
    queries: Tensor,
    query_offsets: Tensor,
    k: int,
    radius: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The k nearest points of each query, among the points of its own cloud; exact.

    Where `queries` are the `points` themselves, every point is its own first neighbour, unless a
    duplicate of it has a smaller row. Not differentiable: the squared distances are constants too.

    Args:
        points: [P, 3] float32 or float64, metres.
        point_offsets: [B + 1] int64; cloud b holds the rows `offsets[b]:offsets[b + 1]`. It may be
            empty.
        queries: [Q, 3], the type of `points`; may be the same tensor.
        query_offsets: [B + 1] int64, likewise.
        k: neighbours of each query; may be more than a cloud has.
        radius: metres; points farther away are no neighbours, those exactly as far are. None: all.

    Returns:
        table [k, Q] int32, rows of `points`, the nearest first, of equally near ones the smaller
        row first; -1 where there are fewer than k. squared_distance [k, Q], the type of `points`,
        square metres; infinite where the table is -1.

    Raises:
        ValueError: wrong shapes or types; k below 1; a radius that is negative or NaN; offsets
            that do not ascend from 0 to the number of rows; coordinates that are not finite. A GPU
            is not waited for: there such points are no neighbours, and such queries have none; of
            such offsets the next op tells, or `cuda_ops.synchronize()`.
    """
    _check(points, point_offsets, queries, query_offsets, k)
    if radius is not None and not radius >= 0:
        raise ValueError(f"radius must be at least 0 metres, or None; got {radius}")
    known = points.detach()
    asked = known if queries is points else queries.detach()
    result: tuple[Tensor, Tensor] = _nearest_neighbors(
        known, point_offsets, asked, query_offsets, k, radius
    )
    return result
