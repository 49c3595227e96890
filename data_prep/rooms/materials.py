"""What surfaces look like: palettes shared between classes, and procedural patterns.

Palettes deliberately do not follow the classes: a table, a door and a cabinet draw from the same
finishes, a sofa and a curtain from the same fabrics, so that colour alone names nothing.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Color = tuple[float, float, float]


class Pattern(Enum):
    """How the second colour is laid over the first."""

    PLAIN = "plain"
    GRAIN = "grain"  # soft bands, as of wood
    STRIPES = "stripes"
    TILES = "tiles"  # a grid of joints
    PATCHES = "patches"  # irregular areas, as of a painting


@dataclass(frozen=True)
class Material:
    """The look of a surface.

    Attributes:
        color: RGB albedo in 0..1.
        second: the colour that the pattern mixes in.
        pattern: how.
        scale: length of one period of the pattern in metres.
        phase: shift of the pattern in metres.
        transmission: share of the rays that pass through (glass).
    """

    color: Color
    second: Color = (0.0, 0.0, 0.0)
    pattern: Pattern = Pattern.PLAIN
    scale: float = 0.1
    phase: float = 0.0
    transmission: float = 0.0


def albedo(material: Material, xyz: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n, 3] RGB in 0..1 of a material at [n, 3] positions in the room's frame, in metres."""
    share = _second_share(material, xyz)[:, None]
    return (1 - share) * np.array(material.color) + share * np.array(material.second)


def _second_share(material: Material, xyz: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, z = xyz.T
    # Walls and furniture follow the axes, so x + y runs along every upright surface.
    along = (x + y + material.phase) * (2 * np.pi / material.scale)
    up = (z + material.phase) * (2 * np.pi / material.scale)
    match material.pattern:
        case Pattern.GRAIN:
            return 0.5 + 0.5 * np.sin(along + 2.0 * np.sin(0.3 * up))
        case Pattern.STRIPES:
            return (np.sin(along) > 0).astype(np.float64)
        case Pattern.TILES:
            joints = [np.abs(np.sin((axis + material.phase) * np.pi / material.scale)) < 0.06
                      for axis in (x, y, z)]  # fmt: skip
            return (joints[0] | joints[1] | joints[2]).astype(np.float64)
        case Pattern.PATCHES:
            waves = np.sin(along + np.sin(1.7 * up)) + np.sin(1.3 * up + 2.0 * np.sin(0.6 * along))
            return (waves > 0).astype(np.float64)
        case _:
            return np.zeros(len(xyz))


_WOODS: tuple[Color, ...] = (
    (0.80, 0.66, 0.46), (0.66, 0.47, 0.28), (0.48, 0.31, 0.18),
    (0.33, 0.21, 0.13), (0.58, 0.30, 0.18), (0.72, 0.62, 0.52),
)  # fmt: skip
_WHITES: tuple[Color, ...] = ((0.93, 0.93, 0.91), (0.88, 0.86, 0.80), (0.84, 0.86, 0.88))
_METALS: tuple[Color, ...] = ((0.62, 0.63, 0.65), (0.45, 0.46, 0.48), (0.75, 0.75, 0.74))
_PAINTS: tuple[Color, ...] = (
    (0.90, 0.88, 0.83), (0.86, 0.80, 0.68), (0.72, 0.78, 0.82),
    (0.76, 0.80, 0.70), (0.70, 0.60, 0.48), (0.80, 0.72, 0.72), (0.66, 0.66, 0.66),
)  # fmt: skip


def wood(rng: Generator) -> Material:
    """From pale pine to dark walnut."""
    base = _jittered(rng, _pick(rng, _WOODS), 0.05)
    return Material(
        base, _scaled(base, 0.78), Pattern.GRAIN, rng.uniform(0.05, 0.2), rng.uniform(0, 1)
    )


def white(rng: Generator) -> Material:
    """A warm or cold white."""
    return Material(_jittered(rng, _pick(rng, _WHITES), 0.03))


def metal(rng: Generator) -> Material:
    """A grey."""
    return Material(_jittered(rng, _pick(rng, _METALS), 0.04))


def paint(rng: Generator) -> Material:
    """Of a wall."""
    return Material(_jittered(rng, _pick(rng, _PAINTS), 0.04))


def lacquer(rng: Generator) -> Material:
    """A dull paint of any hue, as on coloured furniture and book spines."""
    color = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.05, 0.6), rng.uniform(0.2, 0.9))
    return Material(color)


def finish(rng: Generator) -> Material:
    """Of tables, desks, doors, cabinets, shelves, frames: the same for all."""
    kind = rng.choice(4, p=(0.5, 0.3, 0.1, 0.1))
    return (wood, white, metal, lacquer)[kind](rng)


def ceramic(rng: Generator) -> Material:
    """Of sanitary ware and kitchen appliances: mostly white, some grey or coloured."""
    kind = rng.choice(3, p=(0.8, 0.12, 0.08))
    return (white, metal, lacquer)[kind](rng)


def textile(rng: Generator) -> Material:
    """Of sofas, beds, chairs and curtains: any hue, plain or striped."""
    hue, saturation = rng.uniform(), rng.uniform(0.0, 0.55)
    value = rng.uniform(0.3, 0.95)
    color = colorsys.hsv_to_rgb(hue, saturation, value)
    second = colorsys.hsv_to_rgb(hue, 0.6 * saturation, min(1.0, value + 0.15))
    pattern = (Pattern.PLAIN, Pattern.STRIPES, Pattern.PATCHES)[rng.choice(3, p=(0.6, 0.2, 0.2))]
    return Material(color, second, pattern, rng.uniform(0.06, 0.3), rng.uniform(0, 1))


def stone(rng: Generator) -> Material:
    """Of worktops: white, wooden or stone."""
    kind = rng.choice(3, p=(0.3, 0.3, 0.4))
    return (white, wood, lacquer)[kind](rng)


def tiles(rng: Generator) -> Material:
    """Of bathroom walls and floors, with darker joints."""
    base = _jittered(rng, _pick(rng, (*_WHITES, *_PAINTS)), 0.04)
    return Material(
        base, _scaled(base, 0.75), Pattern.TILES, rng.uniform(0.2, 0.4), rng.uniform(0, 1)
    )


def flooring(rng: Generator) -> Material:
    """Boards, tiles or carpet."""
    return (wood, tiles, textile)[rng.choice(3, p=(0.5, 0.3, 0.2))](rng)


def artwork(rng: Generator) -> Material:
    """Of a painting: dark and light areas of any hues."""
    hues, saturations = rng.uniform(0, 1, 2), rng.uniform(0.1, 0.7, 2)
    dark = colorsys.hsv_to_rgb(hues[0], saturations[0], rng.uniform(0.15, 0.45))
    light = colorsys.hsv_to_rgb(hues[1], saturations[1], rng.uniform(0.6, 0.95))
    return Material(dark, light, Pattern.PATCHES, rng.uniform(0.2, 0.5), rng.uniform(0, 1))


def glass(rng: Generator) -> Material:
    """A pane: day sky, haze or night."""
    sky = ((0.80, 0.88, 0.95), (0.92, 0.93, 0.93), (0.15, 0.17, 0.22))
    return Material(_jittered(rng, _pick(rng, sky), 0.04), transmission=0.55)


def _pick(rng: Generator, colors: tuple[Color, ...]) -> Color:
    return colors[rng.integers(len(colors))]


def _scaled(color: Color, factor: float) -> Color:
    red, green, blue = color
    return factor * red, factor * green, factor * blue


def _jittered(rng: Generator, color: Color, sigma: float) -> Color:
    light = rng.normal(1.0, 1.5 * sigma)
    red, green, blue = np.clip(light * np.array(color) + rng.normal(0.0, sigma / 2, 3), 0.02, 0.98)
    return float(red), float(green), float(blue)
