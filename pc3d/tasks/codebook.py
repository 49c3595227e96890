"""What training does for codebooks: it tells them how far it is, and how they are used."""

from __future__ import annotations

import logging
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from pc3d.nn import Choice
from pc3d.nn.choice import entropy

log = logging.getLogger(__name__)

DEAD_SHARE = 0.01
"""A code is dead in a group where its mean weight is below this part of the uniform weight."""
COLLAPSED = 1.05
"""Perplexity below which (nearly) every voxel takes the same code."""


class ChoiceProgress(pl.Callback):
    """Sets the `progress` of every `Choice` before a step: temperature and warm-up follow it.

    It is computed from the step alone, so that a resumed run goes on where it was.
    """

    def on_train_batch_start(
        self, trainer: pl.Trainer, task: pl.LightningModule, batch: Any, batch_index: int
    ) -> None:
        progress = min(1.0, trainer.global_step / max(1.0, trainer.estimated_stepping_batches))
        for choice in choices_of(task).values():
            choice.progress.fill_(progress)


class CodebookUsage(pl.Callback):
    """Logs, for every block and epoch, how the codes are used in training.

    `codebook/<block>/perplexity`: exp of the entropy of the codes' mean weights, mean over groups;
    between 1 and the number of codes. `.../entropy`: mean entropy of one voxel's choice, over log
    D; 0 for hard choices, 1 for uniform ones. `.../dead`: pairs of code and group that (nearly) no
    voxel uses. Warns once for each block that has collapsed onto one code.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._handles: list[RemovableHandle] = []
        self._warned: set[str] = set()

    def on_train_epoch_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        self._sums.clear()
        for name, choice in choices_of(task).items():

            def add(module: nn.Module, args: Any, weights: Tensor, name: str = name) -> None:
                total = voxel_sums(weights.detach().float())
                self._sums[name] = self._sums[name] + total if name in self._sums else total

            self._handles.append(choice.register_forward_hook(add))

    def on_train_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        self._remove_hooks()
        values: dict[str, Tensor] = {}
        for name, total in self._sums.items():
            total = trainer.strategy.reduce(total, reduce_op="sum")
            found = usage_scores(total)
            values |= {f"codebook/{name}/{key}": value for key, value in found.items()}
            if found["perplexity"] < COLLAPSED and name not in self._warned:
                self._warned.add(name)
                rank_zero_warn(
                    f"the choice of {name} has collapsed: nearly every voxel takes the same code "
                    f"(perplexity {found['perplexity']:.3f}). Raise model.regularizers.usage or "
                    "balance, the temperature, or the choice's noise."
                )
        task.log_dict(values)

    def on_exception(
        self, trainer: pl.Trainer, task: pl.LightningModule, exception: BaseException
    ) -> None:
        self._remove_hooks()

    def _remove_hooks(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


def choices_of(task: nn.Module) -> dict[str, Choice]:
    """The choices of a network by the short name of their block."""
    return {
        name.removeprefix("network.").removeprefix("backbone.").removesuffix(".attention.choice"): m
        for name, m in task.named_modules()
        if isinstance(m, Choice)
    }


def voxel_sums(weights: Tensor) -> Tensor:
    """[D + 2, G]: sums over voxels of weights [N, D, G], of their entropies, and of 1."""
    ones = torch.ones_like(weights[:, :1])
    entropies = entropy(weights, dim=1).unsqueeze(1)
    return torch.cat([weights, entropies, ones], dim=1).sum(dim=0)


def usage_scores(sums: Tensor) -> dict[str, Tensor]:
    """Perplexity, entropy and dead codes from `voxel_sums`, which may be added up before."""
    num_codes = len(sums) - 2
    means = sums[:-1] / sums[-1]
    share = means[:-1]
    most = torch.tensor(float(num_codes)).log()
    return {
        "perplexity": entropy(share, dim=0).exp().mean(),
        "entropy": (means[-1] / most).mean(),
        "dead": (share < DEAD_SHARE / num_codes).sum().float(),
    }
