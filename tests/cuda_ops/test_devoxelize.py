"""Trilinear corners and weights against loops, and the weighted sum with its gradient."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

import cuda_ops
from tests import oracle
from tests.attack import DEVICES, DTYPES, WIDE, Cloud, asymmetric, strided


def positions(cloud: Cloud) -> tuple[list[int], list[list[float]]]:
    """Points around voxels: on the lattice, on faces, inside cells, and far from everything.

    All fractions are multiples of 1/8, so that float32 holds them exactly.
    """
    shifts = [(0, 0, 0), (0.5, 0, 0), (-0.25, 0.125, 0.625), (0.875, 0.875, 0.875), (9, 9, 0.5)]
    shifted = [(row, shift) for row in cloud.rows for shift in shifts]
    position = [[v + s for v, s in zip(row[1:], shift, strict=True)] for row, shift in shifted]
    return [row[0] for row, _ in shifted], position


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["negative", "three, one empty", "one voxel", "extremes"])
def test_trilinear_equals_loops(name, dtype, device):
    cloud = WIDE[name]
    batch, position = positions(cloud)
    keys = cuda_ops.morton_encode(cloud.indices.to(device))
    index, weight = cuda_ops.trilinear(
        keys,
        torch.tensor(batch, device=device),
        strided(torch.tensor(position, dtype=dtype)).to(device),
    )
    assert (index.dtype, weight.dtype) == (torch.int32, dtype)
    assert (weight[index < 0] == 0).all()
    for channels in (1, 7):
        x = asymmetric(len(cloud.rows), channels, dtype=dtype)
        y = cuda_ops.devoxelize(x.to(device), index, weight)
        assert y.dtype == dtype
        expected = oracle.trilinear(cloud.rows, x.double(), batch, position)
        # Convex weights of 8 corners: about 8 roundings of values of at most 1.1.
        tolerance = 16 * torch.finfo(dtype).eps
        torch.testing.assert_close(y.double().cpu(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_sum_to_one_over_the_corners_that_exist(dtype):
    """Also at the far corner of a lonely voxel, where the product of the three shares is tiny."""
    keys = cuda_ops.morton_encode(torch.tensor([[0, 2, 2, 2]], dtype=torch.int32))
    position = torch.tensor([[2, 2, 2], [2.5, 2, 2], [2.999, 2.999, 2.999], [3, 3, 3]], dtype=dtype)
    _, weight = cuda_ops.trilinear(keys, torch.zeros(4, dtype=torch.int64), position)
    torch.testing.assert_close(weight.sum(dim=0), torch.tensor([1, 1, 1, 0], dtype=dtype))


def test_clouds_do_not_mix():
    keys = cuda_ops.morton_encode(torch.tensor([[0, 0, 0, 0], [1, 1, 0, 0]], dtype=torch.int32))
    index, weight = cuda_ops.trilinear(
        keys, torch.tensor([0, 1]), torch.tensor([[0.5, 0, 0], [0.5, 0, 0]])
    )
    y = cuda_ops.devoxelize(torch.tensor([[3.0], [8.0]]), index, weight)
    assert y.tolist() == [[3.0], [8.0]]


@pytest.mark.parametrize("device", DEVICES)
def test_missing_corners_add_nothing(device):
    index = torch.tensor([[0, -1, 2], [1, -1, -1]], dtype=torch.int32, device=device)
    weight = torch.tensor([[0.5, 9, 2], [0.25, 9, 9]], device=device)
    x = torch.tensor([[8.0], [4.0], [100.0]], device=device)
    assert cuda_ops.devoxelize(x, index, weight).tolist() == [[5.0], [0.0], [200.0]]


def test_gradcheck_and_adjoint():
    index = torch.tensor([[0, 3, -1, 3], [3, 1, -1, 0]], dtype=torch.int32)
    weight = asymmetric(2, 4, seed=1)
    x, y = asymmetric(5, 3).requires_grad_(), asymmetric(4, 3, seed=2)
    assert gradcheck(lambda x: cuda_ops.devoxelize(x, index, weight), (x,))
    out = cuda_ops.devoxelize(x, index, weight)
    (grad,) = torch.autograd.grad(out, x, y)
    torch.testing.assert_close((out * y).sum(), (x * grad).sum(), rtol=1e-12, atol=0)
    assert (grad[[2, 4]] == 0).all()  # no point sees them


def test_no_points_and_no_voxels():
    none = torch.empty(0, dtype=torch.int64)
    index, weight = cuda_ops.trilinear(none, torch.zeros(2, dtype=torch.int64), torch.ones(2, 3))
    assert (index == -1).all() and (weight == 0).all()
    assert torch.equal(cuda_ops.devoxelize(torch.empty(0, 3), index, weight), torch.zeros(2, 3))
    index, weight = cuda_ops.trilinear(torch.tensor([5]), none, torch.empty(0, 3))
    assert cuda_ops.devoxelize(torch.ones(1, 3), index, weight).shape == (0, 3)
