"""Every C++ kernel, for every instruction set, against the reference in float64."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from torch import Tensor

import cuda_ops
from cuda_ops.codebook_attention import cpu as attention_cpu
from cuda_ops.codebook_attention import op as attention_op
from cuda_ops.devoxelize import cpu as devoxelize_cpu
from cuda_ops.devoxelize import op as devoxelize_op
from cuda_ops.farthest_points import cpu as farthest_cpu
from cuda_ops.morton import cpu as morton_cpu
from cuda_ops.neighbor_attention import cpu as neighbor_cpu
from cuda_ops.neighbor_attention import op as neighbor_op
from cuda_ops.neighbor_table import cpu as table_cpu
from cuda_ops.neighbor_table.op import (
    reference_down_table,
    reference_lookup,
    reference_neighbor_table,
)
from cuda_ops.runtime import CpuLibrary, serving
from cuda_ops.sparse_conv import cpu as conv_cpu
from cuda_ops.sparse_conv.op import reference_sparse_conv, reference_weight_grad
from cuda_ops.voxelize import cpu as voxelize_cpu
from cuda_ops.voxelize.op import reference_voxel_mean, reference_voxelize
from tests import oracle
from tests.attack import WIDE, assert_sums, asymmetric, strided
from tests.cuda_ops.kernels import ISAS, library_of

# Below, at and above the widths of vectors, panels, blocks, the narrow kernel and the inner block.
WIDTHS = [(1, 1), (3, 7), (4, 32), (6, 33), (8, 8), (9, 16), (13, 24), (31, 40), (32, 32), (64, 72)]
WIDE_WIDTHS = [(96, 8), (200, 20), (384, 5)]
KERNELS = [(1, 1, "cube"), (3, 1, "cube"), (3, 3, "cross"), (5, 1, "cube"), (5, 3, "cube")]


@pytest.fixture(params=ISAS)
def library(request: pytest.FixtureRequest) -> CpuLibrary:
    return library_of(request.param)


def keys_of(name: str) -> Tensor:
    if name == "many":  # more rows than a tile of any kernel, and than a chunk of weight gradients
        generator = torch.Generator().manual_seed(5)
        xyz = torch.randint(-30, 34, (9000, 4), generator=generator, dtype=torch.int32)
        xyz[:, 0], xyz[:, 3] = xyz[:, 0] % 2, xyz[:, 3] // 8
        return cuda_ops.voxelize(cuda_ops.morton_encode(xyz))[0]
    return torch.tensor([oracle.key(row) for row in WIDE[name].rows], dtype=torch.int64)


NAMES = [*WIDE, "many"]


def offsets_of(size: int, dilation: int, shape: str) -> Tensor:
    return torch.tensor(oracle.offsets(size, dilation, shape), dtype=torch.int32)


@lru_cache
def expected_table(name: str, size: int, dilation: int, shape: str) -> Tensor:
    return reference_neighbor_table(keys_of(name), offsets_of(size, dilation, shape))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size, dilation, shape", [*KERNELS, (5, 511, "cube"), (3, 1023, "cube")])
def test_neighbor_table(library, name, size, dilation, shape):
    keys, offsets = keys_of(name), offsets_of(size, dilation, shape)
    expected = expected_table(name, size, dilation, shape)
    assert torch.equal(table_cpu.neighbor_table(library, keys, offsets), expected)


def test_neighbor_table_of_irregular_offsets(library):
    """Taps in any order, one-sided, repeated."""
    offsets = torch.tensor([[4, -9, 1], [0, 0, 0], [0, 0, 0], [-1, 17, 3]], dtype=torch.int32)
    keys = keys_of("many")
    expected = reference_neighbor_table(keys, offsets)
    assert torch.equal(table_cpu.neighbor_table(library, strided(keys), offsets), expected)
    too_many = torch.zeros(126, 3, dtype=torch.int32)
    assert table_cpu.neighbor_table(library, keys, too_many) is None


@pytest.mark.parametrize("name", NAMES)
def test_lookup_and_down_table(library, name):
    keys = keys_of(name)
    queries = torch.cat([keys, keys + 1, keys ^ (1 << 40), torch.tensor([-1, 0, 2**62])])
    assert torch.equal(table_cpu.lookup(library, keys, queries), reference_lookup(keys, queries))
    ours, expected = table_cpu.down_table(library, keys, None), reference_down_table(keys, None)
    assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_morton_and_voxelize(library, name):
    keys = keys_of(name)
    indices = morton_cpu.decode(library, keys)
    assert torch.equal(indices, cuda_ops.morton_decode(keys))
    assert torch.equal(morton_cpu.encode(library, indices), keys)
    points = keys.repeat(3)[torch.randperm(3 * len(keys), generator=torch.Generator())]
    for some in (points, points.sort().values, points[:1], -points):
        ours, expected = voxelize_cpu.voxelize(library, some), reference_voxelize(some)
        assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


def test_encode_tells_what_does_not_fit(library):
    for row in ([0, 130049, 0, 0], [0, 0, 0, -130049], [512, 0, 0, 0], [-1, 0, 0, 0]):
        rows = torch.zeros(20000, 4, dtype=torch.int32)
        rows[-1] = torch.tensor(row)
        assert morton_cpu.encode(library, rows) is None
    with pytest.raises(ValueError, match="130049"):
        cuda_ops.morton_encode(torch.tensor([[0, 130049, 0, 0]], dtype=torch.int32))


@pytest.mark.parametrize("channels", [1, 6, 16, 37])
def test_voxel_mean(library, channels):
    point2voxel = torch.randint(300, (2000,), generator=torch.Generator().manual_seed(1))
    _, point2voxel, counts = torch.unique(point2voxel, return_inverse=True, return_counts=True)
    feats = asymmetric(2000, channels, dtype=torch.float32)
    ours = voxelize_cpu.voxel_mean(library, strided(feats), point2voxel, counts)
    expected, magnitude = (
        reference_voxel_mean(f, point2voxel, counts) for f in (feats.double(), feats.double().abs())
    )
    assert_sums(ours, expected, magnitude, terms=int(counts.max()))


@lru_cache
def conv_maps(name: str) -> list[tuple[Tensor, Tensor | None]]:
    keys = keys_of(name)
    submanifold = reference_neighbor_table(keys, offsets_of(3, 1, "cube"))
    _, down, up = reference_down_table(keys, None)
    return [(submanifold, None), (down, up), (up, down)]


@pytest.mark.parametrize(
    "name, c_in, c_out",
    [
        *(("three, one empty", *widths) for widths in WIDTHS),
        *((name, 6, 33) for name in ("one voxel", "none", "extremes")),
    ],
)
def test_conv_and_its_gradients(library, name, c_in, c_out):
    for table, table_t in conv_maps(name):
        compare_conv(library, table, table_t, c_in, c_out)


@pytest.mark.parametrize("c_in, c_out", [*WIDTHS, *WIDE_WIDTHS])
def test_conv_and_its_gradients_on_many_tiles(library, c_in, c_out):
    for table, table_t in conv_maps("many"):
        compare_conv(library, table, table_t, c_in, c_out)


def compare_conv(
    library: CpuLibrary, table: Tensor, table_t: Tensor | None, c_in: int, c_out: int
) -> None:
    num_in = (table if table_t is None else table_t).shape[1]
    x = asymmetric(num_in, c_in, dtype=torch.float32)
    grad = asymmetric(table.shape[1], c_out, dtype=torch.float32, seed=2)
    weight = asymmetric(len(table), c_out, c_in, dtype=torch.float32, seed=1).transpose(1, 2)
    y = conv_cpu.sparse_conv(library, x, weight, table, table_t)
    wide = [(a.double(), a.double().abs()) for a in (x, weight, grad)]
    expected, magnitude = (
        reference_sparse_conv(wide[0][i], wide[1][i], table, None) for i in (0, 1)
    )
    assert_sums(y, expected, magnitude, terms=len(table) * c_in)
    ours = conv_cpu.weight_grad(library, x, grad, table)
    expected, magnitude = (reference_weight_grad(wide[0][i], wide[2][i], table) for i in (0, 1))
    assert_sums(ours, expected, magnitude, terms=max(1, table.shape[1]))


@pytest.mark.parametrize("channels", [1, 7, 16, 40])
def test_trilinear_and_devoxelize(library, channels):
    keys = keys_of("many")
    generator = torch.Generator().manual_seed(2)
    batch = torch.randint(0, 2, (3000,), generator=generator)
    position = (torch.rand(3000, 3, generator=generator) - 0.5) * torch.tensor([70, 70, 12])
    position[:100] = position[:100].round()  # on the lattice itself
    index, weight = devoxelize_cpu.trilinear(library, keys, batch, position)
    expected = devoxelize_op.reference_trilinear(keys, batch, position)
    assert torch.equal(index, expected[0]) and (index >= 0).any(dim=0).sum() > 500
    torch.testing.assert_close(weight, expected[1], rtol=1e-6, atol=1e-7)

    x = asymmetric(len(keys), channels, dtype=torch.float32)
    grad = asymmetric(3000, channels, dtype=torch.float32, seed=3)
    y = devoxelize_cpu.devoxelize(library, x, index, weight)
    share = weight.double()
    reference = devoxelize_op.reference_devoxelize
    expected = reference(x.double(), index, share)
    assert_sums(y, expected, reference(x.double().abs(), index, share), terms=8)
    x_grad = devoxelize_cpu.devoxelize_grad(library, grad, index, weight, len(keys))
    back = devoxelize_op.reference_devoxelize_grad
    expected = back(grad.double(), index, share, len(keys))
    magnitude = back(grad.double().abs(), index, share, len(keys))
    assert_sums(x_grad, expected, magnitude, terms=100)


ATTENTION = [(3, 2, "cube"), (1, 1, "cube"), (3, 1, "cross"), (5, 1, "cube")]


@pytest.mark.parametrize("name", ["three, one empty", "none", "extremes", "many"])
@pytest.mark.parametrize("channels, groups", [(1, 1), (7, 7), (24, 2), (24, 8), (36, 3), (144, 8)])
def test_codebook_attention_and_its_gradients(library, name, channels, groups):
    tables = [expected_table(name, *shape) for shape in ATTENTION]
    num, num_taps = tables[0].shape[1], sum(map(len, tables))
    v, grad = (asymmetric(num, channels, dtype=torch.float32, seed=s) for s in (0, 1))
    codes = asymmetric(num_taps, channels, dtype=torch.float32, seed=2)
    chosen = torch.arange(num * groups).reshape(num, groups) ** 2 // 3 % len(tables)
    for choice in (asymmetric(num, len(tables), groups, dtype=torch.float32, seed=3), None):
        ours = [
            attention_cpu.codebook_attention(library, v, choice, codes, tables),
            attention_cpu.grad_v(library, grad, choice, codes, tables),
            *attention_cpu.grad_codes(library, v, choice, codes, tables, grad),
            attention_cpu.routed(library, v, chosen, codes, tables),
        ]
        runs = []
        for change in (torch.Tensor.double, lambda a: a.double().abs()):
            wide = [None if a is None else change(a) for a in (v, choice, codes, grad)]
            args = (wide[1], wide[2], tables)
            runs.append(
                [
                    attention_op.reference_codebook_attention(wide[0], *args),
                    attention_op.reference_grad_v(wide[3], *args),
                    *attention_op.reference_grad_codes(wide[0], *args, wide[3]),
                    attention_op.reference_routed(wide[0], chosen, wide[2], tables),
                ]
            )
        terms = (2 * num_taps, 2 * num_taps, 125 * channels, 2 * max(1, num), num_taps)
        for result, expected, magnitude, count in zip(ours, *runs, terms, strict=True):
            assert_sums(result, expected, magnitude, terms=count)


@pytest.mark.parametrize("name", ["three, one empty", "none", "many"])
@pytest.mark.parametrize("channels, heads", [(1, 1), (7, 7), (24, 2), (24, 8), (36, 3)])
def test_neighbor_attention(library, name, channels, heads):
    table = expected_table(name, 3, 1, "cube")
    q, k = (asymmetric(table.shape[1], channels, dtype=torch.float32, seed=s) for s in (0, 1))
    weights = asymmetric(len(q), len(table), heads, dtype=torch.float32, seed=2)
    ours = [
        neighbor_cpu.neighbor_dot(library, q, k, table, heads),
        neighbor_cpu.neighbor_sum(library, weights, k, table),
        neighbor_cpu.neighbor_transpose(library, weights, table),
    ]
    runs = []
    for change in (torch.Tensor.double, lambda a: a.double().abs()):
        wide = [change(a) for a in (q, k, weights)]
        runs.append(
            [
                neighbor_op.reference_dot(wide[0], wide[1], table, heads),
                neighbor_op.reference_sum(wide[2], wide[1], table),
                neighbor_op.reference_transpose(wide[2], table),
            ]
        )
    for result, expected, magnitude, count in zip(ours, *runs, (channels, 27, 1), strict=True):
        assert_sums(result, expected, magnitude, terms=count)


def every_float_result(library: CpuLibrary) -> list[Tensor]:
    keys = keys_of("many")
    table = table_cpu.neighbor_table(library, keys, offsets_of(3, 1, "cube"))
    results = [table]
    for c_in, c_out in ((5, 9), (40, 24)):
        x = asymmetric(len(keys), c_in, dtype=torch.float32)
        weight = asymmetric(27, c_in, c_out, dtype=torch.float32)
        y = conv_cpu.sparse_conv(library, x, weight, table, None)
        results += [y, conv_cpu.weight_grad(library, x, y, table)]
    batch, position = torch.zeros(4000, dtype=torch.int64), torch.rand(4000, 3) * 20
    index, share = devoxelize_cpu.trilinear(library, keys, batch, position)
    y = devoxelize_cpu.devoxelize(library, results[-2], index, share)
    results += [y, devoxelize_cpu.devoxelize_grad(library, y, index, share, len(keys))]
    codes, choice = torch.rand(54, 24), torch.rand(len(keys), 2, 3)
    tables = [table, table]
    results.append(attention_cpu.codebook_attention(library, results[-4], choice, codes, tables))
    results.append(attention_cpu.grad_v(library, results[-1], choice, codes, tables))
    v, grad = results[-2:]
    results += attention_cpu.grad_codes(library, v, choice, codes, tables, grad)
    bounds = torch.tensor([0, 1500, 1600, 4000])
    results.append(farthest_cpu.farthest_points(library, position, bounds, [200, 100, 700]))
    point2voxel, counts = torch.arange(4000) % 50, torch.full((50,), 80)
    return [*results, voxelize_cpu.voxel_mean(library, y, point2voxel, counts)]


def test_the_same_bits_on_every_run_and_number_of_threads(library):
    before = torch.get_num_threads()
    runs = []
    try:
        for num_threads in (1, 2, 3, 1):
            torch.set_num_threads(num_threads)
            torch.manual_seed(0)
            runs.append(every_float_result(library))
    finally:
        torch.set_num_threads(before)
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], run, strict=True))


@pytest.mark.parametrize("keys", [[5, 4], [4, 4], [70, 5]], ids=["order", "twice", "block order"])
def test_keys_that_are_not_sorted_and_unique_are_refused(library, keys):
    keys = torch.tensor(keys)
    for call in (
        lambda: table_cpu.neighbor_table(library, keys, offsets_of(3, 1, "cube")),
        lambda: table_cpu.lookup(library, keys, keys),
        lambda: table_cpu.down_table(library, keys, None),
        lambda: devoxelize_cpu.trilinear(library, keys, torch.zeros(1), torch.zeros(1, 3)),
    ):
        with pytest.raises(ValueError, match="ascending and unique"):
            call()


def test_rows_that_are_not_there_are_refused(library):
    x, grad = torch.ones(3, 12), torch.ones(2, 4)
    table, codes = torch.tensor([[0, 3]], dtype=torch.int32), torch.ones(1, 4)
    for call in (
        lambda: conv_cpu.sparse_conv(library, x, torch.ones(1, 12, 4), table, None),
        lambda: conv_cpu.sparse_conv(library, x[:, :4], torch.ones(1, 4, 4), table, None),
        lambda: conv_cpu.weight_grad(library, x, grad, table),
        lambda: attention_cpu.codebook_attention(library, grad, None, codes, [table]),
        lambda: attention_cpu.grad_v(library, grad, None, codes, [table]),
        lambda: attention_cpu.grad_codes(library, grad, None, codes, [table], grad),
        lambda: attention_cpu.routed(library, grad, torch.zeros(2, 1), codes, [table]),
        lambda: devoxelize_cpu.devoxelize(library, x, table, torch.ones(1, 2)),
        lambda: devoxelize_cpu.devoxelize_grad(library, grad, table, torch.ones(1, 2), 3),
        lambda: voxelize_cpu.voxel_mean(library, x, torch.tensor([0, 1, 2]), torch.ones(2).long()),
        lambda: voxelize_cpu.voxel_mean(library, x, torch.tensor([0, 1, -1]), torch.ones(2).long()),
    ):
        with pytest.raises(IndexError, match="names"):
            call()


def test_other_integer_types_and_memory_layouts_give_the_same(library):
    """A kernel must never read int64 memory as int32, or strided memory as contiguous."""
    keys = keys_of("many")
    offsets = offsets_of(3, 1, "cube")
    table = table_cpu.neighbor_table(library, keys, offsets)
    assert torch.equal(table_cpu.neighbor_table(library, strided(keys), offsets.long()), table)
    x = asymmetric(len(keys), 5, dtype=torch.float32)
    weight = asymmetric(27, 5, 9, dtype=torch.float32)
    y = conv_cpu.sparse_conv(library, x, weight, table, None)
    odd = (strided(x), strided(weight), strided(table.long()))
    assert torch.equal(conv_cpu.sparse_conv(library, *odd, None), y)
    gradient = conv_cpu.weight_grad(library, x, y, table)
    assert torch.equal(conv_cpu.weight_grad(library, odd[0], strided(y), odd[2]), gradient)
    index, share = table[:3], asymmetric(3, len(keys), dtype=torch.float32)
    points = devoxelize_cpu.devoxelize(library, x, index, share)
    odd = (strided(x), strided(index.long()), strided(share))
    assert torch.equal(devoxelize_cpu.devoxelize(library, *odd), points)


def test_types_that_kernels_cannot_read_are_left_to_the_reference(library):
    table = torch.zeros(1, 3, dtype=torch.int32)
    x, weight = torch.ones(3, 2), torch.ones(1, 2, 4)
    for other in (torch.int64, torch.float64, torch.float16):
        assert conv_cpu.sparse_conv(library, x, weight.to(other), table, None) is None
        assert conv_cpu.weight_grad(library, x.to(other), torch.ones(3, 4), table) is None
        with pytest.raises(ValueError, match="same dtype"):
            cuda_ops.sparse_conv(x, weight.to(other), table)
    with torch.autocast("cpu", torch.bfloat16):  # there a layer before may have given bfloat16
        y = cuda_ops.sparse_conv(x.bfloat16(), weight, table)
    assert y.dtype == torch.float32 and torch.equal(y, cuda_ops.sparse_conv(x, weight, table))


def test_float64_stays_on_the_reference():
    keys = keys_of("three, one empty")
    table = reference_neighbor_table(keys, offsets_of(3, 1, "cube"))
    x, weight = asymmetric(len(keys), 5), asymmetric(27, 5, 9)
    with serving("reference"):
        expected = cuda_ops.sparse_conv(x, weight, table)
    assert torch.equal(cuda_ops.sparse_conv(x, weight, table), expected)
