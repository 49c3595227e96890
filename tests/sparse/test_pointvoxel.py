"""Between points and voxels of any stride."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import cuda_ops
from pc3d.sparse import CoordSet, PointVoxelMap, SparseTensor
from tests import oracle
from tests.attack import CLOUDS, asymmetric
from tests.parity import coords_of

CLOUD = CLOUDS["three, one empty"]


def level(coords: CoordSet, levels: int) -> CoordSet:
    for _ in range(levels):
        coords = coords.down()[0]
    return coords


def points_within(cloud=CLOUD) -> tuple[Tensor, Tensor]:
    """Points spread within their voxels; fractions are exact in float32."""
    rows = cloud.point_indices
    within = (torch.arange(3 * len(rows)).view(-1, 3) % 7) / 8
    return rows[:, 1:] + within, rows[:, 0].long()


@pytest.mark.parametrize("levels", [0, 1, 2])
def test_devoxelize_interpolates_on_the_lattice_of_the_features(levels):
    coords = level(coords_of(CLOUD), levels)
    position, cloud = points_within()
    x = asymmetric(len(coords), 3)
    y = PointVoxelMap(position, cloud).devoxelize(SparseTensor(coords, x))
    at = (position.double() / 2**levels).tolist()
    expected = oracle.trilinear(oracle.rows_of(coords.indices), x, cloud.tolist(), at)
    torch.testing.assert_close(y, expected, rtol=0, atol=16 * torch.finfo(torch.float32).eps)


@pytest.mark.parametrize("levels", [0, 1, 2])
def test_voxelize_is_the_mean_over_the_points_of_each_voxel(levels):
    coords = level(coords_of(CLOUD), levels)
    position, cloud = points_within()
    feats = asymmetric(len(position), 3)
    y = PointVoxelMap(position, cloud).voxelize(feats, coords)
    assert y.coords is coords
    cells = torch.cat([cloud.unsqueeze(1), (position / 2**levels).floor().long()], dim=1).tolist()
    for row, found in zip(coords.indices.tolist(), y.feats, strict=True):
        mine = [feats[i] for i, cell in enumerate(cells) if cell == row]
        torch.testing.assert_close(found, torch.stack(mine).mean(dim=0))


@pytest.mark.parametrize("levels", [0, 2])
def test_a_lost_point_reaches_no_voxel_and_a_voxel_without_points_is_zero(levels):
    coords = level(coords_of(CLOUD), levels)
    position, cloud = points_within()
    ways = PointVoxelMap(position, cloud)
    feats = asymmetric(len(position), 3).requires_grad_()
    lost = torch.cat([position, torch.tensor([[900.0, 900.0, 900.0]])])
    also = PointVoxelMap(lost, torch.cat([cloud, torch.tensor([0])]))
    poison = torch.full((1, 3), float("nan"), dtype=feats.dtype)
    whole = also.voxelize(torch.cat([feats, poison]), coords).feats
    assert torch.equal(whole, ways.voxelize(feats, coords).feats)
    (grad,) = torch.autograd.grad(whole.sum(), feats)
    assert torch.isfinite(grad).all()
    assert not also.devoxelize(SparseTensor(coords, asymmetric(len(coords), 3)))[-1].any()
    none = PointVoxelMap(lost[-1:], torch.tensor([0])).voxelize(poison, coords).feats
    assert torch.equal(none, torch.zeros_like(none))


def test_points_that_are_the_voxels_take_features_as_they_are():
    coords = coords_of(CLOUD)
    ways = PointVoxelMap.of_voxels(coords)
    x = SparseTensor(coords, asymmetric(len(coords), 3))
    assert ways.devoxelize(x) is x.feats
    assert ways.voxelize(x.feats, coords).feats is x.feats
    part = coords.select(torch.arange(0, len(coords), 2))  # another set of the same stride
    assert ways.voxelize(x.feats, part).feats.shape == (len(part), 3)
    assert len(ways.devoxelize(SparseTensor(part, x.feats[: len(part)]))) == len(coords)
    elsewhere = PointVoxelMap(ways.position, ways.cloud)
    torch.testing.assert_close(elsewhere.devoxelize(x), x.feats)
    torch.testing.assert_close(elsewhere.voxelize(x.feats, coords).feats, x.feats)


def test_the_way_to_a_set_is_found_once(monkeypatch):
    coarse, calls = level(coords_of(CLOUD), 2), []
    real = cuda_ops.trilinear
    monkeypatch.setattr(cuda_ops, "trilinear", lambda *args: calls.append(0) or real(*args))
    ways = PointVoxelMap(*points_within())
    for _ in range(2):
        feats = ways.devoxelize(SparseTensor(coarse, asymmetric(len(coarse), 3)))
        ways.voxelize(feats, coarse)
    assert len(calls) == 1


def test_sets_of_one_stride_are_kept_apart():
    coords, ways = level(coords_of(CLOUD), 1), PointVoxelMap(*points_within())
    feats = asymmetric(len(ways.position), 3)
    for each in (coords, coords.select(torch.arange(0, len(coords), 2))):
        fresh, x = PointVoxelMap(*points_within()), SparseTensor(each, feats[: len(each)])
        assert torch.equal(ways.devoxelize(x), fresh.devoxelize(x))
        assert torch.equal(ways.voxelize(feats, each).feats, fresh.voxelize(feats, each).feats)


def test_gradients():
    coarse = level(coords_of(CLOUD), 2)
    ways = PointVoxelMap(*points_within())
    x = asymmetric(len(coarse), 2).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: ways.voxelize(ways.devoxelize(SparseTensor(coarse, x)), coarse).feats, (x,)
    )


def test_positions_that_do_not_fit():
    with pytest.raises(ValueError, match=r"position must be \[4, 3\]"):
        PointVoxelMap(torch.zeros(3, 3), torch.zeros(4, dtype=torch.int64))
