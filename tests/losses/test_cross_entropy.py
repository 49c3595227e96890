"""Cross-entropy equals torch's where torch's is defined, and is 0 where it is not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pc3d.losses import CrossEntropy
from tests.attack import asymmetric

WEIGHTS = [3.0, 0.5, 1.25, 0.1]


def data(ignore_index: int = -1) -> tuple[torch.Tensor, torch.Tensor]:
    logits = asymmetric(40, 4, dtype=torch.float32) * 5
    target = torch.arange(40) % 5
    return logits.requires_grad_(), torch.where(target == 4, ignore_index, target)


@pytest.mark.parametrize("ignore_index", [-1, 255])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_equals_torch(weights, smoothing, ignore_index):
    logits, target = data(ignore_index)
    ours = CrossEntropy(weights, smoothing, ignore_index)(logits, target)
    theirs = nn.functional.cross_entropy(
        logits,
        target,
        weight=None if weights is None else torch.tensor(weights),
        ignore_index=ignore_index,
        label_smoothing=smoothing,
    )
    torch.testing.assert_close(ours, theirs)
    grads = [torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*grads)


def test_weighted_mean_by_hand():
    """Two rows of uniform scores: every term is log 2, whatever the weights."""
    loss = CrossEntropy([3.0, 1.0])(torch.zeros(3, 2), torch.tensor([0, 1, -1]))
    assert loss.item() == pytest.approx(0.6931472)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("scale", [1.0, 2.0**16])
def test_without_labels_it_is_zero_with_a_zero_gradient(weights, smoothing, scale):
    """Also times the factor by which mixed precision scales a loss."""
    logits = torch.randn(6, 4, requires_grad=True)
    loss = CrossEntropy(weights, smoothing)(logits, torch.full((6,), -1))
    (loss * scale).backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(6, 4))


def test_no_rows():
    logits = torch.empty(0, 4, requires_grad=True)
    loss = CrossEntropy()(logits, torch.empty(0, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0 and logits.grad.shape == (0, 4)


def test_computes_in_float32_and_its_weights_are_not_saved():
    module = CrossEntropy(WEIGHTS)
    logits, target = data()
    assert module(logits.bfloat16(), target).dtype == torch.float32
    assert module.state_dict() == {}
    assert module.to(torch.float64).class_weights.dtype == torch.float64  # it is a buffer
