"""The C++ kernels of this folder, called on tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_ops.nearest_neighbors.spec import checked_bounds, is_same, limit_bits, not_finite
from cuda_ops.runtime import CpuLibrary, all_float32, int64


def _order(library: CpuLibrary, rows: Tensor, offsets: Tensor) -> tuple[Tensor, int]:
    """The rows of every cloud, neighbours in space near each other; how many are not finite."""
    order = torch.empty(len(rows), dtype=torch.int32)
    space = torch.empty(2, len(rows), dtype=torch.int64)
    sizes = (len(rows), offsets, len(offsets) - 1)
    return order, library.parallel("pc3d_nearest_order", rows, *sizes, order, space)


def nearest_neighbors(
    library: CpuLibrary,
    points: Tensor,
    point_offsets: Tensor,
    queries: Tensor,
    query_offsets: Tensor,
    k: int,
    radius: float | None,
) -> tuple[Tensor, Tensor] | None:
    """`reference_nearest_neighbors`; None for types other than float32."""
    if not all_float32(points, queries):
        return None
    checked_bounds("point_offsets", point_offsets, len(points))
    checked_bounds("query_offsets", query_offsets, len(queries))
    same = is_same(points, queries) and is_same(point_offsets, query_offsets)
    points, point_offsets = points.contiguous(), int64(point_offsets)
    queries, query_offsets = queries.contiguous(), int64(query_offsets)
    order, bad_points = _order(library, points, point_offsets)
    query_order, bad_queries = (
        (order, bad_points) if same else _order(library, queries, query_offsets)
    )
    if bad_points or bad_queries:
        raise not_finite(bad_points, bad_queries)
    num, wanted = len(queries), min(k, max(1, len(points)))
    best = torch.empty(num, wanted, dtype=torch.int64)
    space = torch.empty(
        library.parallel("pc3d_nearest_bytes", len(points), wanted), dtype=torch.uint8
    )
    library.parallel(
        "pc3d_nearest_neighbors",
        *(points, point_offsets, order, len(points)),
        *(queries, query_offsets, query_order, num),
        *(wanted, limit_bits(radius), best, space),
    )
    table, squared = torch.empty(k, num, dtype=torch.int32), points.new_empty(k, num)
    library.parallel("pc3d_nearest_unpack", best, num, wanted, table, squared)
    table[wanted:], squared[wanted:] = -1, torch.inf
    return table, squared
