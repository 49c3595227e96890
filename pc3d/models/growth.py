"""A trained network's weights for one that has more codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import torch
from torch import Tensor, nn

from pc3d.nn import CodebookAttention, CodeSpec
from pc3d.nn.splitting import copy_rows, shares_after


def grow_codes(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights that fit `network`, which may have more codes than the one they come from.

    The first codes are those of the state. Each further one is a copy, plus the layer's noise, of
    one with the same neighbourhood; the two share what the first was chosen. Without noise, and
    with a soft choice, the grown network gives the same output. Codes that are to come by splitting
    stay away.

    Args:
        network: the larger one; it is not changed.
        state: of the smaller network.

    Returns:
        The state with the tensors of grown layers replaced.

    Raises:
        ValueError: a further code has a neighbourhood that none of the first has.
    """
    grown = dict(state)
    for name, layer in network.named_modules():
        if isinstance(layer, CodebookAttention) and layer.codebook.share is not None:
            prefix = f"{name}." if name else ""
            share = state.get(f"{prefix}codebook.share")
            if share is not None and len(share) < len(layer.codebook):
                own = _extended(layer, prefix, state)
                if own is not None:
                    _add_codes(layer, own, share)
                    grown |= {prefix + key: tensor for key, tensor in own.items()}
    return grown


def _extended(
    layer: CodebookAttention, prefix: str, state: Mapping[str, Tensor]
) -> dict[str, Tensor] | None:
    """A layer's tensors with those of the state as their first rows; None if they do not fit."""
    own = {key: tensor.clone() for key, tensor in layer.state_dict().items()}
    given = {key: state[prefix + key] for key in own if prefix + key in state}
    for key, tensor in given.items():
        if tensor.shape[1:] != own[key].shape[1:]:
            return None
        rows = slice(len(tensor)) if tensor.ndim else ...
        own[key][rows] = tensor
    return own


def _add_codes(layer: CodebookAttention, tensors: dict[str, Tensor], share: Tensor) -> None:
    """Fill the rows of further codes, in place."""
    first, born = len(share), max(len(share), layer.num_born)
    parents = _parents(layer.codebook.specs[:born], share)
    pairs = zip(parents, range(first, born), strict=True)
    copies = [copy for parent, child in pairs for copy in layer.copies(parent, child)]
    generator = torch.Generator().manual_seed(first)
    copy_rows(tensors, copies, layer.splitting.noise, generator)
    shares = tensors["codebook.share"].zero_()
    shares[:born] = shares_after(share, parents)


def _parents(specs: Sequence[CodeSpec], share: Tensor) -> list[int]:
    """For every spec behind the first `len(share)`, one of those with the same neighbourhood."""
    there = [code for code in range(len(share)) if share[code] > 0]
    turns = {spec: cycle([c for c in there if specs[c] == spec]) for spec in set(specs)}
    found: list[int] = []
    for spec in specs[len(share) :]:
        parent = next(turns[spec], None)
        if parent is None:
            raise ValueError(
                f"code {len(share) + len(found)} ({spec}) has a neighbourhood that none of the "
                f"{len(share)} codes of the checkpoint has, so there is nothing to copy; expected "
                "further codes like the first ones"
            )
        found.append(parent)
    return found
