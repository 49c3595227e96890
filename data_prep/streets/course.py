"""Where a street runs: its centre line y = c(x), and coordinates along and across it.

The centre line is a sum of two long waves, so it has no ends, needs no table, and every point of it
follows from x alone. Street coordinates: u is the x of a centre-line point in metres (0.93 to 1 of
the length along the line), d the signed distance from the line in metres, positive to the left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Course:
    """A centre line.

    Attributes:
        bends: [2, 3] amplitude (metres), wave number (1/metre) and phase of the line's waves.
        hills: [2, 3] the same of its elevation.
    """

    bends: Array
    hills: Array

    def point(self, u: Array, d: Array) -> Array:
        """[n, 2] x and y of street coordinates, [n] each."""
        line, slope, _ = _waves(self.bends, u)
        length = np.sqrt(1 + slope**2)
        return np.stack([u - d * slope / length, line + d / length], axis=-1)

    def heading(self, u: Array) -> Array:
        """[n] direction of the line, radians from the x axis."""
        return np.arctan(_waves(self.bends, u)[1])

    def elevation(self, u: Array) -> Array:
        """[n] metres."""
        return _waves(self.hills, u)[0]

    def pitch(self, u: Array) -> Array:
        """[n] angle by which the line rises, radians."""
        return np.arctan(_waves(self.hills, u)[1] * np.cos(self.heading(u)))

    def coordinates(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Street coordinates of points: the nearest centre-line point, by Newton's method.

        Two steps leave millimetres within 30 m of the line. Far inside a bend, where the nearest
        point is not unique, they keep to one.
        """
        u = x
        for _ in range(2):
            line, slope, bend = _waves(self.bends, u)
            stiffness = np.maximum(1 + slope**2 - (y - line) * bend, 0.5)
            u = u + (x - u + (y - line) * slope) / stiffness
        line, slope, _ = _waves(self.bends, u)
        return u, (y - line - (x - u) * slope) / np.sqrt(1 + slope**2)


def draw_course(rng: Generator) -> Course:
    """Nearly straight to winding (radius of 80 m), over hills of half a metre."""
    bends = np.column_stack(
        [rng.uniform(0.0, (6.0, 2.5)), 2 * np.pi / rng.uniform((180, 90), (320, 150)),
         rng.uniform(0, 2 * np.pi, 2)]
    )  # fmt: skip
    hills = np.column_stack(
        [rng.uniform(0.0, (0.4, 0.1)), 2 * np.pi / rng.uniform((150, 60), (300, 90)),
         rng.uniform(0, 2 * np.pi, 2)]
    )  # fmt: skip
    return Course(bends, hills)


def _waves(waves: Array, u: Array) -> tuple[Array, Array, Array]:
    """A sum of sines and its first two derivatives."""
    line, slope, bend = np.zeros_like(u), np.zeros_like(u), np.zeros_like(u)
    for amplitude, number, phase in waves.tolist():
        angle = number * u + phase
        wave = amplitude * np.sin(angle)
        line += wave
        slope += amplitude * number * np.cos(angle)
        bend -= number**2 * wave
    return line, slope, bend
