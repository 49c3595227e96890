"""The weighted sum."""

from __future__ import annotations

import pytest
import torch

from pc3d.losses import CrossEntropy, Lovasz, WeightedSum
from tests.attack import asymmetric


def test_is_the_weighted_sum():
    logits, target = asymmetric(8, 3, dtype=torch.float32), torch.arange(8) % 3
    loss = WeightedSum([CrossEntropy(), Lovasz()], [2.0, 0.25])(logits, target)
    expected = 2 * CrossEntropy()(logits, target) + 0.25 * Lovasz()(logits, target)
    torch.testing.assert_close(loss, expected)


def test_moves_its_losses():
    loss = WeightedSum([CrossEntropy([1.0, 2.0])], [1.0]).to(torch.float64)
    assert loss.losses[0].class_weights.dtype == torch.float64


@pytest.mark.parametrize("weights", [[1.0], [1.0, 1.0, 1.0]])
def test_refuses_another_number_of_weights(weights):
    with pytest.raises(ValueError, match=f"2 losses and {len(weights)} weights"):
        WeightedSum([CrossEntropy(), Lovasz()], weights)


def test_refuses_nothing():
    with pytest.raises(ValueError, match="0 losses"):
        WeightedSum([], [])
