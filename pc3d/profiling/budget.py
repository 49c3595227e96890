"""The largest scene that fits into an amount of memory: extrapolated, then tried."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pc3d.profiling.memory import memory_of
from pc3d.profiling.subject import MakeBatch, Subject

ADAMW = 2
"""Numbers that the optimizer keeps for each weight."""
ENOUGH = 0.9
"""Share of the budget that a scene must use to count as the largest."""
AIM = 0.97
"""Share that is aimed at: what is a little larger than expected still fits."""
MAX_TRIES = 8


@dataclass(frozen=True)
class Trial:
    """What one size needs.

    Attributes:
        num_voxels: of the scene.
        need: bytes of tensors at most: weights, batch, and a pass.
        expected: bytes that were extrapolated; 0 for the first sizes.
    """

    num_voxels: int
    need: int
    expected: int


def need(
    network: nn.Module,
    make_batch: MakeBatch,
    training: bool,
    autocast: torch.dtype | None = None,
) -> tuple[int, int]:
    """Voxels of the batch, and bytes of tensors that a pass over it needs at most.

    Weights and batch included; in training also gradients and what AdamW keeps.
    """
    subject = Subject(copy.deepcopy(network), make_batch, autocast)
    subject.network.train(training)
    batch = make_batch()
    with torch.set_grad_enabled(training):
        if training:
            use = memory_of(subject.network, lambda: subject.loss(batch), Tensor.backward)
        else:
            use = memory_of(subject.network, lambda: subject.forward(batch))
    tensors = [*network.parameters(), *network.buffers()]
    weights = sum(tensor.nbytes for tensor in tensors)
    kept = ADAMW * sum(p.nbytes for p in network.parameters()) if training else 0
    points, voxels = batch.points, batch.voxels
    given = voxels.feats.nbytes + voxels.coords.indices.nbytes + voxels.coords.keys.nbytes
    given += batch.point2voxel.nbytes + points.xyz.nbytes + points.row.nbytes
    return len(voxels.coords), weights + kept + given + use.peak


def largest_scene(
    measure: Callable[[int], tuple[int, int]], budget: int, first: int, limit: int = 20_000_000
) -> list[Trial]:
    """Sizes that were tried; the last one is the largest that fits.

    Memory grows about in proportion to the voxels, beside a constant part: two sizes give a line,
    and the next is tried where it comes close to the budget. It ends with a scene that uses at
    least `ENOUGH` of the budget, or after `MAX_TRIES`.

    Args:
        measure: voxels and bytes of a scene of about so many voxels.
        budget: bytes.
        first: voxels of the first size; the second has twice as many.
        limit: voxels that are not exceeded, however much fits.

    Raises:
        ValueError: not even the first size fits.
    """
    trials = [Trial(*measure(first), expected=0)]
    if trials[0].need > budget:
        raise ValueError(
            f"{trials[0].num_voxels:,} voxels need {_gib(trials[0].need)} already, the budget is "
            f"{_gib(budget)}. Start with fewer (voxels=) or allow more."
        )
    trials.append(Trial(*measure(2 * first), expected=0))
    ratio = 1.0  # of what is asked for to what comes
    for _ in range(MAX_TRIES):
        fitting = [trial for trial in trials if trial.need <= budget]
        best = max(fitting, key=lambda trial: trial.num_voxels)
        if best.need >= ENOUGH * budget or best.num_voxels >= 0.99 * limit:
            break
        too_large = [trial for trial in trials if trial.need > budget]
        if too_large:
            low, high = best, min(too_large, key=lambda trial: trial.num_voxels)
        else:
            low, high = sorted(trials, key=lambda trial: trial.num_voxels)[-2:]
        slope = (high.need - low.need) / (high.num_voxels - low.num_voxels)
        wanted = min(int(low.num_voxels + (AIM * budget - low.need) / slope), limit)
        expected = int(low.need + slope * (wanted - low.num_voxels))
        trials.append(Trial(*measure(int(wanted * ratio)), expected=expected))
        ratio *= wanted / trials[-1].num_voxels
    fitting = [trial for trial in trials if trial.need <= budget]
    best = max(fitting, key=lambda trial: trial.num_voxels)
    return [trial for trial in trials if trial is not best] + [best]


def _gib(size: float) -> str:
    return f"{size / 2**30:.3g} GiB"
