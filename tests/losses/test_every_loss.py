"""What holds for every loss: rows without labels, precision, gradients."""

from __future__ import annotations

import pytest
import torch

from pc3d.losses import CrossEntropy, Dice, Focal, Lovasz, WeightedSum
from tests.attack import asymmetric

WEIGHTS = [3.0, 0.5, 1.25, 0.1]
EVERY = {
    "cross-entropy": CrossEntropy(),
    "weighted cross-entropy": CrossEntropy(WEIGHTS, label_smoothing=0.1),
    "focal": Focal(),
    "weighted focal": Focal(0.5, WEIGHTS),
    "dice": Dice(),
    "lovasz": Lovasz(),
    "sum": WeightedSum([Dice(), Focal(1.5, WEIGHTS)], [0.5, 2.0]),
}
TARGET = torch.tensor([0, 3, -1, 0, 1, 3, 3, -1, 0])  # class 2 is absent

each = pytest.mark.parametrize("loss", EVERY.values(), ids=EVERY)


@each
def test_gradcheck(loss):
    logits = (asymmetric(9, 4) * 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, TARGET), logits)


@each
def test_float64_is_not_rounded(loss):
    logits = asymmetric(9, 4) * 2
    value = loss(logits, TARGET)
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(loss(logits.float(), TARGET).item(), rel=1e-5)
    assert value.item() != loss(logits.float().double(), TARGET).item()


@each
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(loss, dtype):
    logits = asymmetric(9, 4, dtype=torch.float32).to(dtype)
    value = loss(logits, TARGET)
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(logits.float(), TARGET))


@each
def test_autocast_changes_nothing(loss):
    """Training with mixed precision takes the loss inside it."""
    logits = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    target = torch.arange(500) % 5 - 1
    expected = loss(logits, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(logits, target)
    assert value.dtype == torch.float32 and torch.equal(value, expected)


@each
@pytest.mark.parametrize("num_rows", [0, 5])
@pytest.mark.parametrize("scale", [1.0, 2.0**16])
def test_without_labels_it_is_zero_with_a_zero_gradient(loss, num_rows, scale):
    """Also times the factor by which mixed precision scales a loss."""
    logits = torch.randn(num_rows, 4, requires_grad=True)
    value = loss(logits, torch.full((num_rows,), -1))
    (value * scale).backward()
    assert value.item() == 0
    assert torch.equal(logits.grad, torch.zeros(num_rows, 4))


@each
def test_rows_without_labels_do_not_count(loss):
    logits = (asymmetric(9, 4, dtype=torch.float32) * 3).requires_grad_()
    labelled = TARGET >= 0
    value = loss(logits, TARGET)
    torch.testing.assert_close(value, loss(logits[labelled], TARGET[labelled]))
    (gradient,) = torch.autograd.grad(value, logits)
    assert not gradient[~labelled].any() and gradient[labelled].any(dim=1).all()


@each
def test_sure_predictions_have_a_finite_loss_and_gradient(loss):
    """Right and wrong by a margin where probabilities round to 0 and 1."""
    logits = torch.zeros(4, 4)
    logits[[0, 1, 2, 3], [0, 1, 3, 2]] = 200.0
    logits.requires_grad_()
    value = loss(logits, torch.tensor([0, 1, 3, 0]))
    value.backward()
    assert value.isfinite() and logits.grad.isfinite().all()


@each
def test_perfect_predictions_cost_nothing_and_better_ones_cost_less(loss):
    target = torch.tensor([0, 1, 1, 3])
    truth = torch.nn.functional.one_hot(target, 4).float()
    values = [loss(truth * margin, target).item() for margin in (-2, 0, 2, 5)]
    assert values == sorted(values, reverse=True) and len(set(values)) == 4
    if not (isinstance(loss, CrossEntropy) and loss.label_smoothing):
        assert loss(truth * 200.0, target).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("kind", [CrossEntropy, Focal, Dice, Lovasz])
def test_another_ignore_index(kind):
    logits = asymmetric(9, 4, dtype=torch.float32)
    value = kind(ignore_index=255)(logits, TARGET.masked_fill(TARGET == -1, 255))
    assert torch.equal(value, kind()(logits, TARGET))


@pytest.mark.parametrize("kind", [CrossEntropy, Focal])
def test_weights_follow_the_module_but_are_not_saved(kind):
    module = kind(class_weights=WEIGHTS)
    assert module.state_dict() == {}
    assert module.to(torch.float64).class_weights.dtype == torch.float64
