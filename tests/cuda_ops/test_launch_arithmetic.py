"""The arithmetic of launches: tiles, splits, grids, architectures."""

from __future__ import annotations

import pytest
import torch

from cuda_ops.codebook_attention.cuda import MAX_CHUNKS, MIN_CHUNK_ROWS, chunks_of
from cuda_ops.neighbor_table.cuda import num_slots
from cuda_ops.runtime.cuda_compiler import THREADS, architecture_for
from cuda_ops.runtime.gpu import MAX_BLOCKS, grid_of, vector_width
from cuda_ops.sparse_conv import config

CAPABILITIES = [(8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0), (19, 7)]
SIZES = [(1, 27, 1, 1), (700, 27, 3, 32), (100_000, 27, 96, 96), (400_000, 8, 256, 512)]


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("itemsize", [2, 4])
@pytest.mark.parametrize("sizes", SIZES)
def test_configurations_fit_every_gpu_also_one_that_is_not_known(capability, itemsize, sizes):
    c_in, c_out = sizes[2:]
    known = config.candidates(capability, itemsize, c_in, c_out)
    for one in known:
        per_stage = itemsize * one.depth * (one.tile + one.columns)
        assert 2 * per_stage < config.shared_bytes(capability)
        assert {one.tile, one.columns, one.depth, one.warps} <= {4, 8, 16, 32, 64, 128, 256}
        assert one.columns >= 16 and one.depth >= 16
    assert config.config_for(capability, itemsize, *sizes) in known
    grad = config.grad_config_for(capability, itemsize, *sizes)
    assert min(config.TILES) % grad.rows == 0
    assert 1 <= grad.splits <= config.PROGRAMS


def test_few_rows_get_small_tiles_and_many_rows_large_ones():
    few = config.config_for((9, 0), 2, 3000, 27, 128, 128)
    many = config.config_for((9, 0), 2, 400_000, 27, 128, 128)
    assert few.tile == 64 < many.tile == 256


def test_splits_depend_on_sizes_alone():
    """Else the order of summation would differ between GPUs, and with it the bits."""
    splits = {
        config.grad_config_for(capability, 2, 100_000, 27, 64, 64).splits
        for capability in CAPABILITIES
    }
    assert len(splits) == 1


@pytest.mark.parametrize("num_rows", [0, 1, 1023, 1024, 1025, 300_000, 600_000, 10**9])
def test_chunks_hold_every_row(num_rows):
    chunks, rows = chunks_of(num_rows)
    assert chunks * rows >= num_rows
    assert chunks == 0 or (chunks - 1) * rows < num_rows
    assert chunks <= MAX_CHUNKS
    assert chunks <= 1 or rows > MIN_CHUNK_ROWS // 2


@pytest.mark.parametrize("num_keys", [0, 1, 8, 9, 1000, 2**20, 2**20 + 1])
def test_slots_of_the_block_table(num_keys):
    slots = num_slots(num_keys)
    assert slots >= 2 * num_keys
    assert slots & (slots - 1) == 0


def test_grids():
    assert grid_of(0) == (0, 1)
    assert grid_of(1) == (1, 1)
    assert grid_of((THREADS + 1, 27)) == (2, 27)
    assert grid_of(THREADS * MAX_BLOCKS) == (MAX_BLOCKS, 1)
    for size in (THREADS * MAX_BLOCKS + 1, (1, 65536)):
        with pytest.raises(ValueError, match="grid"):
            grid_of(size)


def test_threads_read_up_to_16_bytes_of_a_group():
    half, full = torch.empty(64, dtype=torch.bfloat16), torch.empty(64)
    assert [vector_width(c, half) for c in (8, 24, 20, 3, 128)] == [8, 8, 4, 1, 8]
    assert [vector_width(c, full) for c in (8, 24, 18, 3)] == [4, 4, 2, 1]
    assert vector_width(8, half[1:]) == vector_width(8, half, full[1:]) == 1


@pytest.mark.parametrize(
    "capability, known, expected",
    [
        ((9, 0), [75, 80, 90], "sm_90"),
        ((8, 9), [75, 80, 86, 90], "sm_86"),
        ((12, 1), [75, 90, 120], "sm_120"),
        ((13, 0), [75, 90, 120], "compute_120"),
        ((10, 3), [75, 80, 90], "compute_90"),
        ((7, 5), [75, 80], "sm_75"),
        ((7, 0), [70, 75], None),
        ((8, 0), [90], None),
    ],
)
def test_what_is_compiled_for_a_gpu(capability, known, expected):
    assert architecture_for(capability, known) == expected
