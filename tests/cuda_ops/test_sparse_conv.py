"""The convolution against dense `conv3d`, its gradient, and its adjoint.

The tables come from the oracle here: this file is about the sum alone. tests/sparse/test_conv.py is
about the whole path from coordinates.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

import cuda_ops
from tests import oracle
from tests.attack import CLOUDS, DEVICES, DTYPES, Cloud, assert_sums, asymmetric, strided

CHANNELS = [(1, 3), (3, 7), (7, 13), (13, 1)]
KERNELS = [(1, 1, "cube"), (3, 1, "cube"), (3, 2, "cross"), (5, 3, "cube")]
OCCUPIED = [name for name in CLOUDS if name != "none"]


def submanifold_tables(cloud: Cloud, size: int, dilation: int, shape: str) -> tuple[Tensor, Tensor]:
    taps = oracle.offsets(size, dilation, shape)
    back = [(-x, -y, -z) for x, y, z in taps]
    return tuple(
        torch.tensor(oracle.neighbor_table(cloud.rows, t), dtype=torch.int32) for t in (taps, back)
    )


def down_tables(cloud: Cloud) -> tuple[Tensor, Tensor]:
    return tuple(torch.tensor(t, dtype=torch.int32) for t in oracle.down_tables(cloud.rows))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size, dilation, shape", KERNELS)
@pytest.mark.parametrize("name", OCCUPIED)
def test_submanifold_equals_dense_conv3d(name, size, dilation, shape, dtype, device):
    cloud = CLOUDS[name]
    table, table_t = submanifold_tables(cloud, size, dilation, shape)
    for c_in, c_out in CHANNELS:
        x = asymmetric(len(cloud.rows), c_in, dtype=dtype)
        weight = asymmetric(len(table), c_in, c_out, dtype=dtype, seed=1)
        args = (a.to(device) for a in (x, weight, table, table_t))
        y = cuda_ops.sparse_conv(*args)
        assert y.dtype == dtype
        dense = (cloud.rows, x.double(), weight.double(), size, dilation, shape)
        bound = (cloud.rows, x.double().abs(), weight.double().abs(), size, dilation, shape)
        expected, magnitude = (oracle.submanifold_conv(*a) for a in (dense, bound))
        assert_sums(y, expected, magnitude, terms=len(table) * c_in)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OCCUPIED)
def test_down_and_up_equal_dense_strided_convolutions(name, dtype):
    cloud = CLOUDS[name]
    down, up = down_tables(cloud)
    for c_in, c_out in CHANNELS:
        weight = asymmetric(8, c_in, c_out, dtype=dtype, seed=1)
        for fine, table, table_t in ((True, down, up), (False, up, down)):
            dense = oracle.down_conv if fine else oracle.up_conv
            x = asymmetric(table_t.shape[1], c_in, dtype=dtype)
            y = cuda_ops.sparse_conv(x, weight, table, table_t)
            expected = dense(cloud.rows, x.double(), weight.double())
            magnitude = dense(cloud.rows, x.double().abs(), weight.double().abs())
            assert_sums(y, expected, magnitude, terms=8 * c_in)


def test_no_voxels_give_no_rows():
    table = torch.empty(27, 0, dtype=torch.int32)
    x, weight = torch.empty(0, 3, requires_grad=True), torch.ones(27, 3, 5, requires_grad=True)
    y = cuda_ops.sparse_conv(x, weight, table, table)
    y.sum().backward()
    assert y.shape == (0, 5)
    assert x.grad.shape == (0, 3)
    assert torch.equal(weight.grad, torch.zeros(27, 3, 5))


def test_rows_without_neighbours_are_zero():
    table = torch.tensor([[-1, 0], [-1, -1]], dtype=torch.int32)
    table_t = torch.tensor([[1], [-1]], dtype=torch.int32)
    y = cuda_ops.sparse_conv(torch.ones(1, 2), torch.ones(2, 2, 3), table, table_t)
    assert y.tolist() == [[0, 0, 0], [2, 2, 2]]


def test_memory_layout_does_not_matter():
    cloud = CLOUDS["two"]
    tables = submanifold_tables(cloud, 3, 1, "cube")
    x, weight = asymmetric(len(cloud.rows), 7), asymmetric(27, 7, 3, seed=1)
    grad = asymmetric(len(cloud.rows), 3, seed=2)
    results = []
    for change in (lambda a: a, strided):
        leaves = [change(a).detach().requires_grad_() for a in (x, weight)]
        y = cuda_ops.sparse_conv(*leaves, *(change(t) for t in tables))
        results.append([y, *torch.autograd.grad(y, leaves, change(grad))])
    for plain, odd in zip(*results, strict=True):
        torch.testing.assert_close(odd, plain, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", OCCUPIED)
@pytest.mark.parametrize("kind", ["submanifold", "down", "up"])
def test_gradient_equals_the_gradient_of_the_dense_convolution(kind, name):
    cloud = CLOUDS[name]
    table, table_t = submanifold_tables(cloud, 3, 1, "cube")
    dense = lambda x, w: oracle.submanifold_conv(cloud.rows, x, w, 3)  # noqa: E731
    if kind != "submanifold":
        table, table_t = down_tables(cloud)[:: 1 if kind == "down" else -1]
        conv = oracle.down_conv if kind == "down" else oracle.up_conv
        dense = lambda x, w: conv(cloud.rows, x, w)  # noqa: E731
    x = asymmetric(table_t.shape[1], 3).requires_grad_()
    weight = asymmetric(len(table), 3, 2, seed=1).requires_grad_()
    grad = asymmetric(table.shape[1], 2, seed=2)
    ours = torch.autograd.grad(cuda_ops.sparse_conv(x, weight, table, table_t), (x, weight), grad)
    expected = torch.autograd.grad(dense(x, weight), (x, weight), grad)
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["cube", "cross", "down", "up"])
def test_gradcheck(kind):
    cloud = Cloud([], CLOUDS["three, one empty"].rows[::9], [], [], 3)
    if kind in ("cube", "cross"):
        table, table_t = submanifold_tables(cloud, 3, 1, kind)
    else:
        table, table_t = down_tables(cloud)[:: 1 if kind == "down" else -1]
    x = asymmetric(table_t.shape[1], 2).requires_grad_()
    weight = asymmetric(len(table), 2, 3, seed=1).requires_grad_()
    assert gradcheck(lambda x, w: cuda_ops.sparse_conv(x, w, table, table_t), (x, weight))


@pytest.mark.parametrize("kind", ["submanifold", "down"])
def test_transposed_table_and_weight_are_the_adjoint(kind):
    """<A x, y> = <x, A^T y> with A^T the convolution through `table_t` with transposed weights."""
    cloud = CLOUDS["three, one empty"]
    tables = down_tables(cloud)
    if kind == "submanifold":
        tables = submanifold_tables(cloud, 5, 2, "cube")
    table, table_t = tables
    x, y = asymmetric(table_t.shape[1], 3), asymmetric(table.shape[1], 5, seed=1)
    weight = asymmetric(len(table), 3, 5, seed=2)
    forth = cuda_ops.sparse_conv(x, weight, table, table_t)
    back = cuda_ops.sparse_conv(y, weight.transpose(1, 2), table_t, table)
    torch.testing.assert_close((forth * y).sum(), (x * back).sum(), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "x, weight, table, table_t",
    [
        ((4, 3), (27, 2, 5), (27, 4), (27, 4)),
        ((4,), (27, 4, 5), (27, 4), (27, 4)),
        ((4, 3), (3, 5), (27, 4), (27, 4)),
        ((4, 3), (27, 3, 5), (8, 4), (8, 4)),
        ((4, 3), (27, 3, 5), (27, 9), (27, 9)),
    ],
    ids=["channels", "x is flat", "weight is flat", "taps", "rows"],
)
def test_refuses_shapes_that_do_not_fit(x, weight, table, table_t):
    tables = [torch.full(shape, -1, dtype=torch.int32) for shape in (table, table_t)]
    with pytest.raises(ValueError, match="got"):
        cuda_ops.sparse_conv(torch.ones(x), torch.ones(weight), *tables)
