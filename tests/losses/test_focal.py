"""Focal loss by hand, and beside cross-entropy."""

from __future__ import annotations

from math import exp, log

import pytest
import torch

from pc3d.losses import CrossEntropy, Focal
from tests.attack import asymmetric

TARGET = [0, 3, -1, 0, 1, 3, 3, -1, 0]
WEIGHTS = [3.0, 0.5, 1.25, 0.1]


def by_hand(logits, target, gamma, weights) -> float:
    """Equation 5 of the paper, row by row, over the sum of the weights."""
    total = mass = 0.0
    for row, label in zip(logits.tolist(), target, strict=True):
        if label >= 0:
            p = exp(row[label]) / sum(map(exp, row))
            total -= weights[label] * (1 - p) ** gamma * log(p)
            mass += weights[label]
    return total / mass


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("scale", [1.0, 6.0])
def test_equals_the_formula(gamma, weights, scale):
    logits = asymmetric(9, 4) * scale
    value = Focal(gamma, weights)(logits, torch.tensor(TARGET)).item()
    assert value == pytest.approx(by_hand(logits, TARGET, gamma, weights or [1.0] * 4), rel=1e-6)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_with_gamma_zero_it_is_cross_entropy(weights):
    logits = (asymmetric(9, 4, dtype=torch.float32) * 4).requires_grad_()
    losses = [Focal(0.0, weights), CrossEntropy(weights)]
    values = [loss(logits, torch.tensor(TARGET)) for loss in losses]
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*(torch.autograd.grad(v, logits)[0] for v in values))


def test_a_row_at_one_half():
    """(1 - 1/2)^2 log 2."""
    value = Focal(2.0)(torch.zeros(1, 2), torch.tensor([1]))
    assert value.item() == pytest.approx(0.25 * log(2))


def test_negative_gamma_is_refused():
    with pytest.raises(ValueError, match="gamma"):
        Focal(-1.0)
