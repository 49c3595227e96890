"""Attention over neighbours against plain loops over pairs, and gradients of all orders."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import cuda_ops
from tests import oracle
from tests.attack import CLOUDS, DTYPES, Cloud, asymmetric, strided

KERNELS = [(3, 1, "cube"), (3, 2, "cross"), (1, 1, "cube"), (5, 3, "cube")]
WIDTHS = [(1, 1), (6, 3), (16, 2), (24, 3), (9, 1)]
"""Channels and heads."""


def table_of(cloud: Cloud, kernel: tuple[int, int, str]) -> Tensor:
    found = oracle.neighbor_table(cloud.rows, oracle.offsets(*kernel))
    return torch.tensor(found, dtype=torch.int32)


def pairs(table: Tensor) -> list[tuple[int, int, int]]:
    """(row, tap, neighbour) of every pair."""
    return [
        (n, k, m) for k, rows in enumerate(table.tolist()) for n, m in enumerate(rows) if m >= 0
    ]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels, heads", WIDTHS)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ["three, one empty", "one voxel"])
def test_dot_and_sum_equal_loops_over_pairs(name, kernel, channels, heads, dtype):
    cloud = CLOUDS[name]
    table, num = table_of(cloud, kernel), len(cloud.rows)
    q, k, v = (asymmetric(num, channels, seed=seed) for seed in range(3))
    weights = asymmetric(num, len(table), heads, seed=4)
    dots, sums = torch.zeros_like(weights), torch.zeros_like(v)
    for n, tap, m in pairs(table):
        dots[n, tap] = (q[n] * k[m]).reshape(heads, -1).sum(dim=1)
        sums[n] += (weights[n, tap][:, None] * v[m].reshape(heads, -1)).flatten()
    args = [a.to(dtype) for a in (q, k, v, weights)]
    found_dots = cuda_ops.neighbor_dot(args[0], args[1], table, heads)
    found_sums = cuda_ops.neighbor_sum(args[3], args[2], table)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-13
    for found, expected in ((found_dots, dots), (found_sums, sums)):
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("kernel", [(3, 1, "cross")])
def test_gradcheck_of_both_orders(kernel):
    cloud = Cloud([], CLOUDS["two"].rows[:5], [], [], 2)
    table = table_of(cloud, kernel)
    assert int((table >= 0).sum()) > 5, "some have neighbours"
    num = len(cloud.rows)
    a, b = (asymmetric(num, 4, seed=s).requires_grad_() for s in range(2))
    weights = asymmetric(num, len(table), 2, seed=2).requires_grad_()
    dot = lambda q, k: cuda_ops.neighbor_dot(q, k, table, 2)  # noqa: E731
    total = lambda w, v: cuda_ops.neighbor_sum(w, v, table)  # noqa: E731
    assert gradcheck(dot, (a, b)) and gradgradcheck(dot, (a, b))
    assert gradcheck(total, (weights, a)) and gradgradcheck(total, (weights, a))


def test_float32_gradients_agree_with_float64():
    """The kernels' gradients with those of the reference."""
    cloud = CLOUDS["two"]
    table = table_of(cloud, KERNELS[0])
    q, k, v = (asymmetric(len(cloud.rows), 24, seed=seed) for seed in range(3))
    grads = []
    for dtype in DTYPES:
        leaves = [a.to(dtype).requires_grad_() for a in (q, k, v)]
        dots = cuda_ops.neighbor_dot(leaves[0], leaves[1], table, 3)
        y = cuda_ops.neighbor_sum(dots, leaves[2], table)
        grads.append(torch.autograd.grad(y.pow(2).sum(), leaves))
    for single, double in zip(*grads, strict=True):
        scale = double.abs().max()
        torch.testing.assert_close(single.double() / scale, double / scale, rtol=0, atol=1e-5)


def test_memory_layout_does_not_matter():
    cloud = CLOUDS["two"]
    table = table_of(cloud, KERNELS[0])
    q, k = (asymmetric(len(cloud.rows), 6, dtype=torch.float32, seed=s) for s in range(2))
    weights = asymmetric(len(q), 27, 3, dtype=torch.float32, seed=3)
    odd = strided(table.long())
    expected = cuda_ops.neighbor_dot(q, k, table, 3)
    assert torch.equal(cuda_ops.neighbor_dot(strided(q), strided(k), odd, 3), expected)
    expected = cuda_ops.neighbor_sum(weights, k, table)
    assert torch.equal(cuda_ops.neighbor_sum(strided(weights), strided(k), odd), expected)


def test_refuses_shapes_and_types_that_do_not_fit():
    table = torch.full((27, 4), -1, dtype=torch.int32)
    x = torch.ones(4, 6)
    for call, message in (
        (lambda: cuda_ops.neighbor_dot(x, x[:3], table, 2), "q and k must be"),
        (lambda: cuda_ops.neighbor_dot(x, x.double(), table, 2), "same dtype"),
        (lambda: cuda_ops.neighbor_dot(x, x, table, 4), "heads must divide"),
        (lambda: cuda_ops.neighbor_dot(x, x, table[:, :3], 2), "table must be"),
        (lambda: cuda_ops.neighbor_sum(torch.ones(4, 26, 2), x, table), "weights must be"),
        (lambda: cuda_ops.neighbor_sum(torch.ones(4, 27, 4), x, table), "4 heads do not divide"),
        (lambda: cuda_ops.neighbor_sum(torch.ones(4, 27, 2).double(), x, table), "same dtype"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    beyond = torch.full((27, 4), 4, dtype=torch.int32)
    with pytest.raises(IndexError):
        cuda_ops.neighbor_dot(x, x, beyond, 2)
