"""Codes that are split in two: a copy plus noise, and each takes half of what they were chosen."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Splitting:
    """When codes are split, and how unlike their copies are.

    Args:
        at: fractions of the training, ascending; at each of them every code becomes two.
        noise: standard deviation of the difference between a code and its copy, relative to the
            spread of the code's weights.

    Raises:
        ValueError: fractions outside [0, 1) or not ascending, negative noise.
    """

    at: Sequence[float] = ()
    noise: float = 0.1

    def __post_init__(self) -> None:
        if not all(0 <= t < 1 for t in self.at) or sorted(set(self.at)) != list(self.at):
            raise ValueError(
                "split.at must be ascending fractions of the training, from 0 to below 1; got "
                f"{list(self.at)}"
            )
        if self.noise < 0:
            raise ValueError(f"split.noise must not be negative; got {self.noise}")


class Rows(NamedTuple):
    """Part of a named tensor: those rows that belong to one code."""

    name: str
    rows: slice


class Copy(NamedTuple):
    """Rows that became a copy of others."""

    source: Rows
    target: Rows
    noisy: bool


@torch.no_grad()
def copy_rows(
    tensors: MutableMapping[str, Tensor] | Mapping[str, Tensor],
    copies: Sequence[Copy],
    noise: float = 0.0,
    generator: torch.Generator | None = None,
) -> None:
    """Copy rows within named tensors, in place.

    Args:
        tensors: by name.
        copies: what to copy.
        noise: standard deviation of what is added to the noisy ones, relative to that of the rows.
        generator: of the noise, on the CPU.
    """
    for source, target, noisy in copies:
        rows = tensors[source.name][source.rows]
        if noisy and noise:
            drawn = torch.randn(rows.shape, generator=generator).to(rows)
            rows = rows + noise * rows.std(correction=0) * drawn
        tensors[target.name][target.rows] = rows


def shares_after(share: Tensor, parents: Sequence[int]) -> Tensor:
    """[D + len(parents)], the shares once each of `parents` has a copy behind the last code.

    Args:
        share: [D], what part of a first code's mass each code has.
        parents: of the copies; a code may have several.
    """
    children = torch.zeros_like(share)
    for parent in parents:
        children[parent] += 1
    share = share / (1 + children)
    return torch.cat([share, share[list(parents)]])
