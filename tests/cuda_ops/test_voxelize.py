"""Voxels of points, the mean of their features, and one representative of each."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

import cuda_ops
from tests import oracle
from tests.attack import DEVICES, DTYPES, WIDE, assert_sums, asymmetric, strided


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", WIDE)
def test_voxels_equal_the_dictionary(name, device):
    cloud = WIDE[name]
    keys = cuda_ops.morton_encode(cloud.point_indices.to(device))
    unique, point2voxel, counts = cuda_ops.voxelize(keys)
    assert (point2voxel.dtype, counts.dtype) == (torch.int64, torch.int64)
    assert unique.tolist() == [oracle.key(row) for row in cloud.rows]
    assert point2voxel.tolist() == cloud.point2voxel
    assert counts.tolist() == cloud.counts
    assert torch.equal(unique[point2voxel], keys)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["two", "three, one empty", "one voxel", "extremes"])
def test_mean_equals_the_mean_of_each_voxels_points(name, dtype, device):
    cloud = WIDE[name]
    for channels in (1, 3, 7, 13):
        feats = strided(asymmetric(len(cloud.points), channels, dtype=dtype))
        point2voxel, counts = torch.tensor(cloud.point2voxel), torch.tensor(cloud.counts)
        mean = cuda_ops.voxel_mean(feats.to(device), point2voxel.to(device), counts.to(device))
        assert mean.dtype == dtype
        args = (cloud.point2voxel, len(cloud.rows))
        expected = oracle.voxel_mean(feats.double(), *args)
        magnitude = oracle.voxel_mean(feats.double().abs(), *args)
        assert_sums(mean, expected, magnitude, terms=max(cloud.counts) + 1)


def test_mean_of_no_points_has_no_rows():
    none = torch.empty(0, dtype=torch.int64)
    assert cuda_ops.voxel_mean(torch.empty(0, 3), none, none).shape == (0, 3)


def test_mean_gradcheck():
    point2voxel = torch.tensor([2, 0, 2, 1, 2])
    feats = asymmetric(5, 2).requires_grad_()
    counts = torch.tensor([1, 1, 3])
    assert gradcheck(lambda f: cuda_ops.voxel_mean(f, point2voxel, counts), (feats,))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", WIDE)
def test_first_is_the_first_point_of_every_voxel(name, device):
    cloud = WIDE[name]
    rows = cuda_ops.voxel_first(
        torch.tensor(cloud.point2voxel, dtype=torch.int64, device=device), len(cloud.rows)
    )
    assert rows.tolist() == [cloud.points.index(row) for row in cloud.rows]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", WIDE)
def test_random_representative_lies_in_its_voxel(name, device):
    cloud = WIDE[name]
    point2voxel = torch.tensor(cloud.point2voxel, dtype=torch.int64, device=device)
    for _ in range(3):
        rows = cuda_ops.voxel_random(point2voxel, len(cloud.rows))
        assert torch.equal(point2voxel[rows], torch.arange(len(cloud.rows), device=device))


def test_random_representative_is_drawn_by_the_generator():
    point2voxel = torch.randint(50, (400,), generator=torch.Generator().manual_seed(0))
    point2voxel[:50] = torch.arange(50)
    before = torch.get_rng_state()
    draw = lambda seed: cuda_ops.voxel_random(  # noqa: E731
        point2voxel, 50, torch.Generator().manual_seed(seed)
    )
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert torch.equal(torch.get_rng_state(), before)


def test_random_representative_is_uniform():
    """Chi-square over the points of a voxel of 6 beside a voxel of 1; 5 degrees of freedom."""
    point2voxel = torch.tensor([0, 1, 0, 0, 0, 0, 0])
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([cuda_ops.voxel_random(point2voxel, 2, generator) for _ in range(1200)])
    assert (draws[:, 1] == 1).all()
    seen = torch.bincount(draws[:, 0], minlength=7).double()
    assert seen[1] == 0
    chi2 = ((seen[point2voxel == 0] - 200) ** 2 / 200).sum()
    assert chi2 < 20.5  # the 99.9 % quantile
