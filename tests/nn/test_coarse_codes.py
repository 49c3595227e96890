"""Codes on the voxels of twice the size, beside those on a block's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from pc3d.nn import CodebookAttention, CodeSpec, LocalAttention
from pc3d.nn.coarse_codes import at_children, mean_of_children, mix_two_strides
from pc3d.sparse import CoordSet, SparseTensor
from tests import oracle
from tests.attack import CLOUDS, Cloud, asymmetric, make, random_points
from tests.parity import coords_of

FUSED = [{"dilation": 2}, {"stride": 2}, {}, {"stride": 2, "dilation": 2, "shape": "cross"}]
SHAPES = [(3, 2, "cube"), (3, 1, "cube"), (3, 1, "cube"), (3, 2, "cross")]
MASKS = ("1" * 9 + "0" * 18, "0" * 13 + "110" * 4 + "11")


def attention(codes: object = FUSED, **options: object) -> CodebookAttention:
    torch.manual_seed(0)
    return CodebookAttention(6, 12, codes=codes, **({"groups": 4, "choice": {}} | options)).double()


def on(coords: CoordSet, channels: int, seed: int = 0) -> SparseTensor:
    return SparseTensor(coords, asymmetric(len(coords), channels, seed=seed))


def inputs(cloud: Cloud) -> tuple[SparseTensor, SparseTensor]:
    coords = coords_of(cloud)
    return on(coords, 6), on(coords, 12, seed=1)


def parents_of(rows: list[oracle.Row]) -> tuple[list[oracle.Row], list[int]]:
    coarse = oracle.coarse_rows(rows)
    number = {row: m for m, row in enumerate(coarse)}
    return coarse, [number[oracle.parent(row)] for row in rows]


def means(rows: list[oracle.Row], x: Tensor) -> Tensor:
    coarse, parents = parents_of(rows)
    return oracle.voxel_mean(x, parents, len(coarse))


def expected_output(
    layer: CodebookAttention, rows: list[oracle.Row], x: Tensor, v: Tensor, guidance: float = 0.0
) -> Tensor:
    """The layer with the codes `FUSED` and a soft choice, voxel by voxel and code by code."""
    coarse, parents = parents_of(rows)
    book, groups = layer.codebook, layer.codebook.groups
    logits, responses = [], []
    for d, (code, shape) in enumerate(zip(book.codes().split(book.num_taps), SHAPES, strict=True)):
        is_coarse = "stride" in FUSED[d]
        here, read = (coarse, parents) if is_coarse else (rows, list(range(len(rows))))
        features, values = (means(rows, x), means(rows, v)) if is_coarse else (x, v)
        query = oracle.submanifold_conv(here, features, layer.queries[d].weight, *shape)
        sums = torch.stack([part.sum(dim=1) for part in code.chunk(groups, dim=1)], dim=1)
        wanted = oracle.depthwise_conv(here, query, sums, *shape)
        table = torch.tensor(oracle.neighbor_table(here, oracle.offsets(*shape)))
        occupied = (table >= 0).double().mean(dim=0, keepdim=True).T
        logits.append((wanted + guidance * (occupied + 1e-3).log())[read])
        responses.append(oracle.depthwise_conv(here, values, code, *shape)[read])
    choice = torch.stack(logits).softmax(dim=0)
    each = v.shape[1] // groups
    parts = [c.repeat_interleave(each, dim=1) * u for c, u in zip(choice, responses, strict=True)]
    return sum(parts)


@pytest.mark.parametrize("name", ["two", "negative", "three, one empty", "one voxel"])
@pytest.mark.parametrize("guidance", [0.0, 2.0])
def test_equals_the_oracle(name, guidance):
    x, v = inputs(CLOUDS[name])
    options = {"guidance": "occupancy", "guidance_weight": guidance} if guidance else {}
    layer = attention(**options)
    expected = expected_output(layer, CLOUDS[name].rows, x.feats, v.feats, guidance)
    torch.testing.assert_close(layer(x, v).feats, expected, rtol=1e-6, atol=1e-6)


def test_no_choice_is_the_sum_of_the_codes_responses():
    cloud = CLOUDS["three, one empty"]
    x, v = inputs(cloud)
    layer = attention(choice=None)
    coarse, parents = parents_of(cloud.rows)
    codes = layer.codebook.weight.split(layer.codebook.num_taps)
    expected = torch.zeros_like(v.feats)
    for d, (code, shape) in enumerate(zip(codes, SHAPES, strict=True)):
        if "stride" in FUSED[d]:
            u = oracle.depthwise_conv(coarse, means(cloud.rows, v.feats), code, *shape)
            expected = expected + u[parents]
        else:
            expected = expected + oracle.depthwise_conv(cloud.rows, v.feats, code, *shape)
    torch.testing.assert_close(layer(x, v).feats, expected)


def test_where_every_parent_has_one_child_twice_the_stride_is_twice_the_dilation():
    """Voxels at even coordinates: a step among parents is a step of two among them."""
    points = [(b, *(2 * c for c in xyz)) for b, *xyz in random_points(120, 0, -5, 6, 1)]
    x, v = inputs(make(points, 1))
    options = {"guidance": "occupancy", "position": "table", "choice": {"couple_grad": True}}
    fine, coarse = (
        attention([{}, code], **options) for code in ({"dilation": 6}, {"stride": 2, "dilation": 3})
    )
    assert torch.equal(fine.codebook.weight, coarse.codebook.weight)
    torch.testing.assert_close(coarse(x, v).feats, fine(x, v).feats)
    grads = []
    for layer in (fine, coarse):
        layer(x, v).feats.square().sum().backward()
        grads.append({name: p.grad for name, p in layer.named_parameters()})
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad, msg=name)


def test_siblings_get_the_same_of_a_coarse_code():
    x, v = inputs(CLOUDS["negative"])
    y = attention([{"stride": 2}])(x, v).feats
    _, parents = parents_of(CLOUDS["negative"].rows)
    assert len(set(parents)) < len(parents)
    for n, parent in enumerate(parents):
        assert torch.equal(y[n], y[parents.index(parent)])


def test_the_order_of_the_codes_does_not_matter():
    x, v = inputs(CLOUDS["two"])
    order = [3, 1, 0, 2]
    layer, other = attention(guidance="occupancy"), attention([FUSED[d] for d in order])
    other.guidance = "occupancy"
    parts = layer.codebook.weight.split(layer.codebook.num_taps)
    other.codebook.weight.data = torch.cat([parts[d] for d in order]).detach()
    for place, d in enumerate(order):
        other.queries[place].weight.data = layer.queries[d].weight.data
    torch.testing.assert_close(other(x, v).feats, layer(x, v).feats)


def test_even_moves_and_the_order_of_clouds_do_not_matter():
    cloud = CLOUDS["three, one empty"]
    x, v = inputs(cloud)
    layer = attention()
    moved = [(2 - b, i + 4, j - 6, k + 2) for b, i, j, k in cloud.rows]
    other = make(moved, 3)
    rows = [other.rows.index(row) for row in moved]
    back = torch.tensor(rows).argsort()
    coords = coords_of(other)
    y = layer(SparseTensor(coords, x.feats[back]), SparseTensor(coords, v.feats[back])).feats
    torch.testing.assert_close(y[rows], layer(x, v).feats)


def test_clouds_do_not_see_each_other():
    coords = coords_of(CLOUDS["three, one empty"])
    layer, x, v = attention(guidance="occupancy"), on(coords, 6), on(coords, 12, 1)
    together = layer(x, v).feats
    for batch in (0, 2):
        mine = coords.indices[:, 0] == batch
        alone = coords.select(mine.nonzero().squeeze(1))
        y = layer(SparseTensor(alone, x.feats[mine]), SparseTensor(alone, v.feats[mine]))
        assert torch.equal(y.feats, together[mine])


@pytest.mark.parametrize("kind", ["st_argmax", "gumbel"])
def test_hard_choices_in_inference_are_the_chosen_codes(kind):
    """Nothing is routed beside coarse codes; the result is what routing would give."""
    x, v = inputs(CLOUDS["two"])
    layer = attention(choice={"kind": kind}, position="table").eval()
    with torch.no_grad():
        found = layer(x, v).feats
    torch.testing.assert_close(layer(x, v).feats, found)
    tables, codes = layer.codebook.tables(x.coords), layer.codebook.codes()
    chosen = layer.logits(x, codes, tables).argmax(dim=1)
    assert len(chosen.unique()) == 4
    ones = [v, v.with_feats(torch.ones_like(v.feats))]
    weights = [layer.codebook.codes(), layer.position_table.codes()]
    expected = torch.zeros_like(v.feats)
    for values, theta in zip(ones, weights, strict=True):
        parts, each = theta.split(layer.codebook.num_taps), []
        for d, (code, table) in enumerate(zip(parts, tables, strict=True)):
            stride = FUSED[d].get("stride", 1)
            each.append(mix_two_strides(values, None, [code], [table], [stride]))
        every = torch.arange(len(v.feats)).unsqueeze(1)
        rows = chosen.repeat_interleave(3, dim=1)
        expected += torch.stack(each)[rows, every, torch.arange(12)]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "position, couple", [("none", False), ("none", True), ("table", False), ("conv", False)]
)
def test_gradients(position, couple):
    cloud = make(random_points(9, 0, -2, 2, 3) + random_points(4, 1, -1, 2, 4), 2)
    coords = coords_of(cloud)
    options = {"position": position, "guidance": "occupancy", "choice": {"couple_grad": couple}}
    layer = CodebookAttention(
        2, 4, codes=[{"size": 1}, {"stride": 2, "shape": "cross"}], groups=2, **options
    ).double()
    names = [name for name, _ in layer.named_parameters()]

    def run(x: Tensor, v: Tensor, *parameters: Tensor) -> Tensor:
        held = dict(zip(names, parameters, strict=True))
        args = (SparseTensor(coords, x), SparseTensor(coords, v))
        return torch.func.functional_call(layer, held, args).feats

    x, v = (asymmetric(len(coords), c, seed=c).requires_grad_() for c in (2, 4))
    free = [p for name, p in layer.named_parameters() if couple or name != "codebook.weight"]
    if couple:
        assert gradcheck(run, (x, v, *free))
    else:  # the logits see the codes without a gradient, so that theirs is no derivative
        code = layer.codebook.weight.detach()
        assert gradcheck(lambda x, v, *rest: run(x, v, code, *rest), (x, v, *free))


def test_every_parameter_learns():
    for options in ({}, {"position": "table"}, {"position": "conv"}, {"from_offsets": 4}):
        layer = attention(**options)
        layer(*inputs(CLOUDS["two"])).feats.square().sum().backward()
        assert all(p.grad is not None and p.grad.any() for p in layer.parameters()), options


def test_masks_hold_on_parents():
    """Codes, and the occupancy that guides, are those of each group's mask."""
    x, v = inputs(CLOUDS["two"])
    layer = attention([{"shape": "mask", "masks": MASKS, "stride": 2}, {}], guidance="pattern")
    codes, tables = layer.codebook.codes(), layer.codebook.tables(x.coords)
    with torch.no_grad():
        for query in layer.queries:
            query.weight.zero_()
    coarse, parents = parents_of(CLOUDS["two"].rows)
    occupied = torch.tensor(oracle.neighbor_table(coarse, oracle.offsets(3))) >= 0
    logits = layer.logits(x, codes, tables)
    for group in range(4):
        mask = torch.tensor([float(digit) for digit in MASKS[group % 2]])
        share = ((occupied * mask[:, None]).sum(dim=0) / mask.sum())[parents]
        torch.testing.assert_close(logits[:, 0, group], (share + 1e-3).log().double())
    layer.choice = None
    rows, cube = CLOUDS["two"].rows, (3, 1, "cube")
    far = oracle.depthwise_conv(coarse, means(rows, v.feats), codes[:27], *cube)
    near = oracle.depthwise_conv(rows, v.feats, codes[27:], *cube)
    torch.testing.assert_close(layer(x, v).feats, far[parents] + near)
    group_of = torch.arange(12) // 3 % 2
    assert not codes[:9, group_of == 1].any() and not codes[9:27, group_of == 0].any()


def test_a_lonely_voxel_down_to_the_coarsest_stride():
    coords = coords_of(CLOUDS["one voxel"])
    for _ in range(4):
        coords, _ = coords.down()
    assert (coords.stride, len(coords)) == (16, 1)
    for codes in (FUSED, [{"stride": 2}]):
        layer, x, v = attention(codes), on(coords, 6), on(coords, 12, 1)
        y = layer(x, v).feats
        y.sum().backward()
        assert torch.isfinite(y).all()
        assert all(torch.isfinite(p.grad).all() for p in layer.parameters())


def test_no_voxels():
    x, v = inputs(CLOUDS["none"])
    assert attention(guidance="occupancy")(x, v).feats.shape == (0, 12)


def test_parents_are_found_once():
    coords = coords_of(CLOUDS["two"])
    _, down = coords.down()
    before = coords.nbytes
    assert down.parents is down.parents and down.num_children is down.num_children
    coarse, parents = parents_of(CLOUDS["two"].rows)
    assert down.parents.tolist() == parents and down.parents.dtype == torch.int32
    assert down.num_children.tolist() == [parents.count(m) for m in range(len(coarse))]
    assert coords.nbytes == before + 4 * len(parents) + 8 * len(coarse)


def test_means_and_reads_are_each_other():
    x = on(coords_of(CLOUDS["negative"]), 5)
    down = mean_of_children(x)
    assert down.coords is x.coords.down()[0]
    torch.testing.assert_close(down.feats, means(CLOUDS["negative"].rows, x.feats))
    _, parents = parents_of(CLOUDS["negative"].rows)
    read = at_children(down.feats, x.coords)
    assert torch.equal(read, down.feats[parents])
    again = mean_of_children(x.with_feats(read)).feats
    torch.testing.assert_close(again, down.feats)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_types(dtype):
    coords = coords_of(CLOUDS["two"])
    x, v = (on(coords, c, c) for c in (6, 12))
    layer = attention()
    expected = layer(x, v).feats
    layer = layer.float()
    x, v = x.with_feats(x.feats.to(dtype)), v.with_feats(v.feats.to(dtype))
    y = layer(x, v).feats
    assert y.dtype == dtype
    close = 1e-5 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(y.double(), expected, rtol=close, atol=close)


def test_states_of_before_fit_and_none_is_new():
    plain, fused = attention([{}, {"dilation": 2}]), attention([{}, {"stride": 2}])
    assert plain.state_dict().keys() == fused.state_dict().keys()
    assert CodeSpec() == CodeSpec(3, 1, "cube", (), 1) != CodeSpec(stride=2)


@pytest.mark.parametrize("stride", [0, 3, 4, -2])
def test_other_strides_are_refused(stride):
    with pytest.raises(ValueError, match=f"stride 1 .* or 2 .* got stride={stride}"):
        CodeSpec(stride=stride)


def test_a_window_is_of_one_stride():
    with pytest.raises(ValueError, match="none with masks or stride 2"):
        LocalAttention(8, 4, [{}, {"stride": 2}])
