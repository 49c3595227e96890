"""Neighbour tables: which voxel lies at each offset of a kernel, and 2x2x2 down-sampling.

A table is int32 [K, M]: for every tap and every output row the input row, or -1 where no voxel is.
All functions take keys of `morton_encode`, ascending and unique.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_ops.library import define
from cuda_ops.morton.op import (
    AXIS_BITS,
    encode_axis,
    encode_cloud,
    encode_unchecked,
    reference_decode,
)
from cuda_ops.neighbor_table import cpu, cuda


def reference_lookup(keys: Tensor, queries: Tensor) -> Tensor:
    if keys.numel() == 0:
        return torch.full_like(queries, -1, dtype=torch.int32)
    row = torch.searchsorted(keys, queries.contiguous(), out_int32=True)
    row = row.clamp_(max=keys.numel() - 1)
    return torch.where(keys[row] == queries, row, -1)


_lookup = define(
    "lookup(Tensor keys, Tensor queries) -> Tensor",
    reference_lookup,
    lambda keys, queries: queries.new_empty(queries.shape, dtype=torch.int32),
    cpu.lookup,
    cuda.lookup,
)


def lookup(keys: Tensor, queries: Tensor) -> Tensor:
    """The row of each query in a set of keys.

    Args:
        keys: [N] int64, ascending, unique.
        queries: int64 of any shape.

    Returns:
        int32 of the shape of `queries`: the row in `keys`, or -1.
    """
    result: Tensor = _lookup(keys, queries)
    return result


def reference_neighbor_table(keys: Tensor, offsets: Tensor) -> Tensor:
    batch, *axes = reference_decode(keys).unbind(1)
    cloud = encode_cloud(batch)
    table = keys.new_empty((offsets.shape[0], keys.shape[0]), dtype=torch.int32)
    shifted: dict[tuple[int, int], Tensor] = {}  # a 3x3x3 kernel has 27 taps but 3 shifts per axis
    for tap, offset in enumerate(offsets.tolist()):
        query = cloud
        for place in enumerate(offset):
            if place not in shifted:
                axis, shift = place
                shifted[place] = encode_axis(axes[axis] + shift, axis)
            query = query | shifted[place]
        table[tap] = reference_lookup(keys, query)
    return table


_neighbor_table = define(
    "neighbor_table(Tensor keys, Tensor offsets) -> Tensor",
    reference_neighbor_table,
    lambda keys, offsets: keys.new_empty((offsets.shape[0], keys.shape[0]), dtype=torch.int32),
    cpu.neighbor_table,
    cuda.neighbor_table,
)


def neighbor_table(keys: Tensor, offsets: Tensor) -> Tensor:
    """The neighbours of every voxel within its own set (submanifold kernels).

    Args:
        keys: [N] int64, ascending, unique.
        offsets: [K, 3] int32, in voxels of this set, each component within +-1023.

    Returns:
        [K, N] int32: `table[k, n]` is the row of the voxel at `indices[n] + offsets[k]` in the same
        cloud, or -1.
    """
    result: Tensor = _neighbor_table(keys, offsets)
    return result


def reference_level_sizes(keys: Tensor, num_levels: int) -> Tensor:
    if keys.numel() == 0:
        return keys.new_zeros(num_levels)
    differing = keys[1:] ^ keys[:-1]
    sizes = [1 + (differing >> 3 * level != 0).sum() for level in range(num_levels)]
    return torch.stack(sizes)


_level_sizes = define(
    "level_sizes(Tensor keys, SymInt num_levels) -> Tensor",
    reference_level_sizes,
    lambda keys, num_levels: keys.new_empty(num_levels),
    cpu.level_sizes,
    cuda.level_sizes,
)


def level_sizes(keys: Tensor, num_levels: int = AXIS_BITS) -> Tensor:
    """How many voxels there are at this resolution, at half of it, at a quarter, and so on.

    Args:
        keys: [N] int64, ascending, unique.
        num_levels: at most 18, where a cloud is 8 voxels at most.

    Returns:
        [num_levels] int64; the first is N.

    Raises:
        ValueError: more levels than keys have.
    """
    if not 1 <= num_levels <= AXIS_BITS:
        raise ValueError(f"num_levels must be 1 to {AXIS_BITS}; got {num_levels}")
    result: Tensor = _level_sizes(keys, num_levels)
    return result


def reference_down_table(keys: Tensor, num_coarse: int | None) -> tuple[Tensor, Tensor, Tensor]:
    indices = reference_decode(keys)
    # >> is floor, also below zero.
    parent_indices = torch.cat([indices[:, :1], indices[:, 1:] >> 1], dim=1)
    parent_keys = encode_unchecked(parent_indices)
    parents, parent = torch.unique_consecutive(parent_keys, return_inverse=True)
    tap = keys & 7
    row = torch.arange(keys.shape[0], dtype=torch.int32, device=keys.device)
    down = row.new_full((8, parents.shape[0]), -1)
    down[tap, parent] = row
    up = row.new_full((8, keys.shape[0]), -1)
    up[tap, row] = parent.to(torch.int32)
    return parents, down, up


def fake_down_table(keys: Tensor, size: int | None) -> tuple[Tensor, Tensor, Tensor]:
    num_coarse = torch.library.get_ctx().new_dynamic_size() if size is None else size
    return (
        keys.new_empty(num_coarse),
        keys.new_empty((8, num_coarse), dtype=torch.int32),
        keys.new_empty((8, keys.shape[0]), dtype=torch.int32),
    )


_down_table = define(
    "down_table(Tensor keys, SymInt? num_coarse) -> (Tensor, Tensor, Tensor)",
    reference_down_table,
    fake_down_table,
    cpu.down_table,
    cuda.down_table,
)


def down_table(keys: Tensor, num_coarse: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The set of half the resolution, and the maps of the 2x2x2 kernel with stride 2.

    Morton order makes this a scan: the children of a voxel are consecutive, and the parents come
    out in key order.

    Args:
        keys: [N] int64, ascending, unique.
        num_coarse: M, where it is known from `level_sizes`: a GPU is not waited for then.

    Returns:
        coarse_keys [M] int64, ascending, of `floor(indices / 2)`; down [8, M] int32, the fine row
        at each tap of each coarse voxel, or -1; up [8, N] int32, the coarse row of each fine voxel
        at its tap, -1 at the other seven.
    """
    result: tuple[Tensor, Tensor, Tensor] = _down_table(keys, num_coarse)
    return result
