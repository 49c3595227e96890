"""In which order rows are convolved on a GPU, and which taps each tile of them needs.

Two things compete. Rows that are neighbours in space share neighbours, which then come from a cache
near by; rows that have the same taps share a tile without waste. So rows change places within
blocks of 16,384, which are neighbours in space as keys are in Morton order, and are sorted there
by the set of their taps.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cuda_ops.derived import derived
from cuda_ops.runtime import Gpu

BLOCK = 16384
"""Rows that may change places with each other."""
SORTED_TAPS = 32
"""Kernels of more taps keep the order of their rows: a sort key has no room for their set."""


class Plan(NamedTuple):
    """How the M output rows of a table [K, M] are cut into T tiles.

    Attributes:
        order: [T * tile] int64, the rows, tile by tile; -1 where there are no more.
        taps: [T, K] int32, the taps that a tile has come first; what follows has no meaning.
        num_taps: [T] int32, how many these are.
        present: [T, K] int8, 1 where a tile has a tap.
    """

    order: Tensor
    taps: Tensor
    num_taps: Tensor
    present: Tensor


class TapTiles(NamedTuple):
    """The tiles that each tap needs, for sums over rows.

    Attributes:
        tiles: [K, T] int32, the tiles that have a tap come first; what follows has no meaning.
        num_tiles: [K] int32, how many these are.
    """

    tiles: Tensor
    num_tiles: Tensor


def plan(gpu: Gpu, table: Tensor, num_in: int, tile: int) -> Plan:
    """The plan of a table; it is made once, without waiting for the GPU.

    Args:
        gpu: told about rows from `num_in` on, which are skipped.
        table: [K, M] int32, contiguous.
        num_in: rows of the input.
        tile: rows of a tile.
    """
    order = derived(table, "order", lambda: _order(gpu, table, num_in))
    return derived(table, ("plan", tile), lambda: _plan(order, table, tile))


def tap_tiles(gpu: Gpu, table: Tensor, num_in: int, tile: int) -> TapTiles:
    """The same plan, seen from the taps; the arguments are those of `plan`."""
    present = plan(gpu, table, num_in, tile).present
    return derived(table, ("tap tiles", tile), lambda: _tap_tiles(present))


def _order(gpu: Gpu, table: Tensor, num_in: int) -> Tensor:
    from cuda_ops.sparse_conv.kernel_triton import sort_keys_kernel

    num_taps, num_out = table.shape
    if num_taps > SORTED_TAPS:
        return torch.arange(num_out, device=table.device)
    # Half the bits are half the passes of a radix sort.
    small = -(-num_out // BLOCK) << num_taps <= 2**31
    keys = table.new_empty(num_out, dtype=torch.int32 if small else torch.int64)
    beyond = gpu.complaint(IndexError("a kernel map names rows that x does not have"))
    rows = 256
    sort_keys_kernel[(-(-num_out // rows),)](
        *(table, keys, beyond, num_in, num_out, num_taps), BLOCK=BLOCK, BITS=num_taps, ROWS=rows
    )
    return keys.argsort(stable=True)


def _plan(order: Tensor, table: Tensor, tile: int) -> Plan:
    from cuda_ops.sparse_conv.kernel_triton import tile_taps_kernel

    num_taps, num_out = table.shape
    num_tiles = -(-num_out // tile)
    padded = torch.nn.functional.pad(order, (0, num_tiles * tile - num_out), value=-1)
    taps, counts = table.new_empty(num_tiles, num_taps), table.new_empty(num_tiles)
    present = table.new_empty(num_tiles, num_taps, dtype=torch.int8)
    tile_taps_kernel[(num_tiles,)](
        *(table, padded, taps, counts, present, num_out, num_taps), TILE=tile
    )
    return Plan(padded, taps, counts, present)


def _tap_tiles(present: Tensor) -> TapTiles:
    from cuda_ops.sparse_conv.kernel_triton import tap_tiles_kernel

    num_tiles, num_taps = present.shape
    tiles = present.new_empty(num_taps, num_tiles, dtype=torch.int32)
    counts = present.new_empty(num_taps, dtype=torch.int32)
    tap_tiles_kernel[(num_taps,)](present, tiles, counts, num_tiles, num_taps, BLOCK=1024)
    return TapTiles(tiles, counts)
