"""Which tiles a convolution is cut into: a table of limits, and a model of what tiles cost.

Nothing here is a measurement: the model counts what must be moved. Sizes alone decide, never a
race, so that every rank and every run takes the same tiles. `tuning.py` can look further.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

SHARED_BYTES = {(8, 0): 163, (9, 0): 227, (10, 0): 227, (10, 3): 227, (11, 0): 227}
"""KiB of shared memory that a block may use, by compute capability; others have 99 or more."""
SMALLEST_SHARED = 99
PROCESSORS = 128
"""Multiprocessors that are to be kept busy: of the order of large GPUs, whatever GPU it is."""
STAGES = (4, 7)
"""Of the loops. Tap, row and feature are read one after another: a buffer takes three stages."""
PROGRAMS = 1024
"""Blocks that a weight gradient is split into, about."""
TILES = (64, 128, 256)
OCCUPIED = {64: 0.65, 128: 0.69, 256: 0.74}
"""Share of a 3x3x3 kernel's taps that a tile of sorted rows has, in a room of 100,000 voxels."""


class Config(NamedTuple):
    """How `conv_kernel` is cut.

    Attributes:
        tile: output rows of a block.
        columns: output channels of a block.
        depth: input channels at a time.
        warps: of a block.
        stages: of the loop.
    """

    tile: int
    columns: int
    depth: int
    warps: int
    stages: int


class GradConfig(NamedTuple):
    """How `weight_grad_kernel` is cut.

    Attributes:
        rows: of a tile at a time.
        columns_in: input channels of a block.
        columns_out: output channels of a block.
        warps: of a block.
        stages: as in `Config`.
        splits: parts of the sum over rows, added in order afterwards.
    """

    rows: int
    columns_in: int
    columns_out: int
    warps: int
    stages: int
    splits: int


def shared_bytes(capability: tuple[int, int]) -> int:
    """Bytes of shared memory that a block may use; a safe number for an unknown GPU."""
    return 1024 * SHARED_BYTES.get(capability, SMALLEST_SHARED)


def reads_shared(capability: tuple[int, int]) -> bool:
    """Whether matrix products read shared memory instead of registers: Hopper, large Blackwells."""
    return capability[0] in (9, 10)


def power_of_two(number: int) -> int:
    """The smallest one that is not below `number`."""
    return 1 << (number - 1).bit_length()


def candidates(capability: tuple[int, int], itemsize: int, c_in: int, c_out: int) -> list[Config]:
    """Configurations that a GPU can hold, for features of `itemsize` bytes."""
    columns = min(max(power_of_two(c_out), 16), 128)
    depth = min(max(power_of_two(c_in), 16), 64 if itemsize == 2 else 16)
    # Sums are in registers, beside what a multiplication reads, unless that is in shared memory.
    largest = 256 * 128 if itemsize == 2 and reads_shared(capability) else 128 * 128
    found = []
    for tile in TILES:
        if tile * columns > largest:
            continue
        warps = 8 if tile * columns * itemsize >= 2 * 128 * 128 else 4
        per_stage = itemsize * depth * (tile + columns)
        for stages in STAGES:
            if (stages // 3 + 1) * per_stage <= shared_bytes(capability) - 1024:
                found.append(Config(tile, columns, depth, warps, stages))
    return found


def cost(config: Config, num_out: int, num_taps: int, c_in: int, c_out: int) -> float:
    """Bytes, in features, that the busiest multiprocessor moves from the second-level cache."""
    taps = max(1.0, OCCUPIED[config.tile] * num_taps)
    column_blocks = -(-c_out // config.columns)
    per_block = taps * c_in * (config.tile + config.columns)
    blocks = -(-num_out // config.tile) * column_blocks
    return per_block * -(-blocks // PROCESSORS)


@lru_cache(maxsize=4096)
def config_for(
    capability: tuple[int, int], itemsize: int, num_out: int, num_taps: int, c_in: int, c_out: int
) -> Config:
    """The cheapest candidate by `cost`; the first where two cost the same."""
    known = candidates(capability, itemsize, c_in, c_out)
    return min(known, key=lambda config: cost(config, num_out, num_taps, c_in, c_out))


@lru_cache(maxsize=4096)
def grad_config_for(
    capability: tuple[int, int], itemsize: int, num_out: int, num_taps: int, c_in: int, c_out: int
) -> GradConfig:
    """How a weight gradient is cut; the number of splits depends on sizes alone."""
    columns_in = min(max(power_of_two(c_in), 16), 128 if itemsize == 2 else 64)
    columns_out = min(max(power_of_two(c_out), 16), 128 if itemsize == 2 else 64)
    rows = (64 if reads_shared(capability) else 32) if itemsize == 2 else 16
    warps = 8 if columns_in * columns_out * itemsize >= 128 * 128 else 4
    blocks = -(-c_in // columns_in) * -(-c_out // columns_out)
    wanted = -(-PROGRAMS // (num_taps * blocks))
    splits = max(1, min(wanted, -(-num_out // 512)))
    return GradConfig(rows, columns_in, columns_out, warps, STAGES[0], splits)
