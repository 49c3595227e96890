"""Nearest neighbours against brute force in numpy, rounded as specified, and against scipy."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
import torch
from torch import Tensor

from cuda_ops import nearest_neighbors
from cuda_ops.nearest_neighbors import cpu, cuda, op
from cuda_ops.runtime import serving
from tests.cuda_ops.emulation.gpu import ASCENDING, DESCENDING, EmulatedGpu
from tests.cuda_ops.kernels import ISAS, library_of
from tests.cuda_ops.test_library import check_compiled
from tests.test_waiting import NoWaiting

Search = Callable[..., tuple[Tensor, Tensor]]


def brute_force(
    points: Tensor,
    bounds: list[int],
    queries: Tensor,
    asked: list[int],
    k: int,
    radius: float | None,
) -> tuple[Tensor, Tensor]:
    """The specification once more, one query after another."""
    p, q = points.numpy(), queries.numpy()
    table = np.full((k, len(q)), -1, dtype=np.int32)
    squared = np.full((k, len(q)), np.inf, dtype=p.dtype)
    with np.errstate(all="ignore"):
        limit = np.finfo(p.dtype).max if radius is None else np.square(p.dtype.type(radius))
        for cloud in range(len(bounds) - 1):
            rows = np.arange(bounds[cloud], bounds[cloud + 1])
            for i in range(asked[cloud], asked[cloud + 1]):
                delta = p[rows] - q[i]
                product = delta * delta
                d = (product[:, 0] + product[:, 1]) + product[:, 2]
                near = (d <= limit) & np.isfinite(d)
                best = np.lexsort((rows[near], d[near]))[:k]
                table[: len(best), i], squared[: len(best), i] = rows[near][best], d[near][best]
    return torch.from_numpy(table), torch.from_numpy(squared)


def reference(*args: object) -> tuple[Tensor, Tensor]:
    with serving("reference"):
        return nearest_neighbors(*args)


def kernel(isa: str) -> Search:
    def search(points, bounds, queries, asked, k, radius=None):
        found = cpu.nearest_neighbors(library_of(isa), points, bounds, queries, asked, k, radius)
        assert found is not None
        return found

    return search


def emulated(order: int) -> Search:
    def search(points, bounds, queries, asked, k, radius=None):
        gpu = EmulatedGpu(order)
        with NoWaiting():
            found = cuda.nearest_neighbors(gpu, points, bounds, queries, asked, k, radius)
        assert found is not None
        return found

    return search


@pytest.fixture(params=["reference", *ISAS, "cuda", "cuda, descending"])
def search(request: pytest.FixtureRequest) -> Search:
    if request.param == "reference":
        return reference
    if request.param.startswith("cuda"):
        return emulated(DESCENDING if "descending" in request.param else ASCENDING)
    return kernel(request.param)


def assert_exact(
    search: Search,
    points: Tensor,
    bounds: list[int],
    queries: Tensor,
    asked: list[int],
    k: int,
    radius: float | None = None,
) -> None:
    expected = brute_force(points, bounds, queries, asked, k, radius)
    offsets = torch.tensor(bounds), torch.tensor(asked)
    found = search(points, offsets[0], queries, offsets[1], k, radius)
    assert found[0].dtype == torch.int32 and found[1].dtype == points.dtype
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
    if queries is not points:
        return
    again = search(points, offsets[0], points, offsets[0], k, radius)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))


def random(num: int, seed: int = 0) -> Tensor:
    return torch.rand(num, 3, generator=torch.Generator().manual_seed(seed))


def lattice(side: int) -> Tensor:
    """Shuffled points on a lattice: nearly all distances are ties."""
    points = torch.cartesian_prod(*[torch.arange(side) * 0.25] * 3)
    return points[torch.randperm(len(points), generator=torch.Generator().manual_seed(1))]


def shapes() -> dict[str, Tensor]:
    line = random(700) * torch.tensor([1.0, 0, 0])
    plane = random(700) * torch.tensor([1.0, 1, 0])
    tiny, huge = random(500) * 1e-6, (random(500) - 0.5) * 1e6
    scales = 2.0 ** torch.arange(-60, 61, dtype=torch.float32)
    return {
        "uniform": random(900),
        "line": line,
        "plane": plane - 5,
        "tiny": tiny,
        "huge": huge,
        "far": random(500) + 3e5,
        "outlier": torch.cat([random(600) * 0.1, torch.tensor([[1e9, -1e9, 1e9]])]),
        "cluster": torch.cat([random(300) * 1e-4, random(300, 1) * 100, random(300, 2) * 1e-3 + 7]),
        "scales": torch.cartesian_prod(scales, torch.tensor([0.0, 1.0]), torch.tensor([0.5])),
        "same": torch.full((600, 3), 0.1),
        "pairs": random(300).repeat(2, 1),
        "lattice": lattice(8),
        "extreme": torch.cat([random(300), (random(40) - 0.5) * 3e38 * 1.9, random(40) * 1e-40]),
    }


@pytest.mark.parametrize(
    "name, k", [*((name, k) for name in shapes() for k in (1, 16)), ("lattice", 3), ("lattice", 40)]
)
def test_self_search(search, name, k):
    points = shapes()[name]
    bounds = [0, len(points)]
    assert_exact(search, points, bounds, points, bounds, k)


@pytest.mark.parametrize("name", shapes())
def test_other_queries(search, name):
    points = shapes()[name]
    middle, size = points[0], (points[:300].max(0).values - points[:300].min(0).values).max()
    queries = torch.cat([points[::7] * 0.9, middle + (random(60, 3) - 0.5) * 4 * size, random(40)])
    assert_exact(search, points, [0, len(points)], queries, [0, len(queries)], 5)


@pytest.mark.parametrize("k, radius", [(1, None), (4, 0.2), (7, None), (64, 0.3)])
def test_ragged_clouds(search, k, radius):
    """Of unequal size, empty on either side or both, of one point, smaller than k."""
    sizes = [300, 0, 1, 37, 0, 5, 900, 40]
    asked = [50, 20, 3, 0, 0, 70, 300, 1]
    bounds, ends = ([0, *np.cumsum(s).tolist()] for s in (sizes, asked))
    assert_exact(search, random(bounds[-1]), bounds, random(ends[-1], 1), ends, k, radius)
    points = random(bounds[-1], 2)
    assert_exact(search, points, bounds, points, bounds, k, radius)


def test_many_small_clouds(search):
    bounds = list(range(0, 1201, 3))
    assert_exact(search, lattice(11)[:1200], bounds, lattice(11)[:1200], bounds, 4)


def test_nothing(search):
    none, some = torch.empty(0, 3), random(5)
    assert_exact(search, none, [0, 0], some, [0, 5], 3)
    assert_exact(search, some, [0, 5], none, [0, 0], 3)
    assert_exact(search, none, [0], none, [0], 2)


def test_the_radius_is_inclusive_at_exact_ties(search):
    points = lattice(6)
    bounds = [0, len(points)]
    for radius in (0.0, 0.25, 0.5, float(np.nextafter(np.float32(0.25), np.float32(0)))):
        assert_exact(search, points, bounds, points, bounds, 20, radius)
    table, _ = search(points, torch.tensor(bounds), points, torch.tensor(bounds), 8, 0.25)
    assert int((table >= 0).sum(0).max()) == 7


def test_radii_are_rounded_before_they_are_squared(search):
    points = random(400) * 3
    bounds = [0, len(points)]
    for radius in (0.1, 1 / 3, 1e-30, 1e30, float("inf")):
        assert_exact(search, points, bounds, points, bounds, 30, radius)
    edge = torch.tensor([[0.0, 0, 0], [0.1, 0, 0]])
    table, _ = search(edge, torch.tensor([0, 2]), edge, torch.tensor([0, 2]), 2, 0.1)
    assert table.tolist() == [[0, 1], [1, 0]]


def test_products_are_not_fused(search):
    """Distances whose order a fused multiplication and addition would change."""
    points = random(3000, 4) * 7.3
    queries = random(200, 5) * 7.3
    assert_exact(search, points, [0, 3000], queries, [0, 200], 60)


def test_rows_may_stand_in_any_order(search):
    points, queries = random(500), random(200, 1)
    order = torch.randperm(500, generator=torch.Generator().manual_seed(2))
    offsets = torch.tensor([0, 500]), torch.tensor([0, 200])
    table, squared = search(points, offsets[0], queries, offsets[1], 6)
    shuffled = search(points[order], offsets[0], queries, offsets[1], 6)
    assert torch.equal(order[shuffled[0].long()], table.long())
    assert torch.equal(shuffled[1], squared)


def test_batch_mates_do_not_matter(search):
    clouds = [random(n, n) * scale for n, scale in ((400, 1.0), (150, 500.0), (33, 1e-3))]
    bounds = [0, 400, 550, 583]
    table, squared = search(
        torch.cat(clouds), torch.tensor(bounds), torch.cat(clouds), torch.tensor(bounds), 5
    )
    for cloud, points in enumerate(clouds):
        alone = search(
            points, torch.tensor([0, len(points)]), points, torch.tensor([0, len(points)]), 5
        )
        rows = slice(bounds[cloud], bounds[cloud + 1])
        assert torch.equal(table[:, rows] - bounds[cloud], alone[0])
        assert torch.equal(squared[:, rows], alone[1])


def test_arguments_need_not_be_contiguous(search):
    points, queries = random(300).T.contiguous().T, torch.rand(100, 6)[:, ::2]
    bounds = torch.tensor([0, 9, 200, 9, 300])[::2]
    asked = torch.tensor([[0, 1], [60, 1], [100, 1]])[:, 0]
    found = search(points, bounds, queries, asked, 3)
    expected = brute_force(points, [0, 200, 300], queries, [0, 60, 100], 3, None)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@lru_cache
def many() -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Points, queries, and what the reference finds."""
    points = torch.cat(
        [random(6000), random(6000, 1) * torch.tensor([1.0, 1, 0]), random(900) / 50]
    )
    queries = random(3000, 2) * 1.2
    sizes = torch.tensor([0, len(points)]), torch.tensor([0, len(queries)])
    return points, queries, reference(points, sizes[0], queries, sizes[1], 9)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("isa", ISAS)
def test_scipy_and_threads(isa, threads):
    """Enough points for several levels of boxes and many tasks."""
    points, queries, expected = many()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        sizes = torch.tensor([0, len(points)]), torch.tensor([0, len(queries)])
        table, squared = kernel(isa)(points, sizes[0], queries, sizes[1], 9)
    finally:
        torch.set_num_threads(before)
    tree = pytest.importorskip("scipy.spatial").cKDTree(points.double().numpy())
    distance, rows = tree.query(queries.double().numpy(), 9)
    np.testing.assert_allclose(squared.T.numpy(), distance**2, rtol=1e-5, atol=1e-12)
    assert (table.T.numpy() == rows).mean() > 0.999
    assert torch.equal(table, expected[0]) and torch.equal(squared, expected[1])


def test_float64_is_searched_in_float64():
    points = random(200).double() + torch.rand(200, 3, dtype=torch.float64) * 1e-9
    expected = brute_force(points, [0, 200], points, [0, 200], 4, 0.1)
    bounds = torch.tensor([0, 200])
    found = nearest_neighbors(points, bounds, points, bounds, 4, 0.1)
    assert found[1].dtype == torch.float64
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("isa", ISAS)
def test_a_hundred_thousand_duplicates(isa):
    """Every query descends to the smallest rows alone; a quadratic search takes minutes."""
    num = 100_000
    points, bounds = torch.full((num, 3), 3.7), torch.tensor([0, num])
    table, squared = kernel(isa)(points, bounds, points, bounds, 16)
    assert torch.equal(table, torch.arange(16, dtype=torch.int32).unsqueeze(1).expand(16, num))
    assert not squared.any()


def test_an_outlier_does_not_spoil_the_order():
    """A room in one cell of the grid over everything gets a grid of its own."""
    points = torch.cat([random(40_000), torch.tensor([[1e30, 0, 0], [0, 1e12, 0]])])
    bounds = torch.tensor([0, len(points)])
    order, bad = cpu._order(library_of(ISAS[0]), points, bounds)
    assert bad == 0 and torch.equal(order.sort().values, torch.arange(len(points)).int())
    steps = points[order.long()][:40_000].diff(dim=0).norm(dim=1)
    assert float(steps.median()) < 0.05


def test_coordinates_that_are_not_finite():
    bounds = torch.tensor([0, 50])
    points, queries = random(50), random(50, 1)
    points[3, 1], points[40, 2], queries[7, 0] = torch.nan, torch.inf, -torch.inf
    for isa in ("reference", ISAS[0]):
        with (
            serving(isa),
            pytest.raises(ValueError, match="2 points and 1 queries have coordinates that are not"),
        ):
            nearest_neighbors(points, bounds, queries, bounds, 3)
    for order in (ASCENDING, DESCENDING):
        found = emulated(order)(points, bounds, queries, bounds, 48)
        expected = brute_force(points, [0, 50], queries, [0, 50], 48, None)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        assert (found[0][:, 7] == -1).all() and found[0].max() == 49
    nowhere = torch.full((50, 3), torch.nan)
    assert (emulated(ASCENDING)(nowhere, bounds, queries, bounds, 3)[0] == -1).all()


BAD_OFFSETS = [[0, 30, 20, 50], [1, 20, 30, 50], [0, 20, 30, 49], [0, 20, 30, 51], [0, -7, 60, 50]]


@pytest.mark.parametrize("bounds", [*BAD_OFFSETS, [-(2**62), 2**62, 0, 50]])
def test_offsets_that_do_not_fit(bounds):
    points, good = random(50), torch.tensor([0, 20, 30, 50])
    bad = torch.tensor(bounds)
    for name, args in (
        ("point_offsets", (points, bad, points, good)),
        ("query_offsets", (points, good, points, bad)),
    ):
        for isa in ("reference", ISAS[0]):
            with serving(isa), pytest.raises(ValueError, match=f"{name} must ascend from 0 to"):
                nearest_neighbors(*args, 3)
        gpu = EmulatedGpu()
        gpu.raise_complaints = lambda: None  # a GPU goes on
        table, _ = cuda.nearest_neighbors(gpu, *args, 3, None)
        assert table.min() >= -1 and table.max() < 50
        with pytest.raises(ValueError, match=f"{name} must ascend from 0 to"):
            EmulatedGpu.raise_complaints(gpu)


@pytest.mark.parametrize(
    "change, text",
    [
        ({"points": torch.rand(5, 2)}, "points must be"),
        ({"points": torch.rand(5, 3).half()}, "float16"),
        ({"queries": torch.rand(5, 3).double()}, "queries must be"),
        ({"queries": torch.rand(3)}, "queries must be"),
        ({"point_offsets": torch.tensor([0, 5], dtype=torch.int32)}, "point_offsets must be"),
        ({"query_offsets": torch.tensor([0, 2, 5])}, "got 1 and 2 clouds"),
        ({"query_offsets": torch.empty(0, dtype=torch.int64)}, "query_offsets must be"),
        ({"k": 0}, "k must be at least 1; got 0"),
        ({"radius": -1.0}, "got -1.0"),
        ({"radius": float("nan")}, "got nan"),
    ],
)
def test_wrong_arguments(change, text):
    bounds = torch.tensor([0, 5])
    good = {"points": random(5), "point_offsets": bounds, "queries": random(5), "k": 2}
    with pytest.raises(ValueError, match=text):
        nearest_neighbors(**{**good, "query_offsets": bounds, **change})


def test_more_neighbors_than_a_thread_keeps():
    points, bounds = random(80), torch.tensor([0, 80])
    assert cuda.nearest_neighbors(EmulatedGpu(), points, bounds, points, bounds, 65, None) is None
    assert_exact(kernel(ISAS[-1]), points, [0, 80], points, [0, 80], 200)


def test_nothing_flows_back():
    points = random(9).requires_grad_()
    bounds = torch.tensor([0, 9])
    table, squared = nearest_neighbors(points, bounds, points, bounds, 2)
    assert not table.requires_grad and not squared.requires_grad


def test_compiles():
    def both(points: Tensor, queries: Tensor, bounds: Tensor, asked: Tensor) -> Tensor:
        table, squared = nearest_neighbors(points, bounds, queries, asked, 3, 0.5)
        return torch.where(table >= 0, squared, 0).sum(0) + points.sum() + queries.sum()

    def args(num: int) -> tuple[Tensor, ...]:
        return random(num), random(num + 9, 1), torch.tensor([0, num]), torch.tensor([0, num + 9])

    check_compiled(both, args(20), args(31))
    torch.library.opcheck(
        torch.ops.pc3d.nearest_neighbors.default,
        (random(9), torch.tensor([0, 9]), random(4), torch.tensor([0, 4]), 2, None),
    )


def test_the_limit_is_the_square_in_float32():
    for radius in (0.1, 1e-3, 7.3, 1e19):
        expected = float(np.square(np.float32(radius)))
        assert op.squared_limit(radius, torch.float32) == expected
    assert op.squared_limit(1e30, torch.float32) == torch.finfo(torch.float32).max
