"""The CUDA kernels of this folder, called on tensors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from cuda_ops.farthest_points.sizes import refuse_negative
from cuda_ops.runtime import Gpu
from cuda_ops.runtime.cuda_compiler import THREADS

OP = "farthest_points"
MAX_POINTS = 2**32 - 1
"""The kernel keeps 32 bits of a point's row."""


def farthest_points(
    gpu: Gpu, points: Tensor, offsets: Tensor, num_samples: Sequence[int]
) -> Tensor | None:
    """`reference_farthest_points`; None for too many points.

    Where samples are more than points, rows are -1.
    """
    refuse_negative(num_samples)
    num_points, num_clouds = len(points), len(num_samples)
    if num_points > MAX_POINTS:
        return None
    starts = [0, *accumulate(num_samples)]
    sizes = torch.tensor([num_samples, starts[:-1]], dtype=torch.int64)
    sizes = sizes.to(points.device, non_blocking=True)
    rows = offsets.new_full((starts[-1],), -1)
    misfit = gpu.complaint(
        ValueError(
            "farthest_points: offsets do not ascend from 0 to the number of points, or num_samples "
            "has more than a cloud's points"
        )
    )
    infinite = gpu.complaint(
        ValueError("farthest_points: points have NaN or infinite coordinates; remove them first")
    )
    clouds = (offsets.contiguous(), num_clouds, sizes[0], sizes[1])
    results = (points.new_empty(num_points), rows, misfit, infinite)
    size = num_clouds * THREADS
    gpu.launch(OP, OP, size, points.contiguous(), num_points, *clouds, *results)
    return rows
