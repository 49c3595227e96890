"""Batch norm over voxels, and the one voxel that has no variance."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pc3d.nn import BatchNorm
from pc3d.nn.norm import RowNorm, point_norm
from pc3d.sparse import CoordSet, SparseTensor
from tests.attack import CLOUDS, asymmetric
from tests.parity import coords_of


@pytest.mark.parametrize("training", [True, False])
def test_equals_the_formula_over_all_voxels(training):
    coords = coords_of(CLOUDS["three, one empty"])
    x = SparseTensor(coords, asymmetric(len(coords), 3))
    norm = BatchNorm(3).double().train(training)
    with torch.no_grad():
        norm.bn.weight.copy_(torch.tensor([1.0, 2.0, 3.0]))
        norm.bn.bias.copy_(torch.tensor([0.0, -1.0, 5.0]))
        norm.bn.running_mean.fill_(0.25)
        norm.bn.running_var.fill_(4.0)
    mean, var = norm.bn.running_mean.clone(), norm.bn.running_var.clone()
    if training:
        mean, var = x.feats.mean(dim=0), x.feats.var(dim=0, unbiased=False)
    expected = (x.feats - mean) / (var + norm.bn.eps).sqrt() * norm.bn.weight + norm.bn.bias
    torch.testing.assert_close(norm(x).feats, expected, rtol=1e-12, atol=1e-12)


def test_one_voxel_in_training_uses_and_keeps_the_running_statistics():
    coords = coords_of(CLOUDS["one voxel"])
    norm = BatchNorm(2).train()
    norm.bn.running_mean.copy_(torch.tensor([1.0, -1.0]))
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    x = SparseTensor(coords, torch.tensor([[3.0, 3.0]], requires_grad=True))
    y = norm(x).feats
    torch.testing.assert_close(y, torch.tensor([[2.0, 4.0]]), rtol=1e-4, atol=0)
    y.sum().backward()
    assert x.feats.grad.abs().min() > 0
    assert all(torch.equal(before[name], value) for name, value in norm.state_dict().items())


@pytest.mark.parametrize(("num", "alone"), [(1, True), (2, False)])
def test_one_row_uses_and_keeps_the_running_statistics(num, alone):
    norm, x = RowNorm(3).train(), asymmetric(num, 3, dtype=torch.float32)
    norm.bn.running_mean.fill_(0.25)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    constant = norm.eval()(x)
    assert torch.equal(norm.train()(x), constant) == alone
    kept = [torch.equal(before[name], value) for name, value in norm.state_dict().items()]
    assert all(kept) == alone


def test_the_affine_map_is_what_evaluation_does():
    norm, x = RowNorm(3).train(), asymmetric(9, 3, dtype=torch.float32)
    norm(x)
    scale, shift = norm.affine()
    torch.testing.assert_close(norm.eval()(x), x * scale + shift)


def test_norms_of_points():
    x = asymmetric(5, 4, dtype=torch.float32)
    expected = (x - x.mean(dim=1, keepdim=True)) / x.std(dim=1, keepdim=True, unbiased=False)
    torch.testing.assert_close(point_norm(4, "layer")(x), expected, rtol=1e-3, atol=1e-3)
    assert isinstance(point_norm(4, "batch"), RowNorm)


def test_no_voxels_leave_finite_statistics():
    norm = BatchNorm(2).train()
    coords = CoordSet(torch.empty(0, 4, dtype=torch.int32), 1)
    assert norm(SparseTensor(coords, torch.empty(0, 2))).feats.shape == (0, 2)
    assert all(torch.isfinite(value).all() for value in norm.state_dict().values())


def test_sync_batchnorm_finds_it():
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(BatchNorm(2))
    assert isinstance(converted.bn, nn.SyncBatchNorm)
