"""Running statistics of a subnet's batch norms, which no training gave it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pc3d.sparse import Batch


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Iterable[Batch]) -> None:
    """Set the running statistics of all batch norms to means over batches, in place.

    All else is as in evaluation: no dropout, no auxiliary losses. Each batch counts the same.

    Args:
        network: of `Supernet.extract`, or any other; it is left in the mode that it was in.
        batches: of training data, on its device.

    Raises:
        ValueError: no batches; the network is as it was.
    """
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        raise ValueError("recalibration needs at least one batch of training data; got none")
    with _averaging(network):
        for batch in chain([first], batches):
            network(batch)


@contextmanager
def _averaging(network: nn.Module) -> Iterator[None]:
    was_training = network.training
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None  # the mean of all batches
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.train(was_training)
