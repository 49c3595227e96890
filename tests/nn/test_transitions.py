"""Transitions between point sets, against loops."""

from __future__ import annotations

import copy

import pytest
import torch

from pc3d.nn import GlobalContext, TransitionDown, TransitionUp
from pc3d.sparse import Neighbors, NeighborSearch
from tests.attack import asymmetric
from tests.nn.test_vector_attention import settled
from tests.sparse.test_point_set import points_of

WHOLE = torch.float64
NAMES = ["two", "three, one empty", "one voxel", "none"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sampling", ["fps", "strided"])
@pytest.mark.parametrize("kind", ["knn", "ball", "voxel"])
def test_down_is_the_maximum_over_neighbours(name, sampling, kind):
    points = points_of(name)
    radius = 0.3 if kind == "ball" else None
    near = points.down(sampling).neighbors_in(points, NeighborSearch(kind, 5, radius))
    near = Neighbors(near.table, near.relative.to(WHOLE), near.pairs)
    module = settled(TransitionDown(4, 6).to(WHOLE)).eval()
    x = asymmetric(len(points), 4)
    y = module(x, near)
    with torch.no_grad():
        torch.testing.assert_close(module(x, near), y)
    for n in range(near.table.shape[1]):
        taps = [j for j in range(len(near.table)) if near.table[j, n] >= 0]
        pairs = torch.cat([near.relative[taps, n], x[near.table[taps, n].long()]], dim=1)
        rows = module.norm(module.linear(pairs)).relu()
        expected = rows.amax(dim=0) if taps else torch.zeros(6, dtype=WHOLE)
        torch.testing.assert_close(y[n], expected)


def test_a_missing_neighbour_has_no_part_in_the_statistics_of_the_norm():
    points = points_of("two")
    near = points.down("strided").neighbors_in(points, NeighborSearch("knn", 3))
    near = Neighbors(near.table, near.relative.to(WHOLE), near.pairs)
    places = (near.table >= 0).flatten().nonzero().squeeze(1)
    missing = torch.full_like(near.table, -1), torch.zeros_like(near.relative)
    padded = Neighbors(
        torch.cat([near.table, missing[0]]), torch.cat([near.relative, missing[1]]), places
    )
    module = TransitionDown(4, 6).to(WHOLE).train()
    with torch.no_grad():
        module.norm.bn.bias.fill_(0.5)
    other, x = copy.deepcopy(module), asymmetric(len(points), 4)
    torch.testing.assert_close(module(x, padded), other(x, near))
    for a, b in zip(module.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_up_adds_interpolated_features(name):
    points = points_of(name)
    coarse = points.down("fps")
    module = settled(TransitionUp(6, 4).to(WHOLE)).eval()
    x, low = asymmetric(len(points), 4), asymmetric(len(coarse), 6, seed=1)
    table, weight = points.interpolation(coarse)
    lifted = module.lift(low)
    y = module(x, points, low, coarse)
    for n in range(len(points)):
        near = [(lifted[m], w) for m, w in zip(table[:, n], weight[:, n], strict=True) if m >= 0]
        expected = sum(row * share for row, share in near)
        torch.testing.assert_close(y[n], module.skip(x[n : n + 1])[0] + expected, check_dtype=False)


@pytest.mark.parametrize("name", NAMES)
def test_context_is_the_mean_of_the_own_cloud(name):
    points = points_of(name)
    module = settled(GlobalContext(4).to(WHOLE)).eval()
    x = asymmetric(len(points), 4).requires_grad_()
    y = module(x, points)
    for n in range(len(points)):
        mean = module.mean(x[points.cloud == points.cloud[n]].mean(dim=0))
        torch.testing.assert_close(y[n], module.join(torch.cat([x[n], mean]).unsqueeze(0))[0])
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert torch.isfinite(grad).all()
