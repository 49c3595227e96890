"""The front, against the definition."""

from __future__ import annotations

import math
import random

from pc3d.runs.pareto import front


def by_definition(costs: list[float], gains: list[float]) -> set[int]:
    points = range(len(costs))
    return {
        i
        for i in points
        if not any(
            costs[j] <= costs[i]
            and gains[j] >= gains[i]
            and (costs[j], gains[j]) != (costs[i], gains[i])
            for j in points
        )
    }


def test_against_the_definition():
    generator = random.Random(0)
    for _ in range(300):
        size = generator.randrange(0, 12)
        costs = [float(generator.randrange(5)) for _ in range(size)]
        gains = [float(generator.randrange(5)) for _ in range(size)]
        found = front(costs, gains)
        assert len(found) == len(set(found)) and set(found) == by_definition(costs, gains)
        assert [costs[i] for i in found] == sorted(costs[i] for i in found)


def test_what_is_no_number_beats_nothing():
    assert front([1.0, math.nan, 0.0, -math.inf], [1.0, 9.0, math.nan, 9.0]) == [0]
