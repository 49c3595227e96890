"""The whole path from points to convolved features, compared with the oracle.

tests/sparse/test_conv.py asserts that these comparisons pass; tests/test_planted_bugs.py asserts
that they fail once a bug is planted.
"""

from __future__ import annotations

import torch

import cuda_ops
from pc3d.sparse import DOWN, CoordSet, KernelSpec, SparseTensor, conv
from tests import oracle
from tests.attack import Cloud, assert_sums, asymmetric

C_IN, C_OUT = 3, 5


def coords_of(cloud: Cloud, device: str = "cpu") -> CoordSet:
    """The set of a cloud's shuffled points, as a user makes it."""
    keys = cuda_ops.morton_encode(cloud.point_indices.to(device))
    unique, _, _ = cuda_ops.voxelize(keys)
    return CoordSet(cuda_ops.morton_decode(unique), cloud.batch_size)


def check_points(cloud: Cloud) -> None:
    """Voxels, their points, and the mean of their features."""
    keys, point2voxel, counts = cuda_ops.voxelize(cuda_ops.morton_encode(cloud.point_indices))
    assert cuda_ops.morton_decode(keys).tolist() == [list(row) for row in cloud.rows]
    assert point2voxel.tolist() == cloud.point2voxel
    feats = asymmetric(len(cloud.points), C_IN)
    mean = cuda_ops.voxel_mean(feats, point2voxel, counts)
    expected = oracle.voxel_mean(feats, cloud.point2voxel, len(cloud.rows))
    torch.testing.assert_close(mean, expected, rtol=1e-13, atol=1e-13)


def check_submanifold(cloud: Cloud, spec: KernelSpec, device: str = "cpu") -> None:
    coords = coords_of(cloud, device)
    shape = (spec.size, spec.dilation, spec.shape)
    num_taps = len(oracle.offsets(*shape))
    x, weight = asymmetric(len(coords), C_IN), asymmetric(num_taps, C_IN, C_OUT, seed=1)
    y = conv(SparseTensor(coords, x.to(device)), weight.to(device), coords, spec)
    assert y.coords is coords
    expected = oracle.submanifold_conv(cloud.rows, x, weight, *shape)
    magnitude = oracle.submanifold_conv(cloud.rows, x.abs(), weight.abs(), *shape)
    assert_sums(y.feats, expected, magnitude, terms=num_taps * C_IN)


def check_down_and_up(cloud: Cloud, device: str = "cpu") -> None:
    """Down and up between the set and its coarser one; the coarse rows too."""
    coords = coords_of(cloud, device)
    coarse, _ = coords.down()
    assert coarse.indices.tolist() == [list(row) for row in oracle.coarse_rows(cloud.rows)]
    weight = asymmetric(8, C_IN, C_OUT, seed=1)
    for source, target, dense in (
        (coords, coarse, oracle.down_conv),
        (coarse, coords, oracle.up_conv),
    ):
        x = asymmetric(len(source), C_IN)
        y = conv(SparseTensor(source, x.to(device)), weight.to(device), target, DOWN)
        assert y.coords is target
        expected = dense(cloud.rows, x, weight)
        assert_sums(y.feats, expected, dense(cloud.rows, x.abs(), weight.abs()), terms=8 * C_IN)


def check_gradient(cloud: Cloud, spec: KernelSpec) -> None:
    """Gradients of features and weights equal those of the dense convolution."""
    coords = coords_of(cloud)
    shape = (spec.size, spec.dilation, spec.shape)
    x = asymmetric(len(coords), C_IN).requires_grad_()
    weight = asymmetric(spec.num_taps, C_IN, C_OUT, seed=1).requires_grad_()
    grad = asymmetric(len(coords), C_OUT, seed=2)
    y = conv(SparseTensor(coords, x), weight, coords, spec).feats
    dense = oracle.submanifold_conv(cloud.rows, x, weight, *shape)
    ours, theirs = (torch.autograd.grad(out, (x, weight), grad) for out in (y, dense))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
