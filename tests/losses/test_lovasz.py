"""Lovasz-softmax against the set function that it extends."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch

from pc3d.losses import Lovasz
from pc3d.losses.lovasz import jaccard_gradient
from tests import oracle
from tests.attack import asymmetric

CASES = {
    "three classes": [0, 1, 2, 0, 1, 0, 0, 2],
    "ignored rows": [0, -1, 2, 0, -1, -1, 2, 2],
    "absent class": [3, 0, 3, 0, 0, 0, 3, 3],
    "one class": [1] * 8,
    "one labelled row": [-1, -1, -1, -1, 2, -1, -1, -1],
}


@pytest.mark.parametrize("scale", [0.3, 4.0])
@pytest.mark.parametrize("name", CASES)
def test_equals_the_integral_of_the_jaccard_loss(name, scale):
    logits = asymmetric(8, 4, dtype=torch.float32) * scale
    loss = Lovasz()(logits, torch.tensor(CASES[name]))
    assert loss.item() == pytest.approx(oracle.lovasz_softmax(logits, CASES[name]), rel=1e-5)


@pytest.mark.parametrize("truth", [(1, 0, 0), (1, 1, 0), (1, 1, 1)])
def test_on_certain_predictions_it_is_the_jaccard_loss(truth):
    """For every set of errors over three rows, <e, gradient> = 1 - IoU."""
    for wrong in product((0.0, 1.0), repeat=3):
        error, order = torch.tensor(wrong).sort(descending=True, stable=True)
        value = error @ jaccard_gradient(torch.tensor(truth).float()[order])
        members = {i for i in range(3) if wrong[i]}
        expected = oracle.jaccard_loss(members, {i for i in range(3) if truth[i]})
        assert value.item() == pytest.approx(expected, abs=1e-6)


def test_by_hand():
    """Two rows of class 0, one wrong with certainty: IoU 1/2 of class 0, and class 1 is absent."""
    logits = torch.tensor([[50.0, 0.0], [0.0, 50.0]])
    assert Lovasz()(logits, torch.tensor([0, 0])).item() == pytest.approx(0.5)
    assert Lovasz()(logits, torch.tensor([0, 1])).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_gradient_equals_finite_differences_of_the_oracle(name):
    logits = asymmetric(8, 4) * 2
    leaf = logits.float().requires_grad_()
    Lovasz()(leaf, torch.tensor(CASES[name])).backward()
    step = 1e-6
    for row, column in product(range(8), range(4)):
        values = []
        for sign in (1, -1):
            moved = logits.clone()
            moved[row, column] += sign * step
            values.append(oracle.lovasz_softmax(moved, CASES[name]))
        slope = (values[0] - values[1]) / (2 * step)
        assert leaf.grad[row, column].item() == pytest.approx(slope, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("num_rows", [0, 5])
def test_without_labels_it_is_zero_with_a_zero_gradient(num_rows):
    logits = torch.randn(num_rows, 4, requires_grad=True)
    loss = Lovasz()(logits, torch.full((num_rows,), -1))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(num_rows, 4))


def test_another_ignore_index():
    logits = asymmetric(8, 4, dtype=torch.float32)
    target = torch.tensor(CASES["ignored rows"])
    loss = Lovasz(ignore_index=255)(logits, target.masked_fill(target == -1, 255))
    assert torch.equal(loss, Lovasz()(logits, target))


def test_half_precision_is_computed_in_float32():
    logits = asymmetric(8, 4, dtype=torch.float32).bfloat16()
    loss = Lovasz()(logits, torch.tensor(CASES["three classes"]))
    assert loss.dtype == torch.float32 and math.isfinite(loss.item())
