"""Paired comparisons: the same seeds trained in two ways."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
POWER = 0.8


class Difference(NamedTuple):
    """How far one way lies above another.

    Attributes:
        mean: of the differences.
        low, high: ends of its 95 % interval (Student's t).
        deviation: standard deviation of the differences.
        num_seeds: pairs.
    """

    mean: float
    low: float
    high: float
    deviation: float
    num_seeds: int


def difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference | None:
    """Of two ways, value by seed, over the seeds that both have; None below two of them."""
    seeds = sorted(ours.keys() & theirs.keys())
    if len(seeds) < 2:
        return None
    return interval([ours[seed] - theirs[seed] for seed in seeds])


def interval(values: Sequence[float]) -> Difference:
    """Mean of at least two values with its 95 % interval (Student's t)."""
    count = len(values)
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, count - 1)) * deviation / math.sqrt(count)
    return Difference(mean, mean - half, mean + half, deviation, count)


def seeds_needed(deviation: float, effect: float) -> int:
    """Pairs that show a true difference `effect` in four of five repetitions.

    The smallest n with n >= ((t_0.975(n-1) + t_0.8(n-1)) * deviation / effect)^2, at least 2.
    """
    count = 2
    while True:
        quantiles = [stats.t.ppf(q, count - 1) for q in (0.5 + CONFIDENCE / 2, POWER)]
        if count >= (sum(quantiles) * deviation / effect) ** 2:
            return count
        count += 1
