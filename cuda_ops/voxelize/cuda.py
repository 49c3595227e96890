"""The CUDA kernels of this folder, called on tensors. Sorting is torch's, which is CUB's."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_ops.derived import derived
from cuda_ops.runtime import Gpu, int64, vector_width

OP = "voxelize"


def voxelize(gpu: Gpu, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`reference_voxelize`. Waits to know how many voxels there are."""
    num = len(keys)
    ordered, order = int64(keys).sort(stable=True)
    begins = keys.new_empty(num, dtype=torch.int32)
    gpu.launch(OP, "mark_voxels", num, ordered, num, begins)
    ends = begins.cumsum(0)
    num_voxels = int(ends[-1]) if num else 0
    inverse, unique = torch.empty_like(ordered), keys.new_empty(num_voxels, dtype=torch.int64)
    starts = keys.new_full((num_voxels + 1,), num, dtype=torch.int64)
    gpu.launch(OP, "voxels", num, ordered, order, ends, num, inverse, unique, starts)
    return unique, inverse, starts.diff()


def voxel_representative(
    gpu: Gpu, point2voxel: Tensor, priority: Tensor, num_voxels: int
) -> Tensor:
    """`reference_voxel_representative`."""
    point2voxel, priority = int64(point2voxel), int64(priority)
    best = priority.new_full((num_voxels,), torch.iinfo(torch.int64).max)
    rows = torch.zeros_like(best)
    points = (point2voxel, priority, len(priority), num_voxels)
    beyond = gpu.complaint(IndexError("point2voxel names voxels that are not there"))
    gpu.launch(OP, "smallest", len(priority), *points, best, beyond)
    gpu.launch(OP, "representatives", len(priority), *points, best, rows)
    return rows


def voxel_mean(gpu: Gpu, feats: Tensor, point2voxel: Tensor, counts: Tensor) -> Tensor:
    """`reference_voxel_mean`."""
    return segment_sum(gpu, feats, segments(point2voxel, len(counts)), mean=True)


def segments(index: Tensor, num_segments: int) -> tuple[Tensor, Tensor]:
    """The entries of every segment; sorted once for an index that is used again.

    Args:
        index: any shape, the segment of each entry; entries below 0 or from `num_segments` on are
            left out.
        num_segments: how many there are.

    Returns:
        order [E] int64, entries by segment, and starts [num_segments + 1], where each one begins.
    """

    def sort() -> tuple[Tensor, Tensor]:
        ordered, order = index.flatten().sort(stable=True)
        bounds = torch.arange(num_segments + 1, dtype=ordered.dtype, device=index.device)
        return order, torch.searchsorted(ordered, bounds)

    return derived(index, ("segments", num_segments), sort)


def segment_sum(
    gpu: Gpu,
    x: Tensor,
    of_segments: tuple[Tensor, Tensor],
    weight: Tensor | None = None,
    mean: bool = False,
) -> Tensor:
    """Sums of rows by segment, in the order of entries: the same bits every time.

    Args:
        gpu: the kernels.
        x: [R, C] features; entry e is row e % R.
        of_segments: what `segments` returned.
        weight: [E] float32 factor of each entry; 1 if None.
        mean: divide by the number of entries.

    Returns:
        [segments, C], the dtype of `x`; summed in float32.
    """
    x, (rows, channels) = x.contiguous(), x.shape
    order, starts = of_segments
    num_segments = len(starts) - 1
    y = x.new_empty(num_segments, channels)
    width = vector_width(channels, x, y)
    sums = (starts, num_segments, int(mean), y)
    size = num_segments * (channels // width)
    source = order if len(order) == rows else order % rows
    factor = 0 if weight is None else weight[order]
    terms = (x, channels, source, factor)
    gpu.launch(OP, "segment_sum", size, *terms, *sums, scalar=x.dtype, width=width)
    return y
