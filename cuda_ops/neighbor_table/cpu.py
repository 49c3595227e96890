"""The C++ kernels of this folder, called on tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_ops.runtime import CpuLibrary, int32, int64

MAX_VOXELS = 2**31 - 1


def unsorted() -> ValueError:
    """What to raise for keys that an index cannot be made of."""
    return ValueError(
        "keys must be ascending and unique; got keys that are not. cuda_ops.voxelize makes them so."
    )


def index_space(library: CpuLibrary, num_keys: int) -> Tensor:
    """Memory for the index of blocks over `num_keys` keys."""
    return torch.empty(library.call("pc3d_index_bytes", num_keys), dtype=torch.uint8)


def lookup(library: CpuLibrary, keys: Tensor, queries: Tensor) -> Tensor | None:
    """`reference_lookup`; None if there are too many keys."""
    if len(keys) > MAX_VOXELS:
        return None
    rows = torch.empty(queries.shape, dtype=torch.int32)
    library.checked(
        unsorted(),
        "pc3d_lookup",
        int64(keys),
        len(keys),
        int64(queries),
        queries.numel(),
        rows,
        index_space(library, len(keys)),
    )
    return rows


def neighbor_table(library: CpuLibrary, keys: Tensor, offsets: Tensor) -> Tensor | None:
    """`reference_neighbor_table`; None if there are too many keys or taps."""
    num_taps = len(offsets)
    if num_taps > library.call("pc3d_max_taps") or len(keys) > MAX_VOXELS:
        return None
    table = torch.empty(num_taps, len(keys), dtype=torch.int32)
    library.checked(
        unsorted(),
        "pc3d_neighbor_table",
        int64(keys),
        len(keys),
        int32(offsets),
        num_taps,
        table,
        index_space(library, len(keys)),
        torch.empty(library.call("pc3d_reach_bytes"), dtype=torch.uint8),
    )
    return table


def level_sizes(library: CpuLibrary, keys: Tensor, num_levels: int) -> Tensor:
    """`reference_level_sizes`."""
    sizes = keys.new_zeros(num_levels)
    library.call("pc3d_level_sizes", int64(keys), len(keys), num_levels, sizes)
    return sizes


def down_table(
    library: CpuLibrary, keys: Tensor, num_coarse: int | None
) -> tuple[Tensor, Tensor, Tensor] | None:
    """`reference_down_table`; None if there are too many keys."""
    num = len(keys)
    if num > MAX_VOXELS:
        return None
    keys = int64(keys)
    parents = torch.empty(num, dtype=torch.int64)
    num_parents = library.call("pc3d_parents", keys, num, parents)
    if num_parents < 0:
        raise unsorted()
    down = torch.empty(8, num_parents, dtype=torch.int32)
    up = torch.empty(8, num, dtype=torch.int32)
    library.call("pc3d_down_table", keys, num, num_parents, down, up)
    return parents[:num_parents].clone(), down, up
