"""The Triton kernels on a CPU, against the reference in float64.

pytest does not collect this file by its name: test_triton.py runs it in a process of its own, as
Triton decides at import whether it interprets.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cuda_ops.neighbor_table.op import reference_down_table
from cuda_ops.sparse_conv import config, cuda, plan
from cuda_ops.sparse_conv.op import reference_sparse_conv, reference_weight_grad
from tests.attack import asymmetric, strided
from tests.cuda_ops.emulation.gpu import EmulatedGpu
from tests.cuda_ops.test_cuda_kernels import SCALARS, assert_near, keys_of, table_of
from tests.test_waiting import NoWaiting

GPU = EmulatedGpu()
WIDTHS = [(1, 3), (7, 16), (24, 20), (64, 130), (136, 8)]
"""Below, at and above a block of channels, in and out."""


def test_nothing_waits():
    table = table_of("two", shape="cross").clone()
    x, weight = asymmetric(table.shape[1], 12).float(), asymmetric(7, 12, 8, seed=1).float()
    with NoWaiting():
        plan.tap_tiles(EmulatedGpu(), table, len(x), 64)
    assert_same(x, weight, table, None, torch.float32)


def assert_same(
    x: Tensor, weight: Tensor, table: Tensor, table_t: Tensor | None, scalar: torch.dtype
) -> None:
    """The product and both gradients agree with the reference."""
    terms = weight.shape[0] * weight.shape[1]
    y = cuda.sparse_conv(GPU, x, weight, table, table_t)
    assert y.dtype == scalar
    rounded = weight.to(scalar).double()
    assert_near(y, reference_sparse_conv(x.double(), rounded, table, table_t), terms, scalar)
    grad = asymmetric(*y.shape, seed=3).to(scalar)
    found = cuda.weight_grad(GPU, strided(x), strided(grad), strided(table))
    assert found.dtype == torch.float32
    expected = reference_weight_grad(x.double(), grad.double(), table)
    assert_near(found, expected, len(grad), scalar)


@pytest.mark.parametrize(
    "c_in, c_out, scalar",
    [
        *((*width, torch.bfloat16) for width in WIDTHS),
        *((24, 20, scalar) for scalar in SCALARS[:2]),
    ],
)
def test_submanifold(c_in, c_out, scalar):
    table = table_of("two", shape="cube" if c_in < 64 else "cross")
    x = asymmetric(table.shape[1], c_in).to(scalar)
    weight = asymmetric(len(table), c_in, c_out, seed=1).float()
    assert_same(x, weight, table, None, scalar)
    transposed = weight.flip(0).transpose(1, 2).contiguous().transpose(1, 2).flip(0)
    assert torch.equal(
        cuda.sparse_conv(GPU, x, transposed, table, None),
        cuda.sparse_conv(GPU, x, weight, table, None),
    )


@pytest.mark.parametrize("size, dilation, shape", [(1, 1, "cube"), (3, 2, "cross"), (5, 1, "cube")])
@pytest.mark.parametrize("name", ["two", "one voxel", "none"])
def test_kernels(name, size, dilation, shape):
    table = table_of(name, size, dilation, shape)
    x = asymmetric(table.shape[1], 12).float()
    assert_same(x, asymmetric(len(table), 12, 8, seed=1).float(), table, None, torch.float32)


@pytest.mark.parametrize("scalar", SCALARS)
def test_down_and_up(scalar):
    keys = keys_of("three, one empty")
    coarse, down, up = reference_down_table(keys, None)
    fine, small = asymmetric(len(keys), 20).to(scalar), asymmetric(len(coarse), 20).to(scalar)
    weight = asymmetric(8, 20, 24, seed=1).float()
    assert_same(fine, weight, down, up, scalar)
    assert_same(small, weight, up, down, scalar)


@pytest.mark.parametrize("tile", config.TILES)
def test_every_tile(tile):
    """Several tiles, and rows that change places."""
    table = table_of("many", 3, 1, "cross")[:, :700].clamp(max=699)
    x, weight = asymmetric(table.shape[1], 8).float(), asymmetric(7, 8, 16, seed=1).float()
    y = x.new_empty(len(x), 16)
    cuda._launch(GPU, x, weight, table, y, config.Config(tile, 16, 16, 4, 4))
    expected = reference_sparse_conv(x.double(), weight.double(), table, None)
    assert_near(y, expected, 7 * 8, torch.float32)


@pytest.mark.parametrize("splits", [4, 99])
def test_weight_gradients_in_splits(splits, monkeypatch):
    """Most numbers of tiles are no multiple of 4, and 99 are more than there are tiles."""
    table = table_of("many", 3, 1, "cross")[:, :700].clamp(max=699)
    x, grad = (asymmetric(table.shape[1], 8, seed=seed).float() for seed in (0, 1))
    one = config.GradConfig(64, 16, 16, 4, 4, splits)
    monkeypatch.setattr(cuda, "grad_config_for", lambda *sizes: one)
    assert plan.tap_tiles(GPU, table, len(x), 64).num_tiles.remainder(4).any()
    found = cuda.weight_grad(GPU, x, grad, table)
    expected = reference_weight_grad(x.double(), grad.double(), table)
    assert_near(found, expected, len(x), torch.float32)


def test_a_plan_holds_every_row_and_every_pair_once(monkeypatch):
    monkeypatch.setattr(plan, "BLOCK", 512)
    table = table_of("many", 3, 1, "cube")[:, :1100].clamp(max=1099)  # no plan is known of it
    made = plan.plan(GPU, table, table.shape[1], 64)
    order = made.order[: table.shape[1]]
    assert torch.equal(order.sort().values, torch.arange(table.shape[1]))
    assert torch.equal(order // 512, (order // 512).sort().values)  # rows stay in their block
    assert (made.order[table.shape[1] :] == -1).all()
    wide = torch.nn.functional.pad(table[:, order] >= 0, (0, len(made.order) - len(order)))
    present = wide.unflatten(1, (-1, 64)).any(dim=2)  # [K, tiles]
    tiles, num_tiles = plan.tap_tiles(GPU, table, table.shape[1], 64)
    for lists, counts, rows in (
        (made.taps, made.num_taps, present.T),
        (tiles, num_tiles, present),
    ):
        for listed, count, row in zip(lists, counts, rows, strict=True):
            assert listed[:count].tolist() == row.nonzero().flatten().tolist()
    in_order = torch.nn.functional.pad(table >= 0, (0, -table.shape[1] % 64))
    plain = in_order.unflatten(1, (-1, 64)).any(dim=2)
    assert present.sum() < 0.9 * plain.sum()  # what the sort is for


def test_rows_that_are_not_there_are_skipped_and_reported():
    table = torch.zeros(2, 70, dtype=torch.int32)
    table[1, 69] = 70
    x = torch.full((90, 4), torch.nan)[:70].fill_(1)
    y = cuda.sparse_conv(GPU, x, torch.ones(2, 4, 4), table, table)
    assert y[:69].eq(8).all() and y[69].eq(4).all()
    with pytest.raises(IndexError, match="kernel map names rows"):
        GPU.raise_complaints()
    assert cuda.weight_grad(GPU, x, y, table).isfinite().all()


def test_the_sum_is_in_float32():
    """4096 + 27 * 64 ones: bfloat16 has no numbers between 4096 and 4128."""
    table = torch.zeros(27, 1, dtype=torch.int32)
    x = torch.ones(1, 64, dtype=torch.bfloat16)
    weight = torch.ones(27, 64, 16)
    weight[0, 0] = 4096
    y = cuda.sparse_conv(GPU, x, weight, table, None)
    assert float(y[0, 0]) in (5792, 5824)  # 5823 cut off, as the interpreter does, or rounded
