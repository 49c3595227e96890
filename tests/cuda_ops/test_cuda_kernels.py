"""Every CUDA kernel, run thread by thread on the CPU, against the reference in float64."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from torch import Tensor

import cuda_ops
from cuda_ops.codebook_attention import cuda as attention_cuda
from cuda_ops.codebook_attention import op as attention_op
from cuda_ops.devoxelize import cuda as devoxelize_cuda
from cuda_ops.devoxelize import op as devoxelize_op
from cuda_ops.farthest_points import cuda as farthest_cuda
from cuda_ops.farthest_points import op as farthest_op
from cuda_ops.morton import cuda as morton_cuda
from cuda_ops.neighbor_attention import cuda as neighbor_cuda
from cuda_ops.neighbor_attention import op as neighbor_op
from cuda_ops.neighbor_table import cuda as table_cuda
from cuda_ops.neighbor_table import op as table_op
from cuda_ops.voxelize import cuda as voxelize_cuda
from cuda_ops.voxelize import op as voxelize_op
from tests import oracle
from tests.attack import WIDE, asymmetric, strided
from tests.cuda_ops.emulation.gpu import ASCENDING, DESCENDING, EmulatedGpu
from tests.test_waiting import NoWaiting

HALF = [torch.float16, torch.bfloat16]
SCALARS = [torch.float32, *HALF]
WIDTHS = [(1, 1), (12, 3), (24, 3), (40, 1), (64, 8)]
"""Channels and groups: threads read 1, 4 and 8 channels of them, whole and odd numbers of times."""


@pytest.fixture(params=[ASCENDING, DESCENDING], ids=["ascending", "descending"])
def gpu(request: pytest.FixtureRequest) -> EmulatedGpu:
    return EmulatedGpu(request.param)


def keys_of(name: str) -> Tensor:
    if name == "many":  # more rows than a block of threads, and than a chunk of gradients
        generator = torch.Generator().manual_seed(5)
        xyz = torch.randint(-20, 24, (2500, 4), generator=generator, dtype=torch.int32)
        xyz[:, 0], xyz[:, 3] = xyz[:, 0] % 2, xyz[:, 3] // 8
        return cuda_ops.voxelize(cuda_ops.morton_encode(xyz))[0]
    if name == "dense":  # blocks of 4 x 4 x 4 without a gap
        cube = torch.cartesian_prod(torch.zeros(1).long(), *[torch.arange(-4, 5)] * 3).int()
        return cuda_ops.voxelize(cuda_ops.morton_encode(cube))[0]
    return torch.tensor([oracle.key(row) for row in WIDE[name].rows], dtype=torch.int64)


NAMES = [*WIDE, "dense", "many"]


def offsets_of(size: int, dilation: int = 1, shape: str = "cube") -> Tensor:
    return torch.tensor(oracle.offsets(size, dilation, shape), dtype=torch.int32)


@lru_cache
def table_of(name: str, size: int = 3, dilation: int = 1, shape: str = "cube") -> Tensor:
    return table_op.reference_neighbor_table(keys_of(name), offsets_of(size, dilation, shape))


def assert_near(result: Tensor, expected: Tensor, terms: int, scalar: torch.dtype) -> None:
    """Within what summing `terms` products in float32 and rounding once may be off."""
    assert result.shape == expected.shape
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    bound = 4 * torch.finfo(torch.float32).eps * (terms + 8) * max(scale, 1.0)
    if result.dtype != torch.float32:
        bound += torch.finfo(scalar).eps * scale
    assert float((result.double() - expected).abs().max() if expected.numel() else 0) <= bound


@pytest.mark.parametrize("name", NAMES)
def test_keys(gpu, name):
    keys = keys_of(name)
    indices = cuda_ops.morton_decode(keys)
    assert torch.equal(morton_cuda.decode(gpu, keys), indices)
    assert torch.equal(morton_cuda.encode(gpu, strided(indices)), keys)


@pytest.mark.parametrize(
    "place, value", [(0, 512), (0, -1), (1, 130049), (2, -130049), (3, 2**31 - 1)]
)
def test_what_does_not_fit_a_key_is_refused(gpu, place, value):
    indices = torch.zeros(300, 4, dtype=torch.int32)
    indices[270, place] = value
    assert morton_cuda.encode(gpu, indices) is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "size, dilation, shape",
    [(1, 1, "cube"), (3, 1, "cube"), (3, 3, "cross"), (5, 511, "cube"), (3, 1023, "cube")],
)
def test_neighbor_table(gpu, name, size, dilation, shape):
    keys, offsets = keys_of(name), offsets_of(size, dilation, shape)
    found = table_cuda.neighbor_table(gpu, strided(keys), offsets)
    assert torch.equal(found, table_of(name, size, dilation, shape))


@pytest.mark.parametrize("name", NAMES)
def test_lookup(gpu, name):
    keys = keys_of(name)
    queries = torch.stack([keys, keys + 1, keys ^ 64])
    expected = table_op.reference_lookup(keys, queries)
    assert torch.equal(table_cuda.lookup(gpu, keys, queries), expected)


@pytest.mark.parametrize("name", NAMES)
def test_down_table_and_level_sizes(gpu, name):
    keys = keys_of(name)
    sizes = table_op.reference_level_sizes(keys, 18)
    assert torch.equal(table_cuda.level_sizes(gpu, keys, 18), sizes)
    assert torch.equal(table_cuda.level_sizes(gpu, keys, 5), sizes[:5])
    expected = table_op.reference_down_table(keys, None)
    for size in (None, int(sizes[1])):
        found = table_cuda.down_table(gpu, keys, size)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_keys_that_are_not_ascending_are_refused(gpu):
    for keys in (torch.tensor([3, 2]), torch.tensor([2, 2])):
        with pytest.raises(ValueError, match="ascending and unique"):
            table_cuda.neighbor_table(gpu, keys, offsets_of(1))
        with pytest.raises(ValueError, match="ascending and unique"):
            table_cuda.down_table(gpu, keys, None)


@pytest.mark.parametrize("name", NAMES)
def test_voxelize(gpu, name):
    keys = keys_of(name)
    order = torch.randperm(3 * len(keys), generator=torch.Generator().manual_seed(0))
    points = keys.repeat(3)[order]
    expected = voxelize_op.reference_voxelize(points)
    found = voxelize_cuda.voxelize(gpu, points)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    _, point2voxel, counts = expected
    chosen = (point2voxel, order, len(counts))
    first = voxelize_cuda.voxel_representative(gpu, *chosen)
    assert torch.equal(first, voxelize_op.reference_voxel_representative(*chosen))


@pytest.mark.parametrize("scalar", SCALARS)
@pytest.mark.parametrize("channels, _", WIDTHS)
def test_voxel_mean(gpu, channels, _, scalar):
    counts = torch.tensor([1, 7, 2, 1])
    point2voxel = torch.repeat_interleave(torch.arange(4), counts).flip(0)
    feats = asymmetric(len(point2voxel), channels).to(scalar)
    mean = voxelize_cuda.voxel_mean(gpu, strided(feats), point2voxel, counts)
    expected = voxelize_op.reference_voxel_mean(feats.double(), point2voxel, counts)
    assert mean.dtype == scalar
    assert_near(mean, expected, 7, scalar)


@pytest.mark.parametrize("name", ["two", "many", "none", "extremes"])
def test_trilinear(gpu, name):
    keys = keys_of(name)
    indices = cuda_ops.morton_decode(keys)
    generator = torch.Generator().manual_seed(1)
    position = indices[:, 1:] + torch.rand(len(keys), 3, generator=generator)
    position = torch.cat([position, torch.full((3, 3), 900.0)])
    batch = torch.cat([indices[:, 0], indices.new_zeros(3)]).long()
    index, weight = devoxelize_cuda.trilinear(gpu, keys, batch, position)
    expected = devoxelize_op.reference_trilinear(keys, batch, position)
    assert torch.equal(index, expected[0])
    torch.testing.assert_close(weight, expected[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scalar", SCALARS)
@pytest.mark.parametrize("channels, _", WIDTHS)
def test_devoxelize(gpu, channels, _, scalar):
    index = torch.arange(8 * 50, dtype=torch.int32).reshape(8, 50) * 7 % 24 - 3
    index = index.clamp(min=-1)
    weight = asymmetric(8, 50, dtype=torch.float32)
    x, grad = asymmetric(21, channels).to(scalar), asymmetric(50, channels, seed=1).to(scalar)
    y = devoxelize_cuda.devoxelize(gpu, strided(x), strided(index), strided(weight))
    assert y.dtype == scalar
    wide = weight.double()
    expected = devoxelize_op.reference_devoxelize(x.double(), index, wide)
    assert_near(y, expected, 8, scalar)
    x_grad = devoxelize_cuda.devoxelize_grad(gpu, strided(grad), index, weight, 21)
    expected = devoxelize_op.reference_devoxelize_grad(grad.double(), index, wide, 21)
    assert x_grad.dtype == scalar
    assert_near(x_grad, expected, 30, scalar)


def attention_args(
    name: str, channels: int, groups: int, scalar: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    tables = [table_of(name), table_of(name, 1), table_of(name, 3, 2, "cross")]
    num = tables[0].shape[1]
    v = asymmetric(num, channels).to(scalar)
    choice = asymmetric(num, len(tables), groups, seed=1).float()
    codes = asymmetric(sum(map(len, tables)), channels, seed=2).float()
    return v, choice, codes, tables


@pytest.mark.parametrize("scalar", SCALARS)
@pytest.mark.parametrize("channels, groups", WIDTHS)
@pytest.mark.parametrize("name", ["two", "none", "one voxel"])
def test_codebook_attention(gpu, name, channels, groups, scalar):
    v, choice, codes, tables = attention_args(name, channels, groups, scalar)
    grad = asymmetric(len(v), channels, seed=3).to(scalar)
    for mixed in (choice, None):
        low = (strided(v), mixed, strided(codes), [strided(t) for t in tables])
        wide = (v.double(), None if mixed is None else mixed.double(), codes.double(), tables)
        y = attention_cuda.codebook_attention(gpu, *low)
        assert y.dtype == scalar
        expected = attention_op.reference_codebook_attention(*wide)
        assert_near(y, expected, 35, scalar)
        v_grad = attention_cuda.grad_v(gpu, grad, *low[1:])
        expected = attention_op.reference_grad_v(grad.double(), *wide[1:])
        assert_near(v_grad, expected, 35, scalar)
        found = attention_cuda.grad_codes(gpu, *low, grad)
        expected = attention_op.reference_grad_codes(*wide, grad.double())
        for got, want in zip(found, expected, strict=True):
            assert got.dtype == torch.float32
            assert_near(got, want, 35 * len(v), scalar)


@pytest.mark.parametrize("channels", [8, 264])
def test_gradients_of_codes_over_several_chunks_and_tiles(gpu, channels, monkeypatch):
    """264 channels, one at a time, are more than a block of threads has."""
    monkeypatch.setattr(attention_cuda, "MIN_CHUNK_ROWS", 100)
    v, choice, codes, tables = attention_args("many", channels, channels // 8, torch.float32)
    v = torch.cat([v[:1], v]).flatten()[channels:].view_as(v)
    grad = asymmetric(*v.shape, seed=3).float()
    if channels == 264:  # not at a multiple of 16 bytes
        grad = torch.cat([grad.new_zeros(1), grad.flatten()])[1:].view_as(grad)
        assert grad.data_ptr() % 16
    found = attention_cuda.grad_codes(gpu, v, choice, codes, tables, grad)
    wide = (v.double(), choice.double(), codes.double(), tables, grad.double())
    for got, want in zip(found, attention_op.reference_grad_codes(*wide), strict=True):
        assert_near(got, want, len(v), torch.float32)


@pytest.mark.parametrize("scalar", SCALARS)
@pytest.mark.parametrize("channels, groups", WIDTHS)
def test_routed_codebook_attention(gpu, channels, groups, scalar):
    v, choice, codes, tables = attention_args("two", channels, groups, scalar)
    chosen = choice.argmax(dim=1)
    y = attention_cuda.routed(gpu, v, chosen, codes, tables)
    expected = attention_op.reference_routed(v.double(), chosen, codes.double(), tables)
    assert_near(y, expected, 27, scalar)


@pytest.mark.parametrize("scalar", SCALARS)
@pytest.mark.parametrize("channels, heads", WIDTHS)
@pytest.mark.parametrize("name", ["two", "none"])
def test_neighbor_attention(gpu, name, channels, heads, scalar):
    table = table_of(name)
    num = table.shape[1]
    q, k = (asymmetric(num, channels, seed=seed).to(scalar) for seed in (0, 1))
    weights = asymmetric(num, 27, heads, seed=2).float()
    dots = neighbor_cuda.neighbor_dot(gpu, strided(q), strided(k), strided(table), heads)
    expected = neighbor_op.reference_dot(q.double(), k.double(), table, heads)
    assert dots.dtype == torch.float32
    assert_near(dots, expected, channels, scalar)
    y = neighbor_cuda.neighbor_sum(gpu, strided(weights), strided(k), table)
    assert y.dtype == scalar
    assert_near(y, neighbor_op.reference_sum(weights.double(), k.double(), table), 27, scalar)
    back = neighbor_cuda.neighbor_transpose(gpu, strided(weights), table)
    assert torch.equal(back, neighbor_op.reference_transpose(weights, table))


FARTHEST = {
    "random": lambda num: torch.randn(num, 3, generator=torch.Generator().manual_seed(0)),
    "lattice": lambda num: torch.arange(3 * num).reshape(num, 3).mul(7).remainder(5).float(),
    "one place": lambda num: torch.full((num, 3), 0.3),
    "differences overflow": lambda num: (torch.arange(3 * num) % 7 - 3).reshape(num, 3) * 1.1e38,
}


@pytest.mark.parametrize("name", FARTHEST)
def test_farthest_points(gpu, name):
    """Clouds below and above a block of threads, empty ones, and all points of some."""
    offsets, counts = torch.tensor([0, 0, 700, 701, 703, 703, 960]), [0, 60, 1, 2, 0, 257]
    points = FARTHEST[name](960)
    rows = farthest_cuda.farthest_points(gpu, strided(points), strided(offsets), counts)
    assert torch.equal(rows, farthest_op.reference_farthest_points(points, offsets, counts))


def test_farthest_points_of_nothing(gpu):
    none = torch.empty(0, 3)
    for offsets, counts in (([0], []), ([0, 0, 0], [0, 0])):
        assert farthest_cuda.farthest_points(gpu, none, torch.tensor(offsets), counts).shape == (0,)


@pytest.mark.parametrize(
    "offsets, counts",
    [
        ([1, 300], [3]),
        ([0, 299], [3]),
        ([0, 301], [3]),
        ([0, 2**62, 300], [3, 3]),
        ([0, -(2**62), 300], [3, 3]),
        ([0, 200, 100, 300], [3, 3, 3]),
        ([0, 2, 300], [3, 3]),
    ],
)
def test_sizes_of_clouds_that_do_not_fit_are_reported(gpu, offsets, counts):
    """Nothing is read or written out of range, and rows that cannot be given are -1."""
    points, kept = FARTHEST["random"](300), []
    gpu.raise_complaints = lambda: kept.append(gpu._flags.count_nonzero().item())
    rows = farthest_cuda.farthest_points(gpu, points, torch.tensor(offsets), counts)
    assert kept == [1] and len(rows) == sum(counts)
    assert ((rows >= -1) & (rows < 300)).all()
    del gpu.raise_complaints
    with pytest.raises(ValueError, match="offsets do not ascend"):
        gpu.raise_complaints()
    with pytest.raises(ValueError, match="at least 0; got"):
        farthest_cuda.farthest_points(gpu, points, torch.tensor([0, 300]), [-1])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_points_that_are_not_finite_are_reported_and_picked_last(gpu, bad):
    points = FARTHEST["random"](300)
    places = [0, 17, 299]
    points[places, torch.arange(3)] = bad
    good = torch.ones(300, dtype=torch.bool).index_fill(0, torch.tensor(places), False)
    gpu.raise_complaints = lambda: None
    rows = farthest_cuda.farthest_points(gpu, points, torch.tensor([0, 300]), [300])
    among = farthest_op.reference_farthest_points(points[good], torch.tensor([0, 297]), [297])
    assert torch.equal(rows, torch.cat([good.nonzero().squeeze(1)[among], torch.tensor(places)]))
    del gpu.raise_complaints
    with pytest.raises(ValueError, match="NaN or infinite"):
        gpu.raise_complaints()


def test_rows_that_are_not_there_are_reported_and_not_read(gpu):
    table = torch.zeros(1, 300, dtype=torch.int32)
    table[0, 299] = 300
    x, codes = torch.ones(300, 4), torch.ones(1, 4)
    calls = [
        lambda: attention_cuda.codebook_attention(gpu, x, None, codes, [table]),
        lambda: attention_cuda.grad_codes(gpu, x, None, codes, [table], x),
        lambda: neighbor_cuda.neighbor_dot(gpu, x, x, table, 1),
        lambda: neighbor_cuda.neighbor_sum(gpu, torch.ones(300, 1, 1), x, table),
        lambda: neighbor_cuda.neighbor_transpose(gpu, torch.ones(300, 1, 1), table),
        lambda: devoxelize_cuda.devoxelize(gpu, x, table, torch.ones(1, 300)),
    ]
    for call in calls:
        with pytest.raises(IndexError, match="names rows"):
            call()
    chosen = torch.full((300, 1), 1)
    with pytest.raises(ValueError, match=r"codes in \[0, D\)"):
        attention_cuda.routed(gpu, x, chosen, codes, [table.clamp(max=0)])
    gpu.raise_complaints()


def test_nothing_that_a_training_step_runs_waits(gpu):
    """The maps of a batch whose sizes are known, and every op with its gradients."""
    keys = keys_of("two")
    size = int(table_op.reference_level_sizes(keys, 2)[1])
    indices = cuda_ops.morton_decode(keys)
    position, batch = indices[:, 1:] + 0.25, indices[:, 0].long()
    v, choice, codes, tables = attention_args("two", 24, 3, torch.float32)
    with NoWaiting():
        table_cuda.neighbor_table(gpu, keys, offsets_of(3))
        coarse, _, _ = table_cuda.down_table(gpu, keys, size)
        morton_cuda.decode(gpu, coarse)
        attention_cuda.codebook_attention(gpu, v, choice, codes, tables)
        attention_cuda.grad_v(gpu, v, choice, codes, tables)
        attention_cuda.grad_codes(gpu, v, choice, codes, tables, v)
        dots = neighbor_cuda.neighbor_dot(gpu, v, v, tables[0], 3)
        neighbor_cuda.neighbor_sum(gpu, dots, v, tables[0])
        neighbor_cuda.neighbor_transpose(gpu, dots, tables[0])
        index, weight = devoxelize_cuda.trilinear(gpu, keys, batch, position)
        devoxelize_cuda.devoxelize(gpu, v, index, weight)
        devoxelize_cuda.devoxelize_grad(gpu, v, index, weight, len(keys))
        voxelize_cuda.voxel_mean(gpu, v, batch * 0, torch.tensor([len(v)]))
        farthest_cuda.farthest_points(gpu, position, torch.tensor([0, len(position)]), [5])


@pytest.mark.parametrize("scalar", HALF)
def test_rounding_is_to_nearest_and_ties_go_to_even(gpu, scalar):
    half = torch.finfo(scalar).eps / 2
    ties = [1 + half, 1 + 3 * half, -1 - half, 1 + half * (1 + 2**-10), 1 + half * (1 - 2**-10)]
    special = [0.0, -0.0, torch.inf, -torch.inf, torch.nan, 3e-40, 1e-6, 65519.0, 65520.0, 3.39e38]
    values = torch.tensor([*ties, *special])
    table = torch.arange(len(values), dtype=torch.int32).unsqueeze(0)
    ones = torch.ones(len(values), 1, dtype=scalar)
    found = neighbor_cuda.neighbor_sum(gpu, values.view(-1, 1, 1), ones, table).flatten()
    torch.testing.assert_close(found, values.to(scalar), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("bad", [-1, 3])
def test_points_of_voxels_that_are_not_there_are_reported(gpu, bad):
    point2voxel = torch.tensor([0, bad, 2, 1])
    with pytest.raises(IndexError, match="point2voxel"):
        voxelize_cuda.voxel_representative(gpu, point2voxel, torch.arange(4), 3)
