"""Colours that are easy to tell apart."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from itertools import count

# Okabe and Ito (2008): readable with every colour vision; without black, which shading hides.
_FIRST = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
)
_GOLDEN = 0.618034  # hues that far apart never meet


def distinct_colors() -> Iterator[tuple[int, int, int]]:
    """RGB, 0..255, without end; the first seven are the easiest to tell apart."""
    yield from _FIRST
    for i in count():
        rgb = colorsys.hsv_to_rgb(i * _GOLDEN % 1.0, 0.9, 0.55 + 0.2 * (i % 3))
        red, green, blue = (round(255 * channel) for channel in rgb)
        yield red, green, blue
