"""From voxels back to points."""

from __future__ import annotations

import pytest
import torch

from pc3d.sparse import SparseTensor, devoxelize
from tests import oracle
from tests.attack import CLOUDS, asymmetric
from tests.sparse.test_points import batch_of

VOXEL_SIZE = 0.25


@pytest.fixture
def batch():
    """Points spread within their voxels, in metres; fractions are exact in float32."""
    found = batch_of(CLOUDS["three, one empty"])
    within = (torch.arange(found.points.num_points * 3).view(-1, 3) % 7) / 8
    found.points.xyz.copy_((found.points.xyz - 0.5 + within) * VOXEL_SIZE)
    return found


def test_nearest_gives_every_point_its_own_voxel(batch):
    y = devoxelize(batch.voxels, batch, VOXEL_SIZE, "nearest")
    assert torch.equal(y, batch.voxels.feats[batch.point2voxel])


@pytest.mark.parametrize("levels", [0, 1, 2])
def test_trilinear_interpolates_on_the_lattice_of_the_features(batch, levels):
    coords = batch.voxels.coords
    for _ in range(levels):
        coords = coords.down()[0]
    x = asymmetric(len(coords), 3)
    y = devoxelize(SparseTensor(coords, x), batch, VOXEL_SIZE, "trilinear")
    position = (batch.points.xyz.double() / (VOXEL_SIZE * 2**levels)).tolist()
    cloud = batch.points.batch_index.tolist()
    expected = oracle.trilinear(oracle.rows_of(coords.indices), x, cloud, position)
    torch.testing.assert_close(y, expected, rtol=0, atol=16 * torch.finfo(torch.float32).eps)


def test_nearest_refuses_coarse_features(batch):
    coarse = batch.voxels.coords.down()[0]
    x = SparseTensor(coarse, torch.zeros(len(coarse), 1))
    with pytest.raises(ValueError, match="stride=2"):
        devoxelize(x, batch, VOXEL_SIZE, "nearest")
