"""Inputs of vector attention that punish mistakes, and what plain loops make of them.

Sources and points differ in number; tables are random, with many gaps, a column of nothing but
gaps and a neighbour that occurs twice; what belongs to missing neighbours is NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from tests.attack import asymmetric

SIZES = [
    (7, 11, 4, 12, 3, 3),
    (9, 4, 5, 6, 6, 2),
    (6, 6, 1, 8, 1, 3),
    (5, 8, 3, 13, 1, 1),
    (20, 3, 8, 32, 4, 3),
    (3, 30, 6, 40, 5, 3),
    (4, 0, 2, 8, 2, 3),
    (0, 5, 3, 8, 2, 3),
]
"""N points, M sources, K neighbours, C channels, G groups, H hidden."""


@dataclass(frozen=True)
class Attention:
    """Arguments of all ops, by their names there; `grad` is that of the sum."""

    q: Tensor
    k: Tensor
    v: Tensor
    hidden: Tensor
    lift: Tensor
    bias: Tensor
    weight: Tensor
    weights: Tensor
    grad: Tensor
    table: Tensor

    @property
    def of_logits(self) -> tuple[Tensor, ...]:
        return self.q, self.k, self.hidden, self.lift, self.bias, self.weight, self.table

    @property
    def of_sum(self) -> tuple[Tensor, ...]:
        return self.weights, self.v, self.hidden, self.lift, self.table

    @property
    def groups(self) -> int:
        return self.weight.shape[1]

    def changed(self, change: object) -> Attention:
        """With `change` applied to everything but the table."""
        tensors = {name: value for name, value in vars(self).items() if name != "table"}
        return replace(self, **{name: change(value) for name, value in tensors.items()})  # type: ignore[operator]


def attention(n: int, m: int, k: int, c: int, g: int, h: int) -> Attention:
    """In float64."""
    generator = torch.Generator().manual_seed(n + m)
    table = torch.randint(-m, m, (k, n), generator=generator) if m else torch.full((k, n), -1)
    table = table.clamp(min=-1).to(torch.int32)
    if n:
        table[:, n // 2] = -1
        table[:, 0] = m - 1  # the same neighbour at every place
    missing = table < 0
    hidden = asymmetric(k, n, h, seed=3).masked_fill(missing.unsqueeze(2), math.nan)
    weights = asymmetric(n, k, g, seed=7).masked_fill(missing.T.unsqueeze(2), math.nan)
    shapes = ((n, c), (m, c), (m, c))
    q, keys, v = (asymmetric(*shape, seed=seed) for seed, shape in enumerate(shapes))
    rest = (asymmetric(h, c, seed=4), asymmetric(c, seed=5), asymmetric(c, g, seed=6))
    return Attention(q, keys, v, hidden, *rest, weights, asymmetric(n, c, seed=8), table)


@lru_cache
def loops(size: tuple[int, ...]) -> dict[str, Tensor]:
    """Results and gradients in float64, one number at a time."""
    a = attention(*size)
    q, k, v, hidden, lift, bias, weight, weights, grad = (
        value.tolist() for name, value in vars(a).items() if name != "table"
    )
    (n_points, m_points, taps, channels, groups, h), table = size, a.table.tolist()
    found = {
        "logits": torch.zeros(n_points, taps, groups, dtype=torch.float64),
        "sum": torch.zeros(n_points, channels, dtype=torch.float64),
        "grad_weights": torch.zeros(n_points, taps, groups, dtype=torch.float64),
        "grad_v": torch.zeros(m_points, channels, dtype=torch.float64),
        "grad_hidden": torch.zeros(taps, n_points, h, dtype=torch.float64),
        "grad_lift": torch.zeros(h, channels, dtype=torch.float64),
    }
    for n, j, c in (
        (n, j, c) for n in range(n_points) for j in range(taps) for c in range(channels)
    ):
        m, group = table[j][n], c // (channels // groups)
        if m < 0:
            continue
        delta = sum(hidden[j][n][i] * lift[i][c] for i in range(h))
        relation = max(k[m][c] - q[n][c] + delta + bias[c], 0.0)
        for g in range(groups):
            found["logits"][n, j, g] += relation * weight[c][g]
        share, slope = weights[n][j][group], grad[n][c]
        found["sum"][n, c] += share * (v[m][c] + delta)
        found["grad_weights"][n, j, group] += slope * (v[m][c] + delta)
        found["grad_v"][m, c] += slope * share
        for i in range(h):
            found["grad_hidden"][j, n, i] += slope * share * lift[i][c]
            found["grad_lift"][i, c] += slope * share * hidden[j][n][i]
    return found
