"""Point sets: samples, neighbours, interpolation; everything within a cloud."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from pc3d.sparse import Batch, CoordSet, NeighborSearch, PointBatch, PointSet, SparseTensor
from tests.attack import CLOUDS, Cloud, asymmetric

VOXEL = 0.5
KNN = NeighborSearch("knn", 5)
SEARCHES = [KNN, NeighborSearch("ball", 6, 0.8), NeighborSearch("voxel")]


def batch_of(cloud: Cloud, channels: int = 2) -> Batch:
    """Several points in a voxel, off its middle; features are random."""
    coords = CoordSet(cloud.indices, cloud.batch_size)
    rows = torch.tensor(cloud.points, dtype=torch.float64).reshape(-1, 4)
    order = rows[:, 0].argsort(stable=True)
    xyz = (rows[:, 1:] + (asymmetric(len(rows), 3) + 0.9) / 2) * VOXEL
    counts = rows[:, 0].long().bincount(minlength=cloud.batch_size)
    points = PointBatch(
        names=tuple(str(number) for number in range(cloud.batch_size)),
        offsets=torch.nn.functional.pad(counts.cumsum(0), (1, 0)),
        xyz=xyz[order].float(),
        origin=torch.zeros(cloud.batch_size, 3, dtype=torch.float64),
        row=torch.arange(len(rows)),
    )
    point2voxel = torch.tensor(cloud.point2voxel, dtype=torch.int64)[order]
    feats = asymmetric(len(coords), channels, dtype=torch.float32, seed=3)
    return Batch(points, SparseTensor(coords, feats), point2voxel)


def points_of(name: str) -> PointSet:
    return PointSet.of_batch(batch_of(CLOUDS[name]))


def distance(a, b) -> float:
    return math.dist(a.tolist(), b.tolist())


NAMES = ["two", "three, one empty", "one voxel", "none"]


@pytest.mark.parametrize("name", NAMES)
def test_a_point_is_the_mean_of_its_voxel(name):
    batch = batch_of(CLOUDS[name])
    points = PointSet.of_batch(batch)
    assert len(points) == len(batch.voxels.coords)
    for row in range(len(points)):
        mean = batch.points.xyz[batch.point2voxel == row].mean(dim=0)
        torch.testing.assert_close(points.xyz[row], mean)
    assert points.cloud.tolist() == batch.voxels.coords.indices[:, 0].tolist()
    assert points.offsets.diff().tolist() == list(points.cloud_sizes)


@pytest.mark.parametrize("name", NAMES)
def test_fps_keeps_a_quarter_of_every_cloud_in_order(name):
    points = points_of(name)
    coarse = points.down("fps")
    assert coarse.cloud_sizes == tuple(math.ceil(size / 4) for size in points.cloud_sizes)
    assert (coarse.rows.diff() > 0).all()
    assert torch.equal(coarse.xyz, points.xyz[coarse.rows])
    assert coarse.coords is points.coords.down()[0]
    cells = points.coords.indices[coarse.rows]
    cells[:, 1:] = cells[:, 1:].div(2, rounding_mode="floor")
    assert torch.equal(coarse.coords.indices[coarse.voxel], cells)
    assert points.down("fps") is coarse  # kept


@pytest.mark.parametrize("name", NAMES)
def test_strided_points_are_the_means_of_coarse_voxels(name):
    points = points_of(name)
    coarse = points.down("strided")
    assert coarse.coords is points.coords.down()[0] and coarse.voxel is None
    parents = points.coords.indices.clone()
    parents[:, 1:] = parents[:, 1:].div(2, rounding_mode="floor")
    for row, cell in zip(coarse.xyz, coarse.coords.indices, strict=True):
        torch.testing.assert_close(row, points.xyz[(parents == cell).all(dim=1)].mean(dim=0))


def test_what_was_sampled_by_fps_has_no_means():
    with pytest.raises(ValueError, match="not one per voxel"):
        points_of("two").down("fps").down("strided")


def levels(name: str, sampling: str) -> list[PointSet]:
    first = points_of(name)
    return [first, first.down(sampling), first.down(sampling).down(sampling)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sampling", ["fps", "strided"])
@pytest.mark.parametrize("search", SEARCHES, ids=["knn", "ball", "voxel"])
def test_neighbors_are_what_the_search_says(name, sampling, search):
    for level in levels(name, sampling):
        near = level.neighbors(search)
        check(near, level, level, search)
        assert level.neighbors(NeighborSearch(search.kind, search.k, search.radius)) is near


def test_searches_of_one_set_are_kept_apart():
    points = points_of("two")
    for search in (*SEARCHES, NeighborSearch("knn", 2), NeighborSearch("ball", 6, 0.5)):
        check(points.neighbors(search), points, points, search)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sampling", ["fps", "strided"])
@pytest.mark.parametrize("search", SEARCHES, ids=["knn", "ball", "voxel"])
def test_neighbors_in_the_finer_set(name, sampling, search):
    sets = levels(name, sampling)
    for fine, coarse in pairwise(sets):
        check(coarse.neighbors_in(fine, search), coarse, fine, search)


def check(near, queries: PointSet, points: PointSet, search: NeighborSearch) -> None:
    """Against a loop over all pairs, or over the voxels' coordinates."""
    table = near.table.tolist()
    for n in range(len(queries)):
        own = points.cloud == queries.cloud[n]
        found = [row[n] for row in table if row[n] >= 0]
        if search.kind == "voxel":
            assert sorted(found) == sorted(window(queries, points, n))
            continue
        candidates = own.nonzero().squeeze(1).tolist()
        away = {m: distance(queries.xyz[n], points.xyz[m]) for m in candidates}
        reach = math.inf if search.radius is None else search.radius * points.coords.stride
        expected = sorted(value for value in away.values() if value <= reach)[: search.k]
        assert [away[m] for m in found] == pytest.approx(expected, abs=1e-6)
    missing = near.table < 0
    assert not near.relative[missing].any()
    for j, n in (~missing).nonzero().tolist():
        expected = points.xyz[table[j][n]] - queries.xyz[n]
        torch.testing.assert_close(near.relative[j, n], expected)
    there = (~missing).flatten().nonzero().squeeze(1)
    pairs = torch.arange(missing.numel()) if near.pairs is None else near.pairs
    assert torch.equal(pairs, there)
    if search.kind == "knn":
        assert (near.pairs is None) == bool((~missing).all())


def window(queries: PointSet, points: PointSet, n: int) -> list[int]:
    """The first point of each voxel around point n, or the points of its own coarse voxel."""
    voxels = points.coords.indices if points.voxel is None else points.coords.indices[points.voxel]
    if queries is not points and queries.rows is None:
        cell = queries.coords.indices[n]
        parents = voxels.clone()
        parents[:, 1:] = voxels[:, 1:].div(2, rounding_mode="floor")
        return (parents == cell).all(dim=1).nonzero().squeeze(1).tolist()
    itself = n if queries is points else int(queries.rows[n])
    first: dict[tuple[int, ...], int] = {}
    for row, cell in reversed(list(enumerate(voxels.tolist()))):
        first[tuple(cell)] = row
    here = voxels[itself]
    near = {
        cell: row
        for cell, row in first.items()
        if cell[0] == here[0] and all(abs(a - b) <= 1 for a, b in zip(cell, here, strict=True))
    }
    near[tuple(here.tolist())] = itself
    return list(near.values())


@pytest.mark.parametrize("name", NAMES)
def test_interpolation_weighs_by_inverse_distance(name):
    fine = points_of(name)
    coarse = fine.down("strided")
    table, weight = fine.interpolation(coarse)
    for n in range(len(fine)):
        own = (coarse.cloud == fine.cloud[n]).nonzero().squeeze(1).tolist()
        nearest = sorted(distance(fine.xyz[n], coarse.xyz[m]) for m in own)[:3]
        inverse = [1 / (value + 1e-8) for value in nearest]
        expected = [value / sum(inverse) for value in inverse] + [0.0] * (3 - len(nearest))
        assert weight[:, n].tolist() == pytest.approx(expected, rel=1e-3, abs=1e-6)
        assert (table[:, n] >= 0).sum() == len(nearest)


def test_searches_that_do_not_exist():
    with pytest.raises(ValueError, match="kind must be one of"):
        NeighborSearch("cube")
    with pytest.raises(ValueError, match="k must be at least 1"):
        NeighborSearch(k=0)
    for kind, radius in (("ball", None), ("knn", 0.1), ("voxel", 0.1)):
        with pytest.raises(ValueError, match="needs a radius"):
            NeighborSearch(kind, radius=radius)
    for radius in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="radius must be above 0"):
            NeighborSearch("ball", radius=radius)


def test_cloud_sizes_of_every_level():
    coords = CoordSet(CLOUDS["three, one empty"].indices, 3)
    for _ in range(4):
        counts = coords.indices[:, 0].bincount(minlength=3).tolist()
        assert list(coords.cloud_sizes) == counts
        coords = coords.down()[0]
    assert CoordSet(CLOUDS["none"].indices, 2).cloud_sizes == (0, 0)
