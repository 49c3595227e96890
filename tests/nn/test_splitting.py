"""Codes that are split in two: what stays the same, what is copied, what is refused."""

from __future__ import annotations

import pytest
import torch

from pc3d.nn import CodebookAttention
from pc3d.nn.choice import balance_loss, observe_choices, usage_loss
from pc3d.nn.splitting import Splitting, shares_after
from pc3d.sparse import SparseTensor
from tests.attack import CLOUDS, asymmetric
from tests.parity import coords_of

COORDS = coords_of(CLOUDS["three, one empty"])
TWO = [{"dilation": 2}, {}]


def attention(at: tuple[float, ...] = (0.1, 0.2), **options: object) -> CodebookAttention:
    torch.manual_seed(0)
    options = {"codes": TWO, "groups": 4, "choice": {}, "split": {"at": at, "noise": 0}} | options
    return CodebookAttention(6, 12, **options).double()


def features(channels: int) -> SparseTensor:
    return SparseTensor(COORDS, asymmetric(len(COORDS), channels, seed=channels))


def output(layer: CodebookAttention) -> torch.Tensor:
    return layer(features(6), features(12)).feats


def test_codes_that_are_to_come_change_nothing():
    small, large = attention(at=()), attention()
    state = large.state_dict()
    for name, value in small.state_dict().items():
        if value.ndim:  # all but the choice's progress
            state[name][: len(value)] = value
    state["codebook.share"] = large.codebook.share
    large.load_state_dict(state)
    assert (large.num_born, len(large.codebook), large.num_splits) == (2, 8, 0)
    torch.testing.assert_close(output(large), output(small))


OPTIONS = {
    "plain": {},
    "one code": {"codes": [{}]},
    "warm-up": {"choice": {"warmup": 0.5}},
    "temperature": {"choice": {"temperature": (0.3, 0.2)}},
    "occupancy": {"guidance": "occupancy"},
    "position table": {"position": "table"},
    "position conv": {"position": "conv"},
    "from offsets": {"from_offsets": 5},
    "two strides": {"codes": [{"stride": 2}, {}], "guidance": "occupancy", "position": "table"},
    "masks": {
        "codes": [{"shape": "mask", "masks": ("0" * 13 + "11" + "0" * 12, "1" * 27)}, {}],
        "guidance": "pattern",
    },
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_split_without_noise_leaves_the_output_of_a_soft_choice(options):
    layer = attention(**options)
    if layer.choice.warmup:
        layer.choice.progress.fill_(0.2)
    before = output(layer)
    for number in (1, 2):
        born = layer.num_born
        layer.split()
        assert (layer.num_splits, layer.num_born) == (number, 2 * born)
        torch.testing.assert_close(output(layer), before)


@pytest.mark.parametrize("kind", ["st_argmax", "gumbel"])
def test_a_split_without_noise_leaves_the_output_of_a_hard_choice(kind):
    layer = attention(choice={"kind": kind}).eval()
    before = output(layer)
    layer.split()
    torch.testing.assert_close(output(layer), before)


def test_noise_makes_the_copies_different_by_as_much_as_it_says():
    layer = attention(at=(0.1,), split={"at": (0.1,), "noise": 0.25}, codes=[{"size": 5}])
    layer.split()
    first, second = layer.codebook.weight.split([125, 125])
    spread = (second - first).detach().std() / first.detach().std()
    assert 0.23 < float(spread) < 0.27
    assert torch.equal(layer.queries[0].weight, layer.queries[1].weight), "only codes are noisy"


def test_the_noise_is_the_same_wherever_it_is_drawn():
    """So that ranks stay equal, whatever their generators stand at."""
    layers = [attention(split={"at": (0.1,), "noise": 0.5}) for _ in range(2)]
    for seed, layer in enumerate(layers):
        torch.manual_seed(seed)
        layer.split()
    assert torch.equal(layers[0].codebook.weight, layers[1].codebook.weight)


def test_every_parameter_takes_part_but_none_that_is_to_come_learns():
    layer = attention(at=(0.1,), choice={"couple_grad": True}, position="table")
    output(layer).square().sum().backward()
    grads = {name: p.grad for name, p in layer.named_parameters()}
    assert all(grad is not None for grad in grads.values())
    idle = ["queries.2.weight", "queries.3.weight"]
    assert all(not grads[name].any() for name in idle)
    assert all(grads[f"queries.{code}.weight"].any() for code in (0, 1))
    for name in ("codebook.weight", "position_table.weight"):
        born, to_come = grads[name].chunk(2)
        assert born.any() and not to_come.any()
    layer.split()
    layer.zero_grad()
    output(layer).square().sum().backward()
    assert all(p.grad.any() for p in layer.parameters())


def test_regularizers_see_the_codes_that_are_there():
    small, large = attention(at=(), codes=TWO), attention()
    with torch.no_grad():
        large.codebook.weight[:54] = small.codebook.weight
    for loss in ("diversity_loss", "orthogonality_loss"):
        expected = getattr(small.codebook, loss)()
        torch.testing.assert_close(getattr(large.codebook, loss)(), expected)
        large.codebook.weight.grad = None
        getattr(large.codebook, loss)().backward()
        assert not large.codebook.weight.grad[54:].any()
    with observe_choices(large) as seen:
        output(large)
    (weights,) = seen.values()
    for loss in (usage_loss, balance_loss):
        large.zero_grad()
        loss(weights).backward(retain_graph=True)
        assert all(q.weight.grad.isfinite().all() for q in large.queries)


def test_a_copy_is_as_alike_as_can_be():
    layer = attention(at=(0.1,), codes=[{}])
    layer.split()
    torch.testing.assert_close(layer.codebook.diversity_loss(), torch.ones(()).double())
    torch.testing.assert_close(layer.codebook.orthogonality_loss(), torch.ones(()).double())


def test_shares_of_parents_with_unequal_numbers_of_copies():
    share = shares_after(torch.tensor([1.0, 0.5, 0.5]), [0, 0, 2])
    expected = torch.tensor([1 / 3, 0.5, 0.25, 1 / 3, 1 / 3, 0.25])
    torch.testing.assert_close(share, expected)


def test_no_code_is_left_to_split():
    layer = attention(at=(0.1,))
    layer.split()
    with pytest.raises(RuntimeError, match="all 4 codes are there"):
        layer.split()
    with pytest.raises(RuntimeError, match="all 2 codes are there"):
        attention(at=()).split()


@pytest.mark.parametrize("at", [(0.2, 0.1), (0.1, 0.1), (-0.1,), (1.0,), (float("nan"),)])
def test_fractions_that_make_no_sense_are_refused(at):
    with pytest.raises(ValueError, match=r"split\.at must be ascending fractions"):
        Splitting(at=at)


def test_what_cannot_be_split_is_refused():
    with pytest.raises(ValueError, match="noise must not be negative"):
        Splitting(noise=-0.1)
    with pytest.raises(ValueError, match="summed and cannot be split"):
        attention(choice=None)
