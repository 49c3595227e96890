"""Tiles: every voxel in one core, none over the budget, and the same scores in the interior."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pc3d.models import SegmentationOutput
from pc3d.sparse import Batch, CoordSet, KernelSpec, PointBatch, SparseTensor, conv
from pc3d.tasks.tiling import MARGIN, predict_points, tiles
from tests.attack import Cloud, asymmetric, make, random_points
from tests.parity import coords_of
from tests.sparse.test_points import batch_of


def floor(size_x: int, size_y: int, batch: int = 0) -> list[tuple[int, int, int, int]]:
    """A bumpy floor with its lowest corner below zero."""
    return [
        (batch, x - 30, y - 5, (x * 7 + y * 3) % 4) for x in range(size_x) for y in range(size_y)
    ]


SCENES = {
    "long": make(floor(300, 6), 1),
    "two clouds": make(floor(150, 5, 0) + floor(90, 9, 1), 2),
    "a column": make([(0, 3, -4, z) for z in range(-400, 400)], 1),
    "a blob": make(random_points(3000, 0, -8, 8, 1), 1),
}


def check_tiles(coords: CoordSet, budget: int) -> None:
    seen = torch.zeros(len(coords), dtype=torch.int64)
    for context, core in tiles(coords, budget):
        assert 0 < int(context.sum()) <= budget
        assert bool((context | ~core).all()), "a core outside its context"
        seen += core
    assert (seen == 1).all()


@pytest.mark.parametrize("budget", [100, 700, 1400])
@pytest.mark.parametrize("name", SCENES)
def test_cores_partition_the_set_and_tiles_fit(name, budget):
    check_tiles(coords_of(SCENES[name]), budget)


@pytest.mark.parametrize("budget", [1, 2, 3])
def test_a_budget_of_a_few_voxels_ends(budget):
    check_tiles(coords_of(make(floor(6, 4), 1)), budget)


def test_tiles_reach_a_margin_beyond_their_core():
    coords = coords_of(SCENES["long"])
    x = coords.indices[:, 1]
    for context, core in tiles(coords, 800):
        low, high = int(x[core].min()) - MARGIN, int(x[core].max()) + MARGIN
        assert torch.equal(context, (x >= low) & (x <= high))


def test_clouds_are_not_mixed_where_they_fit_alone():
    coords = coords_of(SCENES["two clouds"])
    for _, core in tiles(coords, 1000):
        assert len(coords.indices[core][:, 0].unique()) == 1


class LocalNetwork:
    """Two 3x3x3 convolutions: it sees two voxels far. Counts what it is given."""

    def __init__(self) -> None:
        self.weights = asymmetric(27, 2, 4), asymmetric(27, 4, 3, seed=1)
        self.sizes: list[int] = []

    def __call__(self, batch: Batch) -> SegmentationOutput:
        coords = batch.voxels.coords
        self.sizes.append(len(coords))
        hidden = conv(batch.voxels, self.weights[0], coords, KernelSpec(3))
        hidden = hidden.with_feats(hidden.feats.relu())
        return SegmentationOutput(conv(hidden, self.weights[1], coords, KernelSpec(3)).feats)


class PerPoint(LocalNetwork):
    """The same with its scores at points, as SPVCNN has them."""

    def __call__(self, batch: Batch) -> SegmentationOutput:
        output = super().__call__(batch)
        return SegmentationOutput(output.at_points(batch), support="point")


@pytest.mark.parametrize("network_type", [LocalNetwork, PerPoint])
@pytest.mark.parametrize("name", ["long", "two clouds"])
def test_tiled_scores_equal_those_of_the_whole(name, network_type):
    """With a margin wider than the network's reach there is no interior: all scores are equal."""
    batch = batch_of(SCENES[name])
    whole, tiled = network_type(), network_type()
    expected = predict_points(whole, batch, 10**6)
    scores = predict_points(tiled, batch, 800)
    assert len(whole.sizes) == 1 and len(tiled.sizes) > 1
    assert max(tiled.sizes) <= 800
    assert scores.dtype == expected.dtype == torch.float32
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-5)


def test_without_room_for_a_margin_the_interior_of_tiles_is_still_right():
    """A blob at a quarter of its size: only voxels next to a cut may differ."""
    cloud = SCENES["a blob"]
    batch = batch_of(cloud)
    coords = batch.voxels.coords
    expected = predict_points(LocalNetwork(), batch, 10**6)
    scores = predict_points(LocalNetwork(), batch, len(coords) // 4)
    assert torch.isfinite(scores).all()
    inside = interior(coords, len(coords) // 4)[batch.point2voxel]
    assert 0 < int(inside.sum()) < len(inside)
    torch.testing.assert_close(scores[inside], expected[inside], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(scores[~inside], expected[~inside], rtol=1e-5, atol=1e-5)


def interior(coords: CoordSet, budget: int) -> Tensor:
    """Voxels whose neighbours within two voxels all lie in the tile that scores them."""
    inside = torch.zeros(len(coords), dtype=torch.bool)
    near = (coords.indices[:, None] - coords.indices[None]).abs().amax(dim=2) <= 2
    for context, core in tiles(coords, budget):
        inside |= core & ~(near & ~context[None]).any(dim=1)
    return inside


def test_nothing_to_score():
    none = Cloud([], [], [], [], 1)
    batch = Batch(
        PointBatch(
            ("empty",),
            torch.tensor([0, 0]),
            torch.empty(0, 3),
            torch.zeros(1, 3, dtype=torch.float64),
            torch.empty(0, dtype=torch.int64),
        ),
        SparseTensor(coords_of(none), torch.empty(0, 2, dtype=torch.float64)),
        torch.empty(0, dtype=torch.int64),
    )
    assert predict_points(LocalNetwork(), batch, 10).shape == (0, 3)
