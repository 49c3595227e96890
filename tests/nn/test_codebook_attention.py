"""The voxel transformer block, its ladder of controls, and the block that was published."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import relu

from pc3d.nn import Choice, CodebookAttention, VoxelTransformerBlock
from pc3d.nn.choice import entropy
from pc3d.sparse import SparseTensor
from tests import oracle
from tests.attack import CLOUDS, asymmetric
from tests.nn.released import ReleasedBlock
from tests.parity import coords_of

CLOUD = CLOUDS["three, one empty"]
COORDS = coords_of(CLOUD)
CUBES = [{"dilation": 2}, {"dilation": 1}, {"dilation": 3}]
CROSSES = [{"shape": "cross", "dilation": 2}, {}, {"shape": "cross", "dilation": 3}]


def features(channels: int, seed: int = 0) -> SparseTensor:
    return SparseTensor(COORDS, asymmetric(len(COORDS), channels, seed=seed))


def attention(channels: int = 12, **options: object) -> CodebookAttention:
    torch.manual_seed(0)
    options = {"codes": CUBES, "groups": 4, "choice": {}} | options
    return CodebookAttention(6, channels, **options).double()


def block(in_channels: int, out_channels: int, **options: object) -> VoxelTransformerBlock:
    torch.manual_seed(0)
    layer = partial(CodebookAttention, **({"codes": CUBES, "groups": 4, "choice": {}} | options))
    made = VoxelTransformerBlock(in_channels, out_channels, attention=layer).double()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm1d):
            for number, value in enumerate((module.running_mean, module.bias.data)):
                value.copy_(asymmetric(len(value), seed=number) / 5)
            module.running_var.copy_(asymmetric(len(module.running_var), seed=3).abs() + 0.5)
    return made


# The ladder: each rung equals the one before it where it should.


def test_one_tap_is_a_pointwise_scale():
    layer = attention(codes=[{"size": 1}])
    v = features(12, 1)
    torch.testing.assert_close(layer(features(6), v).feats, v.feats * layer.codebook.weight)


def test_one_code_is_a_depthwise_convolution():
    layer = attention(codes=[{"dilation": 2}])
    assert layer.choice is None and not layer.queries, "one code leaves nothing to choose"
    v = features(12, 1)
    expected = oracle.depthwise_conv(CLOUD.rows, v.feats, layer.codebook.weight, 3, 2, "cube")
    torch.testing.assert_close(layer(features(6), v).feats, expected)


def test_no_choice_is_the_sum_of_the_codes():
    layer, v = attention(choice=None, codes=CROSSES), features(12, 1)
    shapes = [(3, 2, "cross"), (3, 1, "cube"), (3, 3, "cross")]
    codes = layer.codebook.weight.split([7, 27, 7])
    parts = [
        oracle.depthwise_conv(CLOUD.rows, v.feats, code, *shape)
        for code, shape in zip(codes, shapes, strict=True)
    ]
    torch.testing.assert_close(layer(features(6), v).feats, sum(parts))


def test_equal_logits_are_the_mean_of_the_codes():
    layer, v = attention(), features(12, 1)
    for query in layer.queries:
        nn.init.zeros_(query.weight)
    total = attention(choice=None)
    total.codebook.load_state_dict(layer.codebook.state_dict())
    expected = total(features(6), v).feats / 3
    torch.testing.assert_close(layer(features(6), v).feats, expected)


def test_a_sharp_choice_is_the_chosen_codes_convolution():
    """Per group, by an oracle; soft at a low temperature, and hard, agree."""
    x, v = features(6), features(12, 1)
    x = x.with_feats(1e4 * x.feats)
    soft = attention(choice={"temperature": (1e-3, 1e-3)})
    tables = soft.codebook.tables(COORDS)
    chosen = soft.logits(x, soft.codebook.codes(), tables).argmax(dim=1)
    assert len(chosen.unique()) == 3
    each = [
        oracle.depthwise_conv(CLOUD.rows, v.feats, code, 3, dilation, "cube")
        for code, dilation in zip(soft.codebook.weight.split(27), (2, 1, 3), strict=True)
    ]
    expected = torch.stack(each)[
        chosen.repeat_interleave(3, dim=1), torch.arange(len(COORDS))[:, None], torch.arange(12)
    ]
    torch.testing.assert_close(soft(x, v).feats, expected, rtol=1e-6, atol=1e-6)
    hard = attention(choice={"kind": "st_argmax"})
    hard.load_state_dict(soft.state_dict())
    torch.testing.assert_close(hard(x, v).feats, expected)
    with torch.no_grad():
        torch.testing.assert_close(hard.eval()(x, v).feats, expected)


# The choice.


@pytest.mark.parametrize("couple", [False, True])
def test_the_gradient_of_the_logits_reaches_the_codes_only_where_coupled(couple):
    layer = attention(choice={"couple_grad": couple})
    logits = layer.logits(features(6), layer.codebook.codes(), layer.codebook.tables(COORDS))
    (grad,) = torch.autograd.grad(logits.pow(2).sum(), layer.codebook.weight, allow_unused=True)
    assert (grad is not None) == couple


def test_occupancy_guides_towards_codes_whose_taps_are_occupied():
    x = features(6)
    plain, guided = attention(), attention(guidance="occupancy", guidance_weight=2.0)
    codes, tables = plain.codebook.codes(), plain.codebook.tables(COORDS)
    share = plain.codebook.occupancy(COORDS, masked=False).double()
    expected = plain.logits(x, codes, tables) + 2 * (share + 1e-3).log()
    torch.testing.assert_close(guided.logits(x, codes, tables), expected)
    assert share.std() > 0.05, "or this would prove nothing"


def test_pattern_guidance_differs_between_groups():
    masks = ("1" * 9 + "0" * 18, "0" * 18 + "1" * 9)
    codes = [{"shape": "mask", "masks": masks}, {"dilation": 2}]
    guided = attention(codes=codes, guidance="pattern")
    with torch.no_grad():
        for query in guided.queries:
            query.weight.zero_()
    found = guided.logits(features(6), guided.codebook.codes(), guided.codebook.tables(COORDS))
    torch.testing.assert_close(found[:, 0, 0], found[:, 0, 2])
    assert (found[:, 0, 0] - found[:, 0, 1]).abs().max() > 0.1


@pytest.mark.parametrize("position", ["table", "conv"])
def test_position_codes_equal_their_definition(position):
    x, v = features(6), features(12, 1)
    layer = attention(position=position)
    plain = attention()
    plain.load_state_dict(layer.state_dict(), strict=False)
    extra = getattr(layer, f"position_{position}")
    if position == "conv":
        near = oracle.depthwise_conv(CLOUD.rows, v.feats, extra.weight, 3, 1, "cube")
        expected = plain(x, v.with_feats(v.feats + near)).feats
    else:
        ones = v.with_feats(torch.ones_like(v.feats))
        tables = plain.codebook.tables(COORDS)
        weights = plain.choice(plain.logits(x, plain.codebook.codes(), tables))
        shapes = [(3, 2, "cube"), (3, 1, "cube"), (3, 3, "cube")]
        parts = list(extra.weight.split(27))
        table = oracle.codebook_attention(CLOUD.rows, ones.feats, weights, parts, shapes)
        expected = plain(x, v).feats + table
    torch.testing.assert_close(layer(x, v).feats, expected)


# The block.


@pytest.mark.parametrize("in_channels", [6, 10])
@pytest.mark.parametrize("codes", [CUBES, CROSSES], ids=["cubes", "crosses"])
def test_equals_the_published_block(in_channels, codes):
    """Logits, choice and output of the released equations, with the same weights, to 1e-5."""
    ours = block(in_channels, 6, codes=codes).eval()
    theirs = ReleasedBlock(ours, CLOUD.rows)
    x = features(in_channels)
    expected = theirs(x.feats)
    torch.testing.assert_close(ours(x).feats, expected, rtol=1e-5, atol=1e-5)
    hidden = ours.prelude(x)
    book = ours.attention.codebook
    logits = ours.attention.logits(hidden, book.codes(), book.tables(COORDS))
    torch.testing.assert_close(logits, theirs.logits, rtol=1e-5, atol=1e-5)


def test_defects_of_the_published_block():
    """What the release gets wrong (by its own equations), and that ours does not do it."""
    ours = block(6, 6).eval()
    x = features(6).feats
    # Guidance without masks is the constant 1 / D: it only shrinks the choice.
    guided, plain = (ReleasedBlock(ours, CLOUD.rows, guidance=g) for g in (True, False))
    guided(x), plain(x)
    torch.testing.assert_close(guided.choice, plain.choice / 3)
    # Pairwise logits are summed after a softmax over taps: always 1, so the choice is uniform.
    pairwise = ReleasedBlock(ours, CLOUD.rows, pairwise=True)
    pairwise(x)
    torch.testing.assert_close(pairwise.choice, torch.full_like(pairwise.choice, 1 / 3))


def test_initial_choices_are_not_uniform():
    """MinkowskiEngine's channelwise scale leaves the choice uniform at C = 96; ours does not."""
    torch.manual_seed(0)
    entropies = {}
    for name, scale in (("ours", 1.0), ("theirs", 96**-0.5)):
        layer = CodebookAttention(48, 96, codes=CUBES, groups=8, choice={})
        layer.codebook.weight.data *= scale
        x = SparseTensor(COORDS, torch.randn(len(COORDS), 48))
        tables = layer.codebook.tables(COORDS)
        weights = layer.choice(layer.logits(x, layer.codebook.codes(), tables))
        entropies[name] = (entropy(weights, dim=1).mean() / math.log(3)).item()
    assert entropies["theirs"] > 0.999
    assert 1 - entropies["ours"] > 50 * (1 - entropies["theirs"])


@pytest.mark.parametrize("in_channels", [6, 10])
def test_every_parameter_gets_a_gradient_at_every_moment(in_channels):
    """No unused parameters, whatever the progress: DDP needs no search for them."""
    for kind in ("soft", "gumbel", "st_argmax", "topk"):
        for progress in (0.0, 0.05, 1.0):
            layer = block(in_channels, 6, choice={"kind": kind, "warmup": 0.1})
            for module in layer.modules():
                if isinstance(module, Choice):
                    module.progress.fill_(progress)
            layer(features(in_channels)).feats.pow(2).sum().backward()
            assert all(p.grad is not None for p in layer.parameters())


def test_nothing_is_registered_by_a_pass():
    layer = block(6, 6)
    state = {name: value.shape for name, value in layer.state_dict().items()}
    layer(features(6))
    assert {name: value.shape for name, value in layer.state_dict().items()} == state
    assert not any(module._forward_hooks for module in layer.modules())


def test_clouds_do_not_see_each_other():
    layer, x = block(6, 6).eval(), features(6)
    together = layer(x).feats
    for batch in (0, 2):
        mine = COORDS.indices[:, 0] == batch
        alone = COORDS.select(mine.nonzero().squeeze(1))
        assert torch.equal(layer(SparseTensor(alone, x.feats[mine])).feats, together[mine])


def test_a_lonely_voxel_is_legal():
    coords = coords_of(CLOUDS["one voxel"])
    for guidance in ("none", "occupancy"):
        layer = block(6, 6, guidance=guidance)
        y = layer(SparseTensor(coords, asymmetric(1, 6)))
        assert torch.isfinite(y.feats).all()
        y.feats.sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in layer.parameters())


def test_the_residual_is_added_after_the_last_relu():
    layer, x = block(6, 6).eval(), features(6)
    with torch.no_grad():
        layer.project.norm.bn.weight.zero_()
        layer.project.norm.bn.bias.fill_(-1)
    assert torch.equal(layer(x).feats, x.feats)
    assert relu(torch.tensor(-1.0)) == 0


@pytest.mark.parametrize(
    "options, message",
    [
        ({"groups": 5}, "5 groups for 12 channels"),
        ({"codes": []}, "at least one code"),
        ({"guidance": "density"}, "guidance must be one of"),
        ({"guidance": "pattern"}, "needs codes of shape 'mask'"),
        ({"position": "sine"}, "position must be one of"),
        ({"choice": {"temperature": (1, 0)}}, "temperature"),
        ({"codes": [{"size": 4}]}, "size 1, 3 or 5"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        attention(**options)
