"""Dice by hand, and on sure predictions, where it is a count of points."""

from __future__ import annotations

from math import exp

import pytest
import torch

from pc3d.losses import Dice
from tests.attack import asymmetric

CASES = {
    "three classes": [0, 1, 2, 0, 1, 0, 0, 2],
    "ignored rows": [0, -1, 2, 0, -1, -1, 2, 2],
    "absent class": [3, 0, 3, 0, 0, 0, 3, 3],
    "one class": [1] * 8,
    "one labelled row": [-1, -1, -1, -1, 2, -1, -1, -1],
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("scale", [0.3, 4.0])
def test_equals_the_formula(name, scale):
    logits, target = asymmetric(8, 4) * scale, CASES[name]
    rows = [
        ([exp(v) / sum(map(exp, row)) for v in row], label)
        for row, label in zip(logits.tolist(), target, strict=True)
        if label >= 0
    ]
    per_class = []
    for index in {label for _, label in rows}:
        overlap = sum(p[index] for p, label in rows if label == index)
        both = sum(p[index] for p, _ in rows) + sum(label == index for _, label in rows)
        per_class.append(1 - 2 * overlap / both)
    expected = sum(per_class) / len(per_class)
    assert Dice()(logits, torch.tensor(target)).item() == pytest.approx(expected, rel=1e-9)


def test_on_sure_predictions_it_counts():
    """Class 0: 1 of 2 found, none wrong: 1 - 2/3. Class 1: 2 found, 1 wrong: 1 - 4/5."""
    logits = torch.tensor([[90.0, 0], [0, 90], [0, 90], [0, 90]])
    value = Dice()(logits, torch.tensor([0, 0, 1, 1]))
    assert value.item() == pytest.approx((1 / 3 + 1 / 5) / 2)
