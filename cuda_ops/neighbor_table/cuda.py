"""The CUDA kernels of this folder, called on tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_ops.neighbor_table.cpu import MAX_VOXELS, unsorted
from cuda_ops.runtime import Gpu, int32, int64

OP = "neighbor_table"


def num_slots(num_keys: int) -> int:
    """Slots of the table of blocks: a power of two, at least twice as many as blocks can be."""
    return max(16, 1 << (2 * num_keys - 1).bit_length())


def block_table(gpu: Gpu, keys: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """Where kernels look up voxels: the arguments of a `BlockTable`.

    Args:
        gpu: the kernels.
        keys: [N] int64, ascending, unique.
    """
    slots = num_slots(len(keys))
    slot_keys = keys.new_full((slots,), -1)
    occupancy = torch.empty_like(slot_keys)
    start = torch.empty_like(slot_keys, dtype=torch.int32)
    table = (slot_keys, occupancy, start, slots)
    gpu.launch(OP, "index_blocks", len(keys), keys, len(keys), *table, gpu.complaint(unsorted()))
    return table


def lookup(gpu: Gpu, keys: Tensor, queries: Tensor) -> Tensor | None:
    """`reference_lookup`; None if there are too many keys."""
    if len(keys) > MAX_VOXELS:
        return None
    queries = int64(queries)
    rows = torch.empty_like(queries, dtype=torch.int32)
    num = queries.numel()
    gpu.launch(OP, "look_up", num, queries, num, *block_table(gpu, int64(keys)), rows)
    return rows


def neighbor_table(gpu: Gpu, keys: Tensor, offsets: Tensor) -> Tensor | None:
    """`reference_neighbor_table`; None if there are too many keys."""
    if len(keys) > MAX_VOXELS:
        return None
    keys, num_taps = int64(keys), len(offsets)
    table = keys.new_empty(num_taps, len(keys), dtype=torch.int32)
    blocks = block_table(gpu, keys)
    size = (len(keys), num_taps)
    gpu.launch(OP, "neighbors", size, keys, len(keys), int32(offsets), *blocks, table)
    return table


def level_sizes(gpu: Gpu, keys: Tensor, num_levels: int) -> Tensor:
    """`reference_level_sizes`."""
    sizes = keys.new_zeros(num_levels)
    gpu.launch(OP, "count_levels", len(keys), int64(keys), len(keys), num_levels, sizes)
    return sizes


def down_table(
    gpu: Gpu, keys: Tensor, num_coarse: int | None
) -> tuple[Tensor, Tensor, Tensor] | None:
    """`reference_down_table`; None if there are too many keys. Waits if the size is not given."""
    num = len(keys)
    if num > MAX_VOXELS:
        return None
    keys = int64(keys)
    begins = keys.new_empty(num, dtype=torch.int32)
    gpu.launch(OP, "mark_parents", num, keys, num, begins, gpu.complaint(unsorted()))
    ends = begins.cumsum(0)
    if num_coarse is None:
        num_coarse = int(ends[-1]) if num else 0
    coarse_keys = keys.new_empty(num_coarse)
    down = keys.new_empty(8, num_coarse, dtype=torch.int32)
    up = keys.new_empty(8, num, dtype=torch.int32)
    gpu.launch(OP, "down", num, keys, num, ends, num_coarse, coarse_keys, down, up)
    return coarse_keys, down, up
