"""What a LiDAR sees of a surface: how much of the light comes back, and where from."""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.random import Generator


@dataclass(frozen=True)
class Surface:
    """A surface in the near infrared.

    Attributes:
        reflectivity: remission at normal incidence, 0..1.
        gloss: 0 for a rough surface, whose remission hardly depends on the angle of incidence, to 1
            for a mirror, which returns light at normal incidence only.
        absent: share of the rays that never return.
        open: share of the rays that pass through, as through a grille.
        depth: mean length in metres that a ray travels inside before a leaf returns it; 0 for what
            is solid.
    """

    reflectivity: float
    gloss: float = 0.1
    absent: float = 0.0
    open: float = 0.0
    depth: float = 0.0


ASPHALT = Surface(0.34)
MARKING = Surface(0.55)
PAVING = Surface(0.42)
LAWN = Surface(0.45)
GRAVEL = Surface(0.38)
GLASS = Surface(0.15, gloss=0.9, absent=0.75)
TYRE = Surface(0.06)
BARK = Surface(0.33)
RETROREFLECTOR = Surface(0.97, gloss=0.0)
SIGN_BACK = Surface(0.3, gloss=0.5)
SPOKES = Surface(0.2, open=0.65)


def paint(rng: Generator) -> Surface:
    """Of cars: from black, which hardly returns anything, to white."""
    return Surface(rng.choice((0.08, 0.2, 0.35, 0.6), p=(0.3, 0.3, 0.2, 0.2)), gloss=0.75)


def plaster(rng: Generator) -> Surface:
    """Of façades: plaster or brick."""
    return Surface(rng.uniform(0.3, 0.6), gloss=0.15)


def metal(rng: Generator) -> Surface:
    """Of posts: galvanized or painted."""
    return Surface(rng.uniform(0.1, 0.45), gloss=0.5)


def timber(rng: Generator, open: float = 0.0) -> Surface:
    """Of fences."""
    return Surface(rng.uniform(0.25, 0.45), open=open)


def cloth(rng: Generator) -> Surface:
    """Of clothes."""
    return Surface(rng.uniform(0.1, 0.6))


def foliage(rng: Generator, depth: float) -> Surface:
    """Leaves; `depth` as in `Surface`."""
    return Surface(rng.uniform(0.3, 0.5), depth=depth * math.exp(rng.normal(0.0, 0.2)))
