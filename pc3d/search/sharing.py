"""Which part of a shared tensor a smaller network uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Part(NamedTuple):
    """A stretch of an axis: of `full` shared entries the first `size` are used."""

    size: int
    full: int


Axes = Mapping[int, Sequence[Part]]
"""What an axis consists of, where it is not one part."""


def used(shared: Tensor, shape: Sequence[int], axes: Axes) -> Tensor:
    """The entries of a shared tensor that a smaller one of the given shape uses.

    The first ones of every axis, and of an axis of several parts the first ones of each: what was
    concatenated has its parts where they are in the largest network, so that a weight always meets
    the same features (SPVNAS, Tang et al. 2020, arXiv 2007.16100).

    Returns:
        Contiguous, as the smaller network's own tensor would be; the shared tensor's memory where
        all of it is used.

    Raises:
        ValueError: an axis that is larger than what is shared.
    """
    found = shared
    for axis, size in enumerate(shape):
        parts = axes.get(axis, (Part(size, shared.shape[axis]),))
        if sum(part.size for part in parts) != size or any(p.size > p.full for p in parts):
            raise ValueError(f"{size} entries of axis {axis} of {list(shared.shape)} as {parts}")
        pieces, start = [], 0
        for part in parts:
            pieces.append(found.narrow(axis, start, part.size))
            start += part.full
        found = torch.cat(pieces, dim=axis) if len(pieces) > 1 else pieces[0]
    return found.contiguous()
