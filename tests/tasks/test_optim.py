"""Parameter groups, and schedules by their formulas."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.optim import SGD

from pc3d.models import MinkUNet
from pc3d.nn import BatchNorm
from pc3d.tasks.optim import constant, cosine, multi_step, one_cycle, parameter_groups, poly

LR = 0.4


def network() -> MinkUNet:
    return MinkUNet(in_channels=3, num_classes=5, widths=[4, 6, 6, 4], depths=[1, 1, 1, 1])


def test_norms_and_biases_do_not_decay_and_every_parameter_is_in_one_group():
    net = network()
    optimizer = SGD(parameter_groups(net), lr=LR, weight_decay=0.1)
    decay = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    listed = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(listed) == len(decay) == len(list(net.parameters()))
    norms = {id(p) for m in net.modules() if isinstance(m, BatchNorm) for p in m.parameters()}
    assert norms
    for name, p in net.named_parameters():
        expected = 0.0 if id(p) in norms or name.endswith("bias") else 0.1
        assert decay[id(p)] == expected, name


def test_frozen_parameters_are_left_out():
    net = network()
    net.head.requires_grad_(False)
    listed = {id(p) for group in parameter_groups(net) for p in group["params"]}
    assert listed == {id(p) for p in net.parameters() if p.requires_grad}


def rates(scheduler: Callable[..., object], total_steps: int, **options: float) -> list[float]:
    """The learning rate that each of `total_steps` optimizer steps uses, and one beyond."""
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=LR)
    schedule = scheduler(optimizer, total_steps=total_steps, **options)
    used = []
    for _ in range(total_steps):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()  # Lightning steps it after the last step, too
    return [*used, optimizer.param_groups[0]["lr"]]


def test_constant():
    assert rates(constant, 5) == [LR] * 6


def test_multi_step_drops_at_parts_of_the_training():
    expected = [LR] * 24 + [LR / 10] * 8 + [LR / 100] * 5
    assert rates(multi_step, 36) == pytest.approx(expected)
    assert rates(multi_step, 4, milestones=[0.5], gamma=0.5) == [LR] * 2 + [LR / 2] * 3
    with pytest.raises(ValueError, match=r"parts of the training.*\[24, 32\]"):
        rates(multi_step, 36, milestones=[24, 32])


@pytest.mark.parametrize("power", [0.9, 2.0])
def test_poly_and_squared(power):
    expected = [LR * (1 - step / 10) ** power for step in range(10)] + [0.0]
    assert rates(poly, 10, power=power) == pytest.approx(expected)


def test_default_power_is_the_published():
    assert rates(poly, 10)[5] == pytest.approx(LR * 0.5**0.9)


def test_cosine_without_warmup():
    expected = [LR * 0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(8)] + [0.0]
    assert rates(cosine, 8) == pytest.approx(expected, abs=1e-15)


def test_cosine_with_warmup_starts_above_zero_and_peaks_at_the_rate():
    """4 steps up in equal parts, the peak, half a cosine over the other 8 down to 0."""
    used = rates(cosine, 12, warmup_steps=4)
    assert used[:5] == pytest.approx([LR / 4, LR / 2, LR * 3 / 4, LR, LR])
    assert used[8] == pytest.approx(LR / 2)
    assert used[12] == pytest.approx(0.0, abs=1e-15)
    assert used[4:] == sorted(used[4:], reverse=True)


def test_warmup_longer_than_training_never_overshoots():
    used = rates(cosine, 3, warmup_steps=10)
    assert used == pytest.approx([LR * k / 10 for k in (1, 2, 3, 4)])


@pytest.mark.parametrize("scheduler", [poly, cosine])
def test_steps_beyond_the_end_stay_at_zero(scheduler):
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=LR)
    schedule = scheduler(optimizer, total_steps=4)
    for step in range(1, 8):
        optimizer.step()
        schedule.step()
        assert (schedule.get_last_lr()[0] > 1e-9) == (step < 4)


def test_one_cycle():
    used = rates(one_cycle, 101, pct_start=0.2, div_factor=10.0, final_div_factor=1e3)
    assert used[0] == pytest.approx(LR / 10)
    peak = max(range(101), key=lambda step: used[step])
    assert used[peak] == pytest.approx(LR, rel=1e-3) and abs(peak - 19) <= 1
    assert used[100] == pytest.approx(LR / 10 / 1e3)


@pytest.mark.parametrize("total_steps", [1, 2, 3, 19, 20, 21])
def test_one_cycle_of_a_short_training(total_steps):
    used = rates(one_cycle, total_steps)
    assert all(0 < rate <= LR * (1 + 1e-9) for rate in used)


def test_one_cycle_keeps_momentum_and_the_ratio_of_groups():
    slow, fast = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = SGD([{"params": [slow], "lr": 0.01}, {"params": [fast]}], lr=LR, momentum=0.9)
    schedule = one_cycle(optimizer, total_steps=50)
    for _ in range(49):
        a, b = optimizer.param_groups
        assert a["momentum"] == b["momentum"] == 0.9
        assert b["lr"] / a["lr"] == pytest.approx(40)
        optimizer.step()
        schedule.step()
