"""Farthest point sampling against brute force in numpy, on clouds that are hard to get right."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
import torch
from torch import Tensor

import cuda_ops
from cuda_ops.farthest_points import cpu
from cuda_ops.farthest_points.op import reference_farthest_points
from cuda_ops.runtime import serving
from tests.attack import DEVICES, DTYPES, strided
from tests.cuda_ops.kernels import ISAS, library_of


def brute_force(points: np.ndarray, num_samples: int) -> list[int]:
    """Every distance to every pick, by the definition; numpy rounds every operation."""
    rows: list[int] = []
    nearest = np.full(len(points), np.inf, dtype=points.dtype)
    for _ in range(num_samples):
        left = np.setdiff1d(np.arange(len(points)), rows)
        row = int(left[np.argmax(nearest[left])])
        rows.append(row)
        with np.errstate(over="ignore"):
            dx, dy, dz = (points - points[row]).T
            nearest = np.minimum(nearest, (dx * dx + dy * dy) + dz * dz)
    return rows


def oracle(points: Tensor, offsets: list[int], num_samples: list[int]) -> list[int]:
    rows = []
    for cloud, wanted in enumerate(num_samples):
        first, end = offsets[cloud], offsets[cloud + 1]
        rows += [first + row for row in brute_force(points[first:end].numpy(), wanted)]
    return rows


def random_points(num: int, seed: int = 0) -> Tensor:
    return torch.randn(num, 3, generator=torch.Generator().manual_seed(seed))


def lattice(num: int) -> Tensor:
    """Shuffled integers: nearly all distances tie."""
    side = round(num ** (1 / 3)) + 1
    axis = torch.arange(side)
    points = torch.cartesian_prod(axis, axis, axis)
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(1))
    return points[order][:num].float()


def near_ties(num: int) -> Tensor:
    """Two shells whose points are equally far from the centre but for the last bit or none."""
    direction = random_points(num // 2, 3).double()
    shell = direction / direction.norm(dim=1, keepdim=True)
    points = torch.cat([torch.zeros(num - 2 * (num // 2), 3), shell, -shell[:, [1, 2, 0]]])
    return torch.cat([points.new_zeros(1, 3), points])[:num].float()


CLOUDS: dict[str, Callable[[int], Tensor]] = {
    "random": random_points,
    "lattice": lattice,
    "near ties": near_ties,
    "duplicates": lambda num: random_points(max(1, num // 7)).repeat(8, 1)[:num],
    "one place": lambda num: torch.full((num, 3), 0.3),
    "line": lambda num: torch.arange(num).float().flip(0).square().reshape(-1, 1).repeat(1, 3),
    "flat": lambda num: random_points(num) * torch.tensor([1.0, 0.0, 1e-3]),
    "squares overflow": lambda num: random_points(num) * 1e20,
    "differences overflow": lambda num: random_points(num).sign() * 3e38,
    "squares vanish": lambda num: random_points(num) * 1e-23,
    "an outlier": lambda num: torch.cat([random_points(num - 1), torch.full((1, 3), -1e6)]),
    "far away": lambda num: random_points(num) + torch.tensor([6e5, 5e6, 40.0]),
}
SIZES = [(1, 1), (2, 2), (63, 63), (64, 20), (65, 65), (300, 150), (4097, 120), (9000, 130)]
"""Points and samples: below and above a bucket, a group of buckets, and where clouds are sorted."""


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", CLOUDS)
def test_kernels_equal_brute_force(isa, name):
    library = library_of(isa)
    for num, wanted in SIZES:
        points = CLOUDS[name](num)
        rows = cpu.farthest_points(library, points, torch.tensor([0, num]), [wanted])
        assert rows.tolist() == brute_force(points.numpy(), wanted), (num, wanted)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CLOUDS)
def test_the_reference_equals_brute_force(name, dtype, device):
    for num, wanted in ((1, 1), (2, 1), (65, 65), (900, 40)):
        points = CLOUDS[name](num).to(dtype)
        with serving("reference"):
            rows = cuda_ops.farthest_points(
                points.to(device), torch.tensor([0, num], device=device), [wanted]
            )
        assert rows.tolist() == brute_force(points.numpy(), wanted)


OFFSETS = [0, 0, 700, 701, 703, 703, 1200, 6000, 6000]
COUNTS = [0, 150, 1, 2, 0, 0, 101, 0]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_clouds_of_all_sizes(dtype, device):
    """Empty ones, too, at both ends; of one and two points; with and without samples."""
    points = random_points(6000).to(dtype)
    rows = cuda_ops.farthest_points(
        strided(points).to(device), strided(torch.tensor(OFFSETS)).to(device), COUNTS
    )
    assert rows.dtype == torch.int64 and rows.device.type == device
    assert rows.tolist() == oracle(points, OFFSETS, COUNTS)


@pytest.mark.parametrize("device", DEVICES)
def test_no_points_and_no_clouds(device):
    none = torch.empty(0, 3, device=device)
    for offsets, counts in (([0], []), ([0, 0], [0]), ([0, 0, 0], [0, 0])):
        rows = cuda_ops.farthest_points(none, torch.tensor(offsets, device=device), counts)
        assert rows.shape == (0,) and rows.dtype == torch.int64


def test_other_clouds_do_not_matter():
    """A cloud has the same rows alone and among others, before them and after them."""
    cloud, other = random_points(5000, 1), lattice(777) * 0.01
    alone = cuda_ops.farthest_points(cloud, torch.tensor([0, 5000]), [500])
    for first, clouds in ((0, [cloud, other]), (777, [other, cloud, other])):
        offsets = torch.tensor([0, *map(len, clouds)]).cumsum(0)
        counts = [500 if part is cloud else 120 for part in clouds]
        start = counts.index(500) * 120
        rows = cuda_ops.farthest_points(torch.cat(clouds), offsets, counts)
        assert torch.equal(rows[start : start + 500] - first, alone)


@lru_cache
def many() -> tuple[Tensor, Tensor, Tensor]:
    """Several groups of buckets, more samples than groups: a plane with bumps, and noise."""
    points = random_points(30000, 5) * torch.tensor([4.0, 4.0, 0.02])
    points[:, 2] += points[:, 0].sin() * points[:, 1].cos()
    offsets = torch.tensor([0, 9000, 30000])
    return points, offsets, reference_farthest_points(points, offsets, [1500, 3000])


@pytest.mark.parametrize("isa", ISAS)
def test_many_points_equal_the_reference(isa):
    points, offsets, expected = many()
    assert torch.equal(
        cpu.farthest_points(library_of(isa), points, offsets, [1500, 3000]), expected
    )


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ["random", "lattice", "duplicates", "differences overflow"])
def test_all_points_are_picked_once(isa, name):
    num = 10000
    points = CLOUDS[name](num)
    rows = cpu.farthest_points(library_of(isa), points, torch.tensor([0, num]), [num])
    assert torch.equal(rows.sort().values, torch.arange(num))
    fewer = cpu.farthest_points(library_of(isa), points, torch.tensor([0, num]), [num // 3])
    assert torch.equal(rows[: num // 3], fewer)


def test_any_number_of_threads_gives_the_same():
    points = random_points(12000)
    offsets = torch.arange(0, 12001, 1500)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(cuda_ops.farthest_points(points, offsets, [200] * 8))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_picks_are_at_least_as_far_from_each_other_as_all_else_is_from_them():
    """What the samples are for: they cover the cloud, and are apart (Gonzalez 1985)."""
    points = random_points(2000)
    rows = cuda_ops.farthest_points(points, torch.tensor([0, 2000]), [50])
    picks = points[rows].double()
    apart = torch.cdist(picks, picks).fill_diagonal_(torch.inf).min()
    assert torch.cdist(points.double(), picks).min(dim=1).values.max() <= apart * (1 + 1e-6)


@pytest.mark.parametrize("serve", [*ISAS, "reference"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_points_that_are_not_finite_are_counted(serve, bad):
    points, offsets = random_points(500), torch.tensor([0, 500])
    points[3, 1] = points[7, 2] = points[7, 0] = bad
    with pytest.raises(ValueError, match="2 of 500 have NaN or infinite"):
        if serve == "reference":
            reference_farthest_points(points, offsets, [5])
        else:
            cpu.farthest_points(library_of(serve), points, offsets, [5])


@pytest.mark.parametrize("serve", [*ISAS, "reference"])
@pytest.mark.parametrize(
    "offsets, counts, match",
    [
        ([1, 9], [1], "ascend from 0 to the 9"),
        ([0, 8], [1], "ascend from 0 to the 9"),
        ([0, 10], [1], "ascend from 0 to the 9"),
        ([0, 5, 4, 9], [1, 0, 1], "ascend from 0 to the 9"),
        ([0, 2**62, 9], [1, 1], "ascend from 0 to the 9"),
        ([0, -3, 9], [0, 1], "ascend from 0 to the 9"),
        ([0, 4, 9], [1, 6], "got 6 for cloud 1 of 5 points"),
        ([0, 4, 9], [-1, 1], "got -1 for cloud 0 of 4 points"),
        ([0, 4, 4, 9], [1, 1, 1], "got 1 for cloud 1 of 0 points"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(serve, offsets, counts, match):
    points = random_points(9)
    with pytest.raises(ValueError, match=match):
        if serve == "reference":
            reference_farthest_points(points, torch.tensor(offsets), counts)
        else:
            cpu.farthest_points(library_of(serve), points, torch.tensor(offsets), counts)


@pytest.mark.parametrize(
    "points, offsets, counts, match",
    [
        (torch.zeros(9, 2), torch.tensor([0, 9]), [1], r"\[P, 3\]; got \[9, 2\]"),
        (torch.zeros(27), torch.tensor([0, 9]), [1], r"\[P, 3\]; got \[27\]"),
        (torch.zeros(9, 3).half(), torch.tensor([0, 9]), [1], "float16"),
        (torch.zeros(9, 3).long(), torch.tensor([0, 9]), [1], "int64"),
        (torch.zeros(9, 3), torch.tensor([0, 9]).int(), [1], r"\[2\] torch.int32"),
        (torch.zeros(9, 3), torch.tensor([[0, 9]]), [1], r"\[1, 2\] torch.int64"),
        (torch.zeros(9, 3), torch.tensor([]).long(), [], r"\[0\] torch.int64"),
        (torch.zeros(9, 3), torch.tensor([0, 4, 9]), [1], "2 clouds that offsets tells; got 1"),
    ],
)
def test_shapes_and_types_that_do_not_fit_are_refused(points, offsets, counts, match):
    with pytest.raises(ValueError, match=match):
        cuda_ops.farthest_points(points, offsets, counts)


def test_it_has_no_gradient_and_asks_for_none():
    points = random_points(40).requires_grad_()
    rows = cuda_ops.farthest_points(points, torch.tensor([0, 40]), [5])
    assert not rows.requires_grad
    assert torch.equal(rows, cuda_ops.farthest_points(points.detach(), torch.tensor([0, 40]), [5]))


def test_it_compiles_with_sizes_that_vary():
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda points, offsets, counts: points[cuda_ops.farthest_points(points, offsets, counts)],
        fullgraph=True,
        dynamic=True,
        backend="aot_eager",
    )
    for number, (num, counts) in enumerate(((50, [5, 7]), (90, [11, 6]))):
        points, offsets = random_points(num), torch.tensor([0, num // 2, num])
        with torch._dynamo.config.patch(error_on_recompile=number > 0):
            found = compiled(points, offsets, counts)
        expected = points[oracle(points, offsets.tolist(), counts)]
        assert torch.equal(found, expected)
