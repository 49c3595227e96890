"""The points that no other point beats in both of two columns."""

from __future__ import annotations

import math
from collections.abc import Sequence


def front(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """Positions of the points on the front, by rising cost.

    A point is on it if none has at most its cost and at least its gain, and less of the one or
    more of the other. Of equal points all are on it. NaN and infinite values are on no front.

    Args:
        costs: what should be low.
        gains: what should be high, as many.
    """
    pairs = list(zip(costs, gains, strict=True))
    finite = [i for i, pair in enumerate(pairs) if all(map(math.isfinite, pair))]
    order = sorted(finite, key=lambda i: (pairs[i][0], -pairs[i][1]))
    found: list[int] = []
    for i in order:
        if not found or pairs[i][1] > pairs[found[-1]][1] or pairs[i] == pairs[found[-1]]:
            found.append(i)
    return found
