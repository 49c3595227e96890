"""Codebook attention against dense depthwise `conv3d`, its gradients, and what must be equal."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

import cuda_ops
from cuda_ops.runtime import served, serving
from pc3d.sparse import KernelSpec
from tests import oracle
from tests.attack import CLOUDS, DEVICES, DTYPES, Cloud, asymmetric, strided
from tests.parity import coords_of

SHAPES = [(3, 2, "cube"), (3, 1, "cube"), (3, 3, "cross"), (1, 1, "cube")]
WIDTHS = [(1, 1), (4, 2), (6, 6), (9, 3), (16, 8)]
"""Channels and groups."""
OCCUPIED = [name for name in CLOUDS if name != "none"]


def tables_of(cloud: Cloud, shapes: list[tuple[int, int, str]] = SHAPES) -> list[Tensor]:
    found = [oracle.neighbor_table(cloud.rows, oracle.offsets(*shape)) for shape in shapes]
    return [torch.tensor(table, dtype=torch.int32) for table in found]


def inputs(
    cloud: Cloud, tables: list[Tensor], channels: int, groups: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    num, num_taps = len(cloud.rows), sum(map(len, tables))
    v = asymmetric(num, channels, dtype=dtype)
    choice = asymmetric(num, len(tables), groups, dtype=dtype, seed=1)
    return v, choice, asymmetric(num_taps, channels, dtype=dtype, seed=2)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels, groups", WIDTHS)
@pytest.mark.parametrize("name", OCCUPIED)
def test_equals_dense_convolutions_and_so_do_its_gradients(name, channels, groups, dtype, device):
    cloud = CLOUDS[name]
    tables = tables_of(cloud)
    plain = inputs(cloud, tables, channels, groups, dtype)
    grad = asymmetric(len(cloud.rows), channels, dtype=dtype, seed=3)
    leaves = [a.to(device).requires_grad_() for a in plain]
    y = cuda_ops.codebook_attention(*leaves, [t.to(device) for t in tables])
    ours = [y, *torch.autograd.grad(y, leaves, grad.to(device))]
    exact = [a.double().requires_grad_() for a in plain]
    codes = list(exact[2].split([len(t) for t in tables]))
    dense = oracle.codebook_attention(cloud.rows, exact[0], exact[1], codes, SHAPES)
    expected = [dense, *torch.autograd.grad(dense, exact, grad.double())]
    tolerance = 1e-5 if dtype == torch.float32 else 1e-13
    for a, b in zip(ours, expected, strict=True):
        assert a.dtype == dtype
        torch.testing.assert_close(a.double().cpu(), b, rtol=tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("name", ["three, one empty", "one voxel"])
def test_gradcheck(name, groups):
    cloud = Cloud([], CLOUDS[name].rows[::7], [], [], 3)
    tables = tables_of(cloud, SHAPES[1:3])
    leaves = [a.requires_grad_() for a in inputs(cloud, tables, 3, groups, torch.float64)]
    assert gradcheck(lambda *a: cuda_ops.codebook_attention(*a, tables), leaves)
    v, _, codes = leaves
    assert gradcheck(lambda v, c: cuda_ops.codebook_attention(v, None, c, tables), (v, codes))


def test_without_a_choice_codes_are_summed():
    cloud = CLOUDS["two"]
    tables = tables_of(cloud)
    v, choice, codes = inputs(cloud, tables, 12, 3, torch.float64)
    ones = torch.ones_like(choice)
    expected = cuda_ops.codebook_attention(v, ones, codes, tables)
    torch.testing.assert_close(cuda_ops.codebook_attention(v, None, codes, tables), expected)


def test_equal_codes_make_the_choice_irrelevant():
    cloud = CLOUDS["two"]
    table = tables_of(cloud, [SHAPES[1]])[0]
    v, choice, codes = inputs(cloud, [table] * 3, 8, 4, torch.float64)
    codes = codes[:27].repeat(3, 1)
    one = cuda_ops.codebook_attention(v, None, codes[:27], [table])
    mixed = cuda_ops.codebook_attention(v, choice.softmax(dim=1), codes, [table] * 3)
    torch.testing.assert_close(mixed, one)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels, groups", WIDTHS)
@pytest.mark.parametrize("name", OCCUPIED)
def test_routing_equals_a_one_hot_choice(name, channels, groups, dtype):
    cloud = CLOUDS[name]
    tables = tables_of(cloud)
    v, _, codes = inputs(cloud, tables, channels, groups, dtype)
    generator = torch.Generator().manual_seed(0)
    for num_used in (1, 4):
        chosen = torch.randint(num_used, (len(v), groups), generator=generator)
        one_hot = torch.nn.functional.one_hot(chosen, 4).transpose(1, 2).to(dtype)
        expected = cuda_ops.codebook_attention(v, one_hot, codes, tables)
        routed = cuda_ops.routed_codebook_attention(v, chosen, codes, tables)
        torch.testing.assert_close(routed, expected, rtol=1e-5, atol=1e-6)


def test_clouds_do_not_see_each_other():
    cloud = CLOUDS["three, one empty"]
    tables = tables_of(cloud)
    v, choice, codes = inputs(cloud, tables, 6, 2, torch.float64)
    y = cuda_ops.codebook_attention(v, choice, codes, tables)
    for batch in (0, 2):
        mine = torch.tensor([row[0] == batch for row in cloud.rows])
        alone = Cloud([], [(0, *row[1:]) for row in cloud.rows if row[0] == batch], [], [], 1)
        expected = cuda_ops.codebook_attention(v[mine], choice[mine], codes, tables_of(alone))
        torch.testing.assert_close(y[mine], expected)


def test_no_voxels_and_voxels_without_neighbours():
    empty = torch.empty(27, 0, dtype=torch.int32)
    v, choice = torch.empty(0, 4).requires_grad_(), torch.empty(0, 1, 2).requires_grad_()
    codes = torch.ones(27, 4).requires_grad_()
    y = cuda_ops.codebook_attention(v, choice, codes, [empty])
    y.sum().backward()
    assert y.shape == (0, 4) and v.grad.shape == (0, 4) and choice.grad.shape == (0, 1, 2)
    assert torch.equal(codes.grad, torch.zeros(27, 4))
    lonely = torch.full((27, 3), -1, dtype=torch.int32)
    out = cuda_ops.codebook_attention(torch.ones(3, 4), torch.ones(3, 1, 2), codes, [lonely])
    assert torch.equal(out, torch.zeros(3, 4))
    chosen = torch.zeros(3, 2, dtype=torch.int64)
    out = cuda_ops.routed_codebook_attention(torch.ones(3, 4), chosen, codes.detach(), [lonely])
    assert torch.equal(out, torch.zeros(3, 4))


def test_memory_layout_does_not_matter():
    cloud = CLOUDS["two"]
    tables = tables_of(cloud)
    plain = inputs(cloud, tables, 12, 4, torch.float32)
    grad = asymmetric(len(cloud.rows), 12, dtype=torch.float32, seed=3)
    results = []
    for change in (lambda a: a, strided):
        leaves = [change(a).detach().requires_grad_() for a in plain]
        y = cuda_ops.codebook_attention(*leaves, [change(t) for t in tables])
        results.append([y, *torch.autograd.grad(y, leaves, change(grad))])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_second_derivatives_are_refused():
    cloud = CLOUDS["one voxel"]
    tables = tables_of(cloud)
    leaves = [a.requires_grad_() for a in inputs(cloud, tables, 2, 1, torch.float64)]
    y = cuda_ops.codebook_attention(*leaves, tables)
    (v_grad,) = torch.autograd.grad(y.pow(2).sum(), leaves[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="second derivatives"):
        v_grad.sum().backward()


GOOD = {"v": (4, 6), "choice": (4, 2, 3), "codes": (28, 6), "tables": [(27, 4), (1, 4)]}


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"v": (4, 5)}, "v must be"),
        ({"v": (4,)}, "v must be"),
        ({"codes": (27, 6)}, "a row per tap"),
        ({"tables": []}, "one .* per code"),
        ({"tables": [(27, 4), (1, 5)]}, "one .* per code"),
        ({"choice": (4, 3, 3)}, "choice must be"),
        ({"choice": (3, 2, 3)}, "choice must be"),
        ({"choice": (4, 2, 4)}, "4 groups do not divide 6"),
        ({"choice": (4, 2, 0)}, "0 groups do not divide 6"),
    ],
)
def test_refuses_shapes_that_do_not_fit(changed, message):
    shapes = GOOD | changed
    tables = [torch.full(shape, -1, dtype=torch.int32) for shape in shapes["tables"]]
    v, choice, codes = (torch.ones(shapes[name]) for name in ("v", "choice", "codes"))
    with pytest.raises(ValueError, match=message):
        cuda_ops.codebook_attention(v, choice, codes, tables)


def test_refuses_types_that_do_not_fit_and_codes_that_are_not_there():
    tables = [torch.full(shape, -1, dtype=torch.int32) for shape in GOOD["tables"]]
    v, choice, codes = (torch.ones(GOOD[name]) for name in ("v", "choice", "codes"))
    with pytest.raises(ValueError, match="same dtype"):
        cuda_ops.codebook_attention(v, choice, codes.double(), tables)
    with pytest.raises(ValueError, match="same dtype"):
        cuda_ops.codebook_attention(v, choice.double(), codes, tables)
    for chosen in (torch.full((4, 3), 2), torch.full((4, 3), -1)):
        for dtype in DTYPES:
            with pytest.raises(ValueError, match=r"chosen must name codes in \[0, 2\)"):
                cuda_ops.routed_codebook_attention(v.to(dtype), chosen, codes.to(dtype), tables)
    for bad in (torch.zeros(4, 3), torch.zeros(3, 3, dtype=torch.int64)):
        with pytest.raises(ValueError, match="chosen must be"):
            cuda_ops.routed_codebook_attention(v, bad, codes, tables)


@pytest.mark.parametrize("channels, groups", [(96, 8), (144, 8), (40, 4), (52, 2), (24, 8)])
def test_groups_that_are_no_whole_number_of_vectors(channels, groups):
    """As in voxel_tr: 12 and 18 channels a group, where a vector belongs to two groups."""
    coords = coords_of(CLOUDS["three, one empty"])
    tables = [coords.neighbors(KernelSpec(3, dilation=d)).table for d in (2, 1)]
    generator = torch.Generator().manual_seed(channels)
    v = torch.randn(len(coords), channels, generator=generator)
    choice = torch.randn(len(coords), 2, groups, generator=generator).softmax(dim=1)
    codes = torch.randn(54, channels, generator=generator)
    results = {}
    for isa in (served().isa, "reference"):
        inputs = [x.clone().requires_grad_() for x in (v, choice, codes)]
        with serving(isa):
            y = cuda_ops.codebook_attention(*inputs, tables)
            grads = torch.autograd.grad((y * v.cos()).sum(), inputs)
            chosen = choice.argmax(dim=1)
            results[isa] = [y, *grads, cuda_ops.routed_codebook_attention(v, chosen, codes, tables)]
    for found, expected in zip(results[served().isa], results["reference"], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
