"""Queries and keys out of a codebook."""

from __future__ import annotations

import pytest
import torch

from pc3d.nn import DiscreteRelation
from pc3d.nn.choice import observe_choices
from tests.attack import asymmetric


def relation(**options: object) -> DiscreteRelation:
    torch.manual_seed(0)
    return DiscreteRelation(8, 12, codes_per_channel=0.5, **options)


X = asymmetric(40, 8, dtype=torch.float32)


def test_soft_choices_mix_codes():
    made = relation(choice={})
    queries, keys = made(X)
    torch.testing.assert_close(queries, made.query(X).softmax(dim=1) @ made.codes)
    torch.testing.assert_close(keys, made.key(X).softmax(dim=1) @ made.codes)
    assert made.codes.shape == (6, 12)


@pytest.mark.parametrize("kind", ["gumbel", "st_argmax"])
def test_hard_choices_are_codes_and_learn_through(kind):
    made = relation(choice={"kind": kind})
    for mode in (True, False):
        queries, keys = made.train(mode)(X)
        both = torch.cat([queries, keys]).unsqueeze(1)
        away = (both - made.codes).norm(dim=2).amin(dim=1)
        assert float(away.max()) < 1e-5
    made.train()(X)[0].square().sum().backward()
    assert made.query.weight.grad.abs().sum() > 0 and made.codes.grad.abs().sum() > 0


def test_nearest_codes_are_moving_averages():
    made = relation(quantizer={"init": "kmeans", "decay": 0.5})
    assert not list(made.quantizer.parameters())
    before = made.quantizer.codes.clone()
    queries, keys = made.train()(X)
    assert not torch.equal(made.quantizer.codes, before)
    queries, keys = made.eval()(X)
    both = torch.cat([made.query(X), made.key(X)])
    nearest = torch.cdist(both, made.quantizer.codes).argmin(dim=1)
    torch.testing.assert_close(torch.cat([queries, keys]), made.quantizer.codes[nearest])
    made(X)[1].square().sum().backward()
    assert made.key.weight.grad.abs().sum() > 0


def test_choices_can_be_observed():
    made = relation(choice={})
    with observe_choices(made) as seen:
        made(X)
    assert [tuple(weights.shape) for weights in seen.values()] == [(80, 6, 1)]


def test_one_of_the_two_kinds():
    for options in ({}, {"choice": {}, "quantizer": {}}):
        with pytest.raises(ValueError, match="give one of them"):
            relation(**options)
