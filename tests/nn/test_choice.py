"""How voxels choose among codes, and the losses on their choices."""

from __future__ import annotations

import math

import pytest
import torch

from pc3d.nn import Choice
from pc3d.nn.choice import KINDS, balance_loss, entropy, observe_choices, usage_loss
from tests.attack import asymmetric

LOGITS = 3 * asymmetric(40, 4, 5)
"""[N, D, G]"""


def choice(kind: str = "soft", progress: float = 0.0, **options: object) -> Choice:
    module = Choice(kind, **options)
    module.progress.fill_(progress)
    return module


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_sum_to_one(kind, training):
    for options in ({}, {"warmup": 0.5}, {"noise": 1.0}, {"temperature": (2.0, 0.1)}):
        weights = choice(kind, 0.3, **options).train(training)(LOGITS)
        assert weights.shape == LOGITS.shape
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(40, 5, dtype=torch.float64))


def test_soft_is_the_softmax_over_codes():
    torch.testing.assert_close(choice()(LOGITS), LOGITS.softmax(dim=1))


@pytest.mark.parametrize("progress, temperature", [(0.0, 4.0), (0.5, 1.0), (1.0, 0.25)])
def test_temperature_decays_geometrically(progress, temperature):
    weights = choice("soft", progress, temperature=(4.0, 0.25))(LOGITS)
    torch.testing.assert_close(weights, (LOGITS / temperature).softmax(dim=1))


def test_a_low_temperature_takes_the_largest():
    weights = choice("soft", 1.0, temperature=(1.0, 1e-3))(LOGITS)
    one_hot = torch.nn.functional.one_hot(LOGITS.argmax(dim=1), 4).transpose(1, 2)
    torch.testing.assert_close(weights, one_hot.double(), rtol=0, atol=0.01)


@pytest.mark.parametrize("kind", ["st_argmax", "gumbel"])
def test_hard_kinds_are_one_hot_with_the_gradient_of_the_softmax(kind):
    logits = LOGITS.clone().requires_grad_()
    module = choice(kind, 0.4, temperature=(2.0, 0.5)).eval()
    weights = module(logits)
    assert torch.equal(weights.argmax(dim=1), LOGITS.argmax(dim=1))
    torch.testing.assert_close(weights.max(dim=1).values, torch.ones(40, 5, dtype=torch.float64))
    scale = asymmetric(40, 4, 5, seed=1)
    (grad,) = torch.autograd.grad((weights * scale).sum(), logits)
    soft = (logits / 2.0 ** (1 - 2 * 0.4)).softmax(dim=1)
    (expected,) = torch.autograd.grad((soft * scale).sum(), logits)
    torch.testing.assert_close(grad, expected)


def test_gumbel_draws_codes_with_the_probabilities_of_the_softmax():
    """Gumbel-max: the argmax of noisy logits is a draw from the softmax."""
    torch.manual_seed(0)
    logits = torch.tensor([1.0, 0.0, -1.0, 0.5]).reshape(1, 4, 1).expand(20000, 4, 1)
    drawn = choice("gumbel").train()(logits).mean(dim=0).squeeze()
    torch.testing.assert_close(drawn, logits[0].softmax(dim=0).squeeze(), rtol=0, atol=0.02)
    assert torch.equal(choice("gumbel").eval()(logits)[0].squeeze(), torch.tensor([1.0, 0, 0, 0]))


def test_topk_is_the_softmax_over_the_k_largest():
    weights = choice("topk", k=2)(LOGITS)
    order = LOGITS.argsort(dim=1, descending=True)
    best = LOGITS.gather(1, order[:, :2]).softmax(dim=1)
    expected = torch.zeros_like(LOGITS).scatter(1, order[:, :2], best)
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(choice("topk", k=9)(LOGITS), LOGITS.softmax(dim=1))


@pytest.mark.parametrize("progress, share", [(0.0, 0.0), (0.05, 0.25), (0.2, 1.0), (0.9, 1.0)])
def test_warmup_mixes_the_uniform_choice_in(progress, share):
    weights = choice("soft", progress, warmup=0.2)(LOGITS)
    torch.testing.assert_close(weights, share * LOGITS.softmax(dim=1) + (1 - share) / 4)


def test_noise_only_in_training():
    module = choice(noise=0.5)
    torch.manual_seed(0)
    noisy = module.train()(LOGITS)
    assert (noisy - LOGITS.softmax(dim=1)).abs().max() > 0.05
    torch.testing.assert_close(module.eval()(LOGITS), LOGITS.softmax(dim=1))


@pytest.mark.parametrize("kind", KINDS)
def test_one_hot_only_where_it_is(kind):
    module = choice(kind, 0.1, warmup=0.2).eval()
    with torch.no_grad():
        assert not module.is_one_hot
        module.progress.fill_(0.2)
        assert module.is_one_hot == (kind in ("gumbel", "st_argmax"))
        assert not module.train().is_one_hot
    assert not module.eval().is_one_hot, "somebody may want the gradient"


def test_usage_loss_is_zero_for_equal_use_and_log_d_for_collapse():
    one_hot = torch.eye(4).reshape(4, 4, 1).expand(4, 4, 3)
    assert float(usage_loss(one_hot)) == pytest.approx(0, abs=1e-6)
    assert float(usage_loss(one_hot[:1])) == pytest.approx(math.log(4), abs=1e-6)
    uniform = torch.full((7, 4, 3), 0.25)
    assert float(usage_loss(uniform)) == pytest.approx(0, abs=1e-6)


def test_usage_loss_pulls_a_collapsed_choice_apart():
    logits = torch.tensor([5.0, 0.0, 0.0, 0.0]).reshape(1, 4, 1).requires_grad_()
    usage_loss(logits.softmax(dim=1)).backward()
    assert logits.grad[0, 0] > 0 and (logits.grad[0, 1:] < 0).all()


def test_balance_loss_is_one_for_balanced_and_d_for_collapsed_choices():
    one_hot = torch.eye(4).reshape(4, 4, 1).expand(4, 4, 3)
    assert float(balance_loss(one_hot)) == pytest.approx(1)
    assert float(balance_loss(one_hot[:1])) == pytest.approx(4)


def test_entropy_of_zero_is_zero():
    assert torch.equal(entropy(torch.tensor([[1.0, 0.0]]), dim=1), torch.zeros(1))


def test_observers_see_choices_by_name_and_leave_nothing_behind():
    network = torch.nn.ModuleDict({"a": choice(), "b": torch.nn.ModuleDict({"c": choice()})})
    state = set(network.state_dict())
    with observe_choices(network) as seen:
        network["b"]["c"](LOGITS)
        network["a"](LOGITS[:5])
    network["a"](LOGITS)
    assert {name: len(weights) for name, weights in seen.items()} == {"a": 5, "b.c": 40}
    assert set(network.state_dict()) == state
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"kind": "hard"}, "soft, gumbel, st_argmax, topk; got 'hard'"),
        ({"temperature": (1.0, 0.0)}, "temperature"),
        ({"temperature": (-1.0, 1.0)}, "temperature"),
        ({"temperature": (1.0,)}, "temperature"),
        ({"warmup": 1.5}, "warmup"),
        ({"noise": -1.0}, "noise"),
        ({"kind": "topk", "k": 1}, "st_argmax"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        Choice(**options)


@pytest.mark.parametrize("kind", ["soft", "topk"])
def test_copies_share_what_the_code_was_chosen_at_any_temperature(kind):
    module = choice(kind, temperature=(0.2, 0.2), k=9)
    copied = torch.cat([LOGITS, LOGITS[:, :1]], dim=1)
    share = torch.ones(copied.shape[1], dtype=LOGITS.dtype)
    share[[0, -1]] = 0.5
    weights = module(copied, share)
    expected = module(LOGITS)
    torch.testing.assert_close(weights[:, 0] + weights[:, -1], expected[:, 0])
    torch.testing.assert_close(weights[:, 0], weights[:, -1])
    torch.testing.assert_close(weights[:, 1:-1], expected[:, 1:])


@pytest.mark.parametrize("kind", ["soft", "gumbel", "st_argmax", "topk"])
def test_what_is_yet_to_come_is_never_chosen(kind):
    module = choice(kind, 0.1, warmup=0.5, k=9, noise=3.0).train()
    share = torch.ones(LOGITS.shape[1], dtype=LOGITS.dtype)
    share[-1] = 0
    weights = module(LOGITS, share)
    assert not weights[:, -1].any()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones_like(weights[:, 0]))
