"""The C++ kernels of this folder, called on tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cuda_ops.farthest_points.sizes import check_sizes
from cuda_ops.runtime import CpuLibrary, all_float32
from cuda_ops.runtime.threads import num_threads

MAX_POINTS = 2**30
"""Of a cloud: rows are kept in 32 bits."""


def farthest_points(
    library: CpuLibrary, points: Tensor, offsets: Tensor, num_samples: Sequence[int]
) -> Tensor | None:
    """`reference_farthest_points`; None for types other than float32, or a cloud too large."""
    bounds = torch.tensor(check_sizes(points, offsets, num_samples))
    largest = int(bounds.diff().max()) if len(num_samples) else 0
    if not all_float32(points) or largest > MAX_POINTS:
        return None
    counts = torch.tensor(num_samples, dtype=torch.int64)
    rows = counts.new_empty(sum(num_samples))
    threads = min(num_threads(), len(num_samples))
    num_bytes = threads * library.call("pc3d_farthest_points_bytes", largest)
    library.parallel(
        "pc3d_farthest_points",
        points.contiguous(),
        bounds,
        counts,
        counts.cumsum(0) - counts,
        len(num_samples),
        largest,
        torch.empty(num_bytes, dtype=torch.uint8),
        rows,
    )
    return rows
