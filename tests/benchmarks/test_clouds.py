"""The workloads have the sizes and the neighbours that the benchmarks speak of."""

from __future__ import annotations

import pytest
import torch

from benchmarks.clouds import ROOM, WORKLOADS, sweep_points


@pytest.mark.parametrize("size", [500, 2000])
def test_the_room_has_the_voxels_that_are_asked_for(size):
    room = WORKLOADS["indoor"](size)
    assert 0.95 * size <= len(room.coords) <= size
    assert 9 < room.mean_neighbors() < 17  # surfaces: about a 3x3 patch, more where they are noisy
    extent = room.coords.indices[:, 1:].amax(dim=0) * room.voxel_size
    assert (extent < torch.tensor([*ROOM[:2], 3.0]) + 1.0).all()


def test_the_sweep_is_sparse_and_within_its_range():
    street = WORKLOADS["lidar"](100_000)
    assert len(street.coords) == pytest.approx(94_700, rel=0.01)
    assert street.mean_neighbors() == pytest.approx(5.2, abs=0.1)
    assert street.points.norm(dim=1).max() < 76.0
    assert street.points[:, 2].min() > -2.0


def test_clouds_repeat():
    assert torch.equal(sweep_points(20), sweep_points(20))
    assert not torch.equal(sweep_points(20), sweep_points(20, seed=1)[: len(sweep_points(20))])
    again = [WORKLOADS["indoor"](300).coords.keys for _ in range(2)]
    assert torch.equal(*again)
