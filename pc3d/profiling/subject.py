"""A network at work, in evaluation and in training, and how long each pass takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pc3d.models.api import SegmentationOutput
from pc3d.profiling.laps import Clock, Laps, Seconds
from pc3d.sparse import Batch

MakeBatch = Callable[[], Batch]
"""Gives the same batch again and again, each time without any maps."""


@dataclass(frozen=True)
class Turn:
    """Seconds of one pass of each kind, by scope.

    Attributes:
        inference: forward in evaluation.
        forward: forward in training, and the loss.
        backward: the way back.
    """

    inference: Seconds
    forward: Seconds
    backward: Seconds

    @property
    def sums(self) -> Mapping[str, float]:
        """Of each kind, all scopes together."""
        return {kind: sum(found.values()) for kind, found in vars(self).items()}


class Subject:
    """The network that is measured, on its device.

    Args:
        network: runs, learns and forgets its gradients; give a copy.
        make_batch: gives the batch, on the same device.
        autocast: the type that features are computed in, or None for float32.
    """

    def __init__(
        self, network: nn.Module, make_batch: MakeBatch, autocast: torch.dtype | None
    ) -> None:
        self.network, self.make_batch, self.autocast = network, make_batch, autocast
        self.device = next(network.parameters()).device

    def forward(self, batch: Batch) -> SegmentationOutput:
        """One pass."""
        with self._precision():
            output: SegmentationOutput = self.network(batch)
        return output

    def loss(self, batch: Batch) -> Tensor:
        """One pass, its cross-entropy against made-up labels, and the auxiliary losses."""
        output = self.forward(batch)
        rows, num_classes = output.logits.shape
        labels = torch.arange(rows, device=self.device) % num_classes
        loss = nn.functional.cross_entropy(output.logits.float(), labels)
        return torch.stack([loss, *output.aux_losses.values()]).sum()

    def turn(self, by_scope: bool) -> Turn:
        """Time one pass of each kind; with `by_scope`, all scopes are told apart."""
        clock = Clock(self.device)

        def timed(run: Callable[[Batch], Any]) -> tuple[Any, Laps]:
            laps, batch = Laps(clock), self.make_batch()
            clock.wait()
            with laps.forward(self.network if by_scope else None):
                result = run(batch)
            return result, laps

        self.network.eval()
        with torch.no_grad():
            _, inference = timed(self.forward)
        self.network.train()
        loss, training = timed(self.loss)
        training.backward(loss, self.network if by_scope else None)
        self.network.zero_grad()
        return Turn(
            inference.forward_seconds(), training.forward_seconds(), training.backward_seconds()
        )

    def _precision(self) -> AbstractContextManager[Any]:
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, self.autocast)
