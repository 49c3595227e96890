"""What training does for codebooks: it tells them how far it is, and how they are used."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from pc3d.nn import Choice, CodebookAttention
from pc3d.nn.choice import entropy
from pc3d.nn.splitting import copy_rows

log = logging.getLogger(__name__)

DEAD_SHARE = 0.01
"""A code is dead in a group where its mean weight is below this part of the uniform weight."""
COLLAPSED = 1.05
"""Perplexity below which (nearly) every voxel takes the same code."""


class ChoiceProgress(pl.Callback):
    """Tells the codebooks before a step how much of the training is done.

    `progress` of every `Choice` is set: temperature and warm-up follow it. Codes are split when it
    has come to the next entry of their layer's `splitting.at`; the optimizer then takes its moments
    of a code for those of the copy as well. Computed from the step and from the codes that are
    there, so that a resumed run goes on where it was.
    """

    def __init__(self) -> None:
        self._due: dict[str, int] = {}  # splits of every layer, as far as they have been seen to

    def on_train_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        self._due.clear()

    def on_train_batch_start(
        self, trainer: pl.Trainer, task: pl.LightningModule, batch: Any, batch_index: int
    ) -> None:
        progress = min(1.0, trainer.global_step / max(1.0, trainer.estimated_stepping_batches))
        for choice in choices_of(task).values():
            choice.progress.fill_(progress)
        grown = None
        for name, layer in task.named_modules():
            due = 0
            if isinstance(layer, CodebookAttention):
                due = sum(progress >= t for t in layer.splitting.at)
            if due > self._due.get(name, 0):
                self._due[name] = due
                for _ in range(layer.num_splits, due):
                    split(layer, trainer.optimizers)
                    grown = layer.num_born
        if grown is not None and trainer.is_global_zero:
            log.info("codes are split at %.0f %% of the training: %d now", 100 * progress, grown)


def split(layer: CodebookAttention, optimizers: Sequence[Optimizer]) -> None:
    """Split the codes of a layer, and with them what the optimizers know of them."""
    copies = layer.split()
    parameters = dict(layer.named_parameters())
    for optimizer in optimizers:
        states = {name: optimizer.state.get(p, {}) for name, p in parameters.items()}
        keys = {
            key
            for name, state in states.items()
            for key, value in state.items()
            if isinstance(value, Tensor) and value.shape == parameters[name].shape
        }
        for key in keys:
            tensors = {name: state[key] for name, state in states.items() if key in state}
            known = [c for c in copies if c.source.name in tensors and c.target.name in tensors]
            copy_rows(tensors, known)


class CodebookUsage(pl.Callback):
    """Logs, for every block and epoch, how the codes are used in training.

    `codebook/<block>/perplexity`: exp of the entropy of the codes' mean weights, mean over groups;
    between 1 and the number of codes. `.../entropy`: mean entropy of one voxel's choice, over log
    D; 0 for hard choices, 1 for uniform ones. `.../dead`: pairs of code and group that (nearly) no
    voxel uses. Warns once for each block that has collapsed onto one code.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._shares: dict[str, Tensor | None] = {}
        self._handles: list[RemovableHandle] = []
        self._warned: set[str] = set()

    def on_train_epoch_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        self._sums.clear()
        for name, choice in choices_of(task).items():

            def add(module: nn.Module, args: Any, weights: Tensor, name: str = name) -> None:
                total = voxel_sums(weights.detach().float())
                self._shares[name] = args[1] if len(args) > 1 else None
                self._sums[name] = self._sums[name] + total if name in self._sums else total

            self._handles.append(choice.register_forward_hook(add))

    def on_train_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        self._remove_hooks()
        values: dict[str, Tensor] = {}
        for name, total in self._sums.items():
            total = trainer.strategy.reduce(total, reduce_op="sum")
            found = usage_scores(total, self._shares[name])
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
    found = {name: m for name, m in task.named_modules() if isinstance(m, Choice)}
    return {_short(name): choice for name, choice in found.items()}


def _short(name: str) -> str:
    name = name.removeprefix("network.").removeprefix("backbone.").removesuffix(".choice")
    return name.removesuffix(".relation").removesuffix(".attention")


def voxel_sums(weights: Tensor) -> Tensor:
    """[D + 2, G]: sums over voxels of weights [N, D, G], of their entropies, and of 1."""
    ones = torch.ones_like(weights[:, :1])
    entropies = entropy(weights, dim=1).unsqueeze(1)
    return torch.cat([weights, entropies, ones], dim=1).sum(dim=0)


def usage_scores(sums: Tensor, share: Tensor | None = None) -> dict[str, Tensor]:
    """Perplexity, entropy and dead codes from `voxel_sums`, which may be added up before.

    Codes with a `share` ([D], see `Codebook`) of 0 are not counted: they are yet to come.
    """
    means = sums[:-1] / sums[-1]
    weights = means[:-1]
    there = torch.ones_like(weights[:, 0]) if share is None else (share > 0).to(weights)
    num_codes = there.sum()
    dead = (weights < DEAD_SHARE / num_codes) & (there > 0).unsqueeze(1)
    return {
        "perplexity": entropy(weights, dim=0).exp().mean(),
        "entropy": (means[-1] / num_codes.log()).mean(),
        "dead": dead.sum().float(),
    }
