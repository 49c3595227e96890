"""The convolution's matrix products in Triton: implicit GEMMs over tiles of sorted rows.

Rows are sorted by which taps they have (`plan.py`), so that most taps of a tile are there for most
of its rows or for none; those of none are skipped. All sums are in float32, in a fixed order.
"""

from __future__ import annotations

import triton
import triton.language as tl

INTERPRETED = bool(triton.knobs.runtime.interpret)
"""Whether kernels run on a CPU, for tests; tl.dot is wrong there for bfloat16."""
SIZES = ("num_in", "num_out", "all_tiles", "splits")
"""Arguments that differ from scene to scene, and are not to be compiled for."""


@triton.jit(do_not_specialize=SIZES)
def sort_keys_kernel(
    table,  # [K, M] int32
    keys,  # [M] int32 or int64, out
    beyond,  # [1] uint8, set to 1 for rows from num_in on
    num_in,
    num_out,
    num_taps,
    BLOCK: tl.constexpr,  # rows that may change places
    BITS: tl.constexpr,  # of a key, for the set of taps
    ROWS: tl.constexpr,
):
    """Rows with like neighbours get like keys: the Gray rank of the set of a row's taps."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    mask = tl.zeros((ROWS,), tl.int64)
    wrong = tl.zeros((ROWS,), tl.int32)
    place = table + row
    for tap in range(num_taps):
        source = tl.load(place, mask=row < num_out, other=-1)
        place += num_out
        mask |= (source >= 0).to(tl.int64) << tap
        wrong |= (source >= num_in).to(tl.int32)
    rank = mask
    rank ^= rank >> 16
    rank ^= rank >> 8
    rank ^= rank >> 4
    rank ^= rank >> 2
    rank ^= rank >> 1
    key = ((row // BLOCK) << BITS) | rank
    tl.store(keys + row, key.to(keys.dtype.element_ty), mask=row < num_out)
    if tl.max(wrong, axis=0) > 0:
        tl.store(beyond, 1)


@triton.jit(do_not_specialize=SIZES)
def tile_taps_kernel(
    table,  # [K, M] int32
    order,  # [tiles * TILE] int64: output rows, -1 at the end
    taps,  # [tiles, K] int32, out: those that a tile has
    counts,  # [tiles] int32, out: how many these are
    present,  # [tiles, K] int8, out: 1 where a tile has any pair
    num_out,
    num_taps,
    TILE: tl.constexpr,
):
    tile = tl.program_id(0).to(tl.int64)
    row = tl.load(order + tile * TILE + tl.arange(0, TILE))
    place = table + row
    first = tile * num_taps
    count = tl.zeros((), tl.int32)
    for tap in range(num_taps):
        source = tl.load(place, mask=row >= 0, other=-1)
        place += num_out
        there = tl.max(source, axis=0) >= 0
        tl.store(taps + first + count, tap, mask=there)
        tl.store(present + first + tap, there.to(tl.int8))
        count += there.to(tl.int32)
    tl.store(counts + tile, count)


@triton.jit(do_not_specialize=SIZES)
def tap_tiles_kernel(
    present,  # [tiles, K] int8
    tiles,  # [K, tiles] int32, out: those that have a tap
    counts,  # [K] int32, out: how many these are
    all_tiles,
    num_taps,
    BLOCK: tl.constexpr,
):
    tap = tl.program_id(0).to(tl.int64)
    count = tl.zeros((), tl.int32)
    for start in range(0, all_tiles, BLOCK):
        tile = start + tl.arange(0, BLOCK)
        place = present + tile.to(tl.int64) * num_taps + tap
        there = tl.load(place, mask=tile < all_tiles, other=0).to(tl.int32)
        before = tl.cumsum(there, axis=0) - there
        tl.store(tiles + tap * all_tiles + count + before, tile, mask=there > 0)
        count += tl.sum(there, axis=0)
    tl.store(counts + tap, count)


@triton.jit(do_not_specialize=SIZES)
def conv_kernel(
    x,  # [N, c_in]
    weight,  # [K, c_in, c_out], by strides
    table,  # [K, M] int32
    order,  # [tiles * TILE] int64
    taps,  # [tiles, K] int32: first those that a tile has
    num_taps,  # [tiles] int32: how many these are
    y,  # [M, c_out], out
    num_in,
    num_out,
    all_taps,
    c_in,
    c_out,
    stride_tap,
    stride_in,
    stride_out,
    TILE: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    STEP_IN: tl.constexpr,
    STEP_OUT: tl.constexpr,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """y[m] = sum over taps of x[table[tap, m]] @ weight[tap], a tile of rows and of columns."""
    # A multiple of 4, say, is known as one when this is compiled: else its channels would be read
    # one by one.
    c_in = c_in // IN * IN
    c_out = c_out // OUT * OUT
    stride_in = stride_in // STEP_IN * STEP_IN
    stride_out = stride_out // STEP_OUT * STEP_OUT
    tile = tl.program_id(0).to(tl.int64)
    row = tl.load(order + tile * TILE + tl.arange(0, TILE))
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    depths = tl.cdiv(c_in, DEPTH)
    total = tl.zeros((TILE, COLUMNS), tl.float32)
    for step in range(tl.load(num_taps + tile) * depths):
        tap = tl.load(taps + tile * all_taps + step // depths).to(tl.int64)
        channel = step % depths * DEPTH + tl.arange(0, DEPTH)
        source = tl.load(table + tap * num_out + row, mask=row >= 0, other=-1)
        there = (source >= 0) & (source < num_in)
        place = source.to(tl.int64)[:, None] * c_in + channel[None, :]
        a = tl.load(x + place, mask=there[:, None] & (channel < c_in)[None, :], other=0.0)
        place = tap * stride_tap + channel[:, None] * stride_in + column[None, :] * stride_out
        inside = (channel < c_in)[:, None] & (column < c_out)[None, :]
        b = tl.load(weight + place, mask=inside, other=0.0)
        if UPCAST:
            a, b = a.to(tl.float32), b.to(tl.float32)
        total = tl.dot(a, b, total, input_precision=PRECISION)
    place = row[:, None] * c_out + column[None, :]
    inside = (row >= 0)[:, None] & (column < c_out)[None, :]
    tl.store(y + place, total.to(y.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=SIZES)
def weight_grad_kernel(
    x,  # [N, c_in]
    grad,  # [M, c_out]
    table,  # [K, M] int32
    order,  # [tiles * TILE] int64
    tiles,  # [K, tiles] int32: first those that have the tap
    num_tiles,  # [K] int32: how many these are
    sums,  # [splits, K, c_in, c_out] float32, out
    num_in,
    num_out,
    all_tiles,
    c_in,
    c_out,
    splits,
    TILE: tl.constexpr,
    ROWS: tl.constexpr,  # of a tile at a time
    COLUMNS_IN: tl.constexpr,
    COLUMNS_OUT: tl.constexpr,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """sums[split, tap] = x[table[tap, m]]^T grad[m], summed over the rows m of a split's tiles."""
    c_in = c_in // IN * IN
    c_out = c_out // OUT * OUT
    tap, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    blocks_in = tl.cdiv(c_in, COLUMNS_IN)
    channel_in = tl.program_id(2) % blocks_in * COLUMNS_IN + tl.arange(0, COLUMNS_IN)
    channel_out = tl.program_id(2) // blocks_in * COLUMNS_OUT + tl.arange(0, COLUMNS_OUT)
    count = tl.load(num_tiles + tap)
    share = tl.cdiv(count, splits)
    parts: tl.constexpr = TILE // ROWS
    total = tl.zeros((COLUMNS_IN, COLUMNS_OUT), tl.float32)
    for step in range(split * share * parts, tl.minimum(split * share + share, count) * parts):
        tile = tl.load(tiles + tap * all_tiles + step // parts).to(tl.int64)
        row = tl.load(order + tile * TILE + step % parts * ROWS + tl.arange(0, ROWS))
        source = tl.load(table + tap * num_out + row, mask=row >= 0, other=-1)
        there = ((source >= 0) & (source < num_in))[:, None]
        place = source.to(tl.int64)[:, None] * c_in + channel_in[None, :]
        a = tl.load(x + place, mask=there & (channel_in < c_in)[None, :], other=0.0)
        place = row[:, None] * c_out + channel_out[None, :]
        b = tl.load(grad + place, mask=there & (channel_out < c_out)[None, :], other=0.0)
        if UPCAST:
            a, b = a.to(tl.float32), b.to(tl.float32)
        total = tl.dot(tl.trans(a), b, total, input_precision=PRECISION)
    first = (split * tl.num_programs(0) + tap) * c_in
    place = (first + channel_in)[:, None] * c_out + channel_out[None, :]
    inside = (channel_in < c_in)[:, None] & (channel_out < c_out)[None, :]
    tl.store(sums + place, total, mask=inside)
