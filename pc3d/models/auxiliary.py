"""Auxiliary losses of choices and codebooks, gathered while a network runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pc3d.nn import Codebook, VectorQuantizer
from pc3d.nn.choice import balance_loss, observe_choices, usage_loss
from pc3d.nn.observe import observe


def check_weights(weights: Mapping[str, float] | None, known: Sequence[str]) -> dict[str, float]:
    """The weights that are not 0.

    Raises:
        ValueError: a name that is not known.
    """
    used = {name: weight for name, weight in (weights or {}).items() if weight}
    if set(used) - set(known):
        raise ValueError(f"regularizers must be of {', '.join(known)}; got {', '.join(used)}")
    return used


@contextmanager
def listen(network: nn.Module, weights: Mapping[str, float]) -> Iterator[dict[str, Tensor]]:
    """Gather the losses of whatever runs within the `with` block.

    Args:
        network: whose choices, codebooks and quantisers count.
        weights: of `usage`, `balance`, `diversity` and `orthogonality`; others are left out.

    Yields:
        Filled at the end of the block: the mean over all layers for each name, weighed, and
        `commitment`, weighed by the quantisers themselves.
    """
    losses: dict[str, Tensor] = {}
    with observe_choices(network) as choices, observe(network, VectorQuantizer) as quantized:
        yield losses
    books = [m for m in network.modules() if isinstance(m, Codebook) and len(m) > 1]
    of_layers = {
        "usage": lambda: [usage_loss(choice) for choice in choices.values()],
        "balance": lambda: [balance_loss(choice) for choice in choices.values()],
        "diversity": lambda: [book.diversity_loss() for book in books],
        "orthogonality": lambda: [book.orthogonality_loss() for book in books],
    }
    found = {name: (weight, of_layers[name]()) for name, weight in weights.items()}
    losses |= {name: weight * mean(values) for name, (weight, values) in found.items() if values}
    if quantized:
        losses["commitment"] = mean([loss for _, _, loss in quantized.values()])


def mean(losses: Sequence[Tensor]) -> Tensor:
    """The mean of scalars."""
    return torch.stack(list(losses)).mean()
