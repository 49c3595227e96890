"""The CUDA kernels of this folder, called on tensors. Sorting is torch's, which is CUB's."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from cuda_ops.nearest_neighbors.spec import is_same, limit_bits
from cuda_ops.runtime import Gpu
from cuda_ops.runtime.driver import Argument

OP = "nearest_neighbors"
ROOMS = (4, 16, 64)
"""Neighbours that the kernel is compiled for; a thread keeps them in registers."""
LEAF, FANOUT, MAX_LEVELS = 8, 4, 16
AXIS_BITS, KEY_BITS = 18, 63
_RUN = 32  # points of a thread of `extents`
_BOX_BYTES = 32


def _levels(num: int) -> list[int]:
    """Boxes of every level, from the leaves to the one around everything."""
    sizes = [-(-num // LEAF)]
    while sizes[-1] > 1:
        sizes.append(-(-sizes[-1] // FANOUT))
    return sizes


class _Search:
    """The kernels in the variant for some number of neighbours, on rows of the same clouds."""

    def __init__(self, gpu: Gpu, points: Tensor, offsets: Tensor, k: int) -> None:
        self.gpu, self.points, self.offsets = gpu, points, offsets
        self.room = min(room for room in ROOMS if room >= k)
        self.clouds = len(offsets) - 1
        self.bits = min(AXIS_BITS, (KEY_BITS - (self.clouds - 1).bit_length()) // 3)
        largest = torch.iinfo(torch.int32).max
        self.extent = offsets.new_full((self.clouds, 6), largest, dtype=torch.int32)
        runs = -(-len(points) // _RUN)
        self.launch("extents", runs, points, len(points), offsets, self.clouds, self.extent)

    def launch(self, kernel: str, size: int, *arguments: Argument) -> None:
        self.gpu.launch(OP, kernel, size, *arguments, scalar=torch.float32, width=self.room)

    def check(self, name: str, offsets: Tensor, num: int) -> None:
        """Have the GPU complain about offsets that do not fit."""
        refused = self.gpu.complaint(
            ValueError(f"{name} must ascend from 0 to the number of rows, cloud after cloud")
        )
        self.launch("check_offsets", len(offsets), offsets, self.clouds, num, refused)

    def sort(self, rows: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Keys of rows, ascending, and the rows in that order."""
        keys = torch.empty(len(rows), dtype=torch.int64, device=rows.device)
        grid = (self.extent, self.bits, keys)
        self.launch("space_keys", len(rows), rows, len(rows), offsets, self.clouds, *grid)
        ordered, order = keys.sort(stable=True)
        return ordered, order

    def boxes(self, order: Tensor) -> tuple[Tensor, Tensor, Tensor, ctypes.Array[ctypes.c_int64]]:
        """Sorted points and their rows, the boxes of all levels, and where each level begins."""
        num, sizes = len(order), _levels(len(order))
        points = self.points.new_empty(3, sizes[0] * LEAF)
        rows = torch.empty(sizes[0] * LEAF, dtype=torch.int32, device=order.device)
        boxes = torch.empty(sum(sizes), _BOX_BYTES, dtype=torch.uint8, device=order.device)
        starts = [sum(sizes[:level]) for level in range(len(sizes))]
        self.launch("leaves", sizes[0], self.points, order, num, points, rows, boxes)
        for level in range(1, len(sizes)):
            below, own = boxes[starts[level - 1] :], boxes[starts[level] :]
            self.launch("enclose", sizes[level], below, sizes[level - 1], own)
        levels = (ctypes.c_int64 * (MAX_LEVELS + 1))(*starts)
        levels[MAX_LEVELS] = len(sizes)
        return points, rows, boxes, levels


def nearest_neighbors(
    gpu: Gpu,
    points: Tensor,
    point_offsets: Tensor,
    queries: Tensor,
    query_offsets: Tensor,
    k: int,
    radius: float | None,
) -> tuple[Tensor, Tensor] | None:
    """`reference_nearest_neighbors`; None for more neighbours than a thread keeps."""
    if k > ROOMS[-1]:
        return None
    same = is_same(points, queries) and is_same(point_offsets, query_offsets)
    points, point_offsets = points.contiguous(), point_offsets.contiguous()
    queries, query_offsets = queries.contiguous(), query_offsets.contiguous()
    num = len(queries)
    table = torch.full((k, num), -1, dtype=torch.int32, device=points.device)
    squared = points.new_full((k, num), torch.inf)
    search = _Search(gpu, points, point_offsets, k)
    search.check("point_offsets", point_offsets, len(points))
    search.check("query_offsets", query_offsets, num)
    if len(points) == 0 or search.clouds == 0:
        return table, squared
    point_keys, point_order = search.sort(points, point_offsets)
    sort = (point_keys, point_order) if same else search.sort(queries, query_offsets)
    sorted_points, rows, boxes, levels = search.boxes(point_order)
    search.launch(
        *("search", num, sorted_points, rows, point_keys, point_offsets, len(points)),
        *(boxes, levels, queries, *sort, query_offsets, num, search.clouds),
        *(k, limit_bits(radius), table, squared),
    )
    return table, squared
