"""Parameter groups and learning-rate schedules, all stepped once per optimizer step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from pc3d.nn import Codebook

OptimizerFactory = Callable[[list[dict[str, Any]]], Optimizer]
SchedulerFactory = Callable[..., LRScheduler]
"""Called as `scheduler(optimizer, total_steps=...)`."""


def parameter_groups(network: nn.Module) -> list[dict[str, Any]]:
    """Two groups: weights, which decay, and norms, biases and codes, which never do."""
    codes = {
        parameter
        for module in network.modules()
        if isinstance(module, Codebook)
        for parameter in module.parameters(recurse=False)
    }
    groups: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
    for parameter in network.parameters():
        if parameter.requires_grad:
            groups[parameter.ndim <= 1 or parameter in codes].append(parameter)
    return [{"params": groups[False]}, {"params": groups[True], "weight_decay": 0.0}]


def constant(optimizer: Optimizer, total_steps: int) -> LRScheduler:
    """The learning rate of the optimizer, unchanged."""
    del total_steps
    return LambdaLR(optimizer, lambda step: 1.0)


def poly(optimizer: Optimizer, total_steps: int, power: float = 0.9) -> LRScheduler:
    """`lr * (1 - step / total_steps) ** power`; power 2 is the "squared" schedule."""
    return LambdaLR(optimizer, lambda step: max(0.0, 1 - step / total_steps) ** power)


def cosine(optimizer: Optimizer, total_steps: int, warmup_steps: int = 0) -> LRScheduler:
    """Linear warm-up, then half a cosine to 0.

    Args:
        optimizer: its learning rate is the peak.
        total_steps: optimizer steps of the whole training.
        warmup_steps: steps until the peak.
    """

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    return LambdaLR(optimizer, factor)


def multi_step(
    optimizer: Optimizer,
    total_steps: int,
    milestones: Sequence[float] = (2 / 3, 8 / 9),
    gamma: float = 0.1,
) -> LRScheduler:
    """Multiply the learning rate by `gamma` at each milestone.

    Args:
        optimizer: its learning rate is the first.
        total_steps: optimizer steps of the whole training.
        milestones: as parts of the training, within 0..1.
        gamma: factor.

    Raises:
        ValueError: a milestone outside 0..1.
    """
    if not all(0 <= milestone <= 1 for milestone in milestones):
        raise ValueError(
            f"multi_step: milestones are parts of the training, 0..1; got {list(milestones)}"
        )
    steps = [round(milestone * total_steps) for milestone in milestones]
    return LambdaLR(optimizer, lambda step: gamma ** sum(step >= s for s in steps))


def one_cycle(
    optimizer: Optimizer,
    total_steps: int,
    pct_start: float = 0.05,
    div_factor: float = 10.0,
    final_div_factor: float = 1e4,
) -> LRScheduler:
    """Torch's `OneCycleLR` with cosine annealing; the optimizer's learning rates are the peaks.

    The momentum stays as it is, as in the published recipes. One or two steps have no cycle: they
    run at the peak.
    """
    if total_steps < 3:
        return constant(optimizer, total_steps)
    return OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=total_steps,
        # Torch divides by the steps of the warm-up less one.
        pct_start=max(pct_start, 2 / total_steps),
        div_factor=div_factor,
        final_div_factor=final_div_factor,
        cycle_momentum=False,
    )
