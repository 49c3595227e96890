"""Neighbour tables as the C++ kernels like them: without the gaps, made once for each table."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cuda_ops.derived import derived
from cuda_ops.runtime import CpuLibrary, int32


class PackedTable(NamedTuple):
    """The pairs of a table [K, N], tile by tile of 64 voxels, and within a tile tap by tap.

    Attributes:
        starts: [tiles * K + 1] int64, where the list of each tile and tap begins.
        input: [pairs] int32, the neighbour's row.
        place: [pairs] uint8, the voxel's row within its tile.
        num_taps: K.
    """

    starts: Tensor
    input: Tensor
    place: Tensor
    num_taps: int


def packed(library: CpuLibrary, table: Tensor) -> PackedTable:
    """The pairs of a table; those of a table that was packed before are remembered.

    Args:
        library: the kernels.
        table: [K, N] integers: rows in [0, N), or negative where there is no neighbour.

    Raises:
        IndexError: the table names rows beyond the N voxels.
    """
    return derived(table, PackedTable, lambda: _pack(library, int32(table)))


def addresses(tables: list[PackedTable]) -> Tensor:
    """[D, 4] int64: an array of `pc3d::PackedTable`. The tables must live while it is used."""
    rows = [[part.data_ptr() for part in table[:-1]] + [table.num_taps] for table in tables]
    return torch.tensor(rows, dtype=torch.int64)


def _pack(library: CpuLibrary, table: Tensor) -> PackedTable:
    num_taps, num = table.shape
    num_tiles = -(-num // library.call("pc3d_tile_rows"))
    counts = torch.empty(num_tiles * num_taps, dtype=torch.int64)
    library.parallel("pc3d_count_pairs", table, num_taps, num, counts)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    total = int(starts[-1])
    rows, place = torch.empty(total, dtype=torch.int32), torch.empty(total, dtype=torch.uint8)
    args = (table, num_taps, num, starts, rows, place)
    error = IndexError(f"a table names rows beyond the {num} voxels")
    library.checked(error, "pc3d_pack_pairs", *args)
    return PackedTable(starts, rows, place, num_taps)
