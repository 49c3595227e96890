"""Lettering for pictures: letters of lines and arcs, drawn with a round pen."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_CAPITAL, _DESCENT, _HEIGHT = 14.0, 5.5, 21.0  # of letters, below the baseline, of a line
_PEN, _GAP, _SPACE = 1.8, 3.4, 5.0
_ARC_STEP = 15.0  # degrees

# Strokes are separated by ";": polylines, "x,y x,y", and arcs, "@center radii from,to", in degrees
# counter-clockwise. y points up from the baseline; capitals are 14 high.
_STROKES = {
    "a": "@4.2,5 4.2,5 0,360;8.4,10 8.4,0",
    "b": "0,14 0,0;@4.2,5 4.2,5 0,360",
    "c": "@4.2,5 4.2,5 45,315",
    "d": "8.4,14 8.4,0;@4.2,5 4.2,5 0,360",
    "e": "0,5 8.4,5;@4.2,5 4.2,5 0,315",
    "f": "@4.4,11 2.8,3 180,65;1.6,11 1.6,0;0,9.6 4.8,9.6",
    "g": "@4.2,5 4.2,5 0,360;8.4,10 8.4,-0.4;@4.3,-0.4 4.1,3.8 0,-145",
    "h": "0,14 0,0;@3.8,6.2 3.8,3.8 180,0;7.6,6.2 7.6,0",
    "i": "0,10 0,0;0,13.6 0,13.7",
    "j": "2.4,10 2.4,-1.4;@0,-1.4 2.4,2.6 0,-80;2.4,13.6 2.4,13.7",
    "k": "0,14 0,0;6.4,10 0,4.2;2.4,6.4 7,0",
    "l": "0,14 0,0",
    "m": "0,10 0,0;@3.2,6.6 3.2,3.4 180,0;6.4,6.6 6.4,0;@9.6,6.6 3.2,3.4 180,0;12.8,6.6 12.8,0",
    "n": "0,10 0,0;@3.8,6.2 3.8,3.8 180,0;7.6,6.2 7.6,0",
    "o": "@4.2,5 4.2,5 0,360",
    "p": "0,10 0,-4;@4.2,5 4.2,5 0,360",
    "q": "8.4,10 8.4,-4;@4.2,5 4.2,5 0,360",
    "r": "0,10 0,0;@3.8,6.2 3.8,3.8 180,65",
    "s": "@3.3,7.5 2.9,2.5 30,270;@3.3,2.5 3.2,2.5 90,-150",
    "t": "1.6,13 1.6,3;@4.4,3 2.8,3 180,290;0,9.6 5,9.6",
    "u": "0,10 0,3.8;@3.8,3.8 3.8,3.8 180,360;7.6,10 7.6,0",
    "v": "0,10 3.8,0 7.6,10",
    "w": "0,10 3,0 6,10 9,0 12,10",
    "x": "0,10 7,0;7,10 0,0",
    "y": "0,10 3.9,0.2;7.8,10 2.2,-4",
    "z": "0,10 6.6,10 0,0 6.8,0",
    "A": "0,0 5.2,14 10.4,0;1.8,4.8 8.6,4.8",
    "B": "4.6,7.4 0,7.4 0,14 4.6,14;@4.6,10.7 3.5,3.3 90,-90;@4.6,3.7 4.3,3.7 90,-90;"
    "4.6,0 0,0 0,7.4",
    "C": "@6,7 6,7 48,312",
    "D": "4.4,0 0,0 0,14 4.4,14;@4.4,7 5.8,7 90,-90",
    "E": "7.8,14 0,14 0,0 7.8,0;0,7.2 6.8,7.2",
    "F": "7.6,14 0,14 0,0;0,7 6.6,7",
    "G": "@6,7 6,7 48,355;12,6.4 7,6.4",
    "H": "0,14 0,0;9.8,14 9.8,0;0,7.2 9.8,7.2",
    "I": "0,14 0,0",
    "J": "5.6,14 5.6,3.4;@2.8,3.4 2.8,3.4 0,-170",
    "K": "0,14 0,0;8.4,14 0,5.2;3.2,8.6 9,0",
    "L": "0,14 0,0 7.2,0",
    "M": "0,0 0,14 5.8,4 11.6,14 11.6,0",
    "N": "0,0 0,14 9.8,0 9.8,14",
    "O": "@6.4,7 6.4,7 0,360",
    "P": "0,0 0,14 4.6,14;@4.6,10.2 3.9,3.8 90,-90;4.6,6.4 0,6.4",
    "Q": "@6.4,7 6.4,7 0,360;8,3.6 12.6,-1",
    "R": "0,0 0,14 4.6,14;@4.6,10.2 3.9,3.8 90,-90;0,6.4 4.6,6.4 8.8,0",
    "S": "@4.3,10.5 3.9,3.5 35,270;@4.3,3.5 4.3,3.5 90,-150",
    "T": "0,14 9.8,14;4.9,14 4.9,0",
    "U": "0,14 0,4.8;@4.8,4.8 4.8,4.8 180,360;9.6,4.8 9.6,14",
    "V": "0,14 5,0 10,14",
    "W": "0,14 3.8,0 7.6,14 11.4,0 15.2,14",
    "X": "0,14 9.2,0;9.2,14 0,0",
    "Y": "0,14 4.8,6.6 9.6,14;4.8,6.6 4.8,0",
    "Z": "0,14 8.8,14 0,0 9,0",
    "0": "@4.1,7 4.1,7 0,360",
    "1": "0,11.4 3.2,14 3.2,0",
    "2": "@4,10.1 3.8,3.9 170,-40;6.9,7.6 0,0 8,0",
    "3": "@3.9,10.6 3.4,3.4 155,-90;@3.9,3.6 4,3.6 90,-155",
    "4": "6.2,0 6.2,14 0,4 8.4,4",
    "5": "7.2,14 1.2,14 0.7,7.7;@3.8,4.6 4.2,4.6 137,-150",
    "6": "@4.1,4.4 4.1,4.4 0,360;6.4,14 0.6,6.6",
    "7": "0,14 8,14 2.6,0",
    "8": "@4.1,10.6 3.4,3.4 0,360;@4.1,3.6 4.1,3.6 0,360",
    "9": "@4.1,9.6 4.1,4.4 0,360;7.6,7.4 1.8,0",
    ".": "0,0 0,0.1",
    ",": "0.7,0.3 0,-2.4",
    ":": "0,0 0,0.1;0,8 0,8.1",
    ";": "0.7,0.3 0,-2.4;0.7,8 0.7,8.1",
    "-": "0,5.2 5,5.2",
    "+": "0,5.4 8,5.4;4,1.4 4,9.4",
    "=": "0,7 8,7;0,3.6 8,3.6",
    "_": "0,-2.4 8,-2.4",
    "/": "0,-1.5 5.6,14",
    "|": "0,-3 0,14",
    "(": "@4,6 4,9.4 125,235",
    ")": "@-2.3,6 4,9.4 55,-55",
    "%": "@2.7,10.8 2.7,3.2 0,360;@10.3,3.2 2.7,3.2 0,360;10.4,14 2.6,0",
    "'": "0,14 0,10.6",
    "?": "@3.6,10.6 3.4,3.4 165,-60;5.3,7.7 3.6,5.2 3.6,4;3.6,0 3.6,0.1",
    "!": "0,14 0,4;0,0 0,0.1",
}


def draw_text(text: str, size: float) -> NDArray[np.float32]:
    """Draw one line of text.

    Args:
        text: letters, digits and common signs of ASCII.
        size: height of capitals in pixels.

    Returns:
        [1.5 * size, W] float32: how much of each pixel is ink, 0 to 1.

    Raises:
        ValueError: signs that there is no drawing of.
    """
    unknown = sorted(set(text) - {*_STROKES, " "})
    if unknown:
        raise ValueError(
            f"the caption {text!r} cannot be drawn: there are no letters for {' '.join(unknown)}, "
            f"only for {''.join(_STROKES)} and spaces"
        )
    scale = size / _CAPITAL
    strokes, width = _write(text)
    ink = np.zeros((round(_HEIGHT * scale), int(np.ceil(width * scale))), dtype=np.float32)
    for stroke in strokes:
        points = np.stack([stroke[:, 0], _HEIGHT - _DESCENT - stroke[:, 1]], axis=1) * scale
        for start, end in pairwise(points):
            _draw_line(ink, start, end, _PEN * scale / 2)
    return ink


def _write(text: str) -> tuple[list[NDArray[np.float64]], float]:
    """The strokes of a text, each [n, 2] x and y, and its width."""
    strokes: list[NDArray[np.float64]] = []
    x = _GAP / 2
    for letter in text:
        parts = [_points(part) for part in _STROKES[letter].split(";")] if letter != " " else []
        strokes += [np.add(part, (x, 0.0)) for part in parts]
        x += max((part[:, 0].max() for part in parts), default=_SPACE - _GAP) + _GAP
    return strokes, x - _GAP / 2


def _points(stroke: str) -> NDArray[np.float64]:
    """[n, 2] x and y along a stroke."""
    pairs = np.array([pair.split(",") for pair in stroke.lstrip("@").split()], dtype=np.float64)
    if not stroke.startswith("@"):
        return pairs
    center, radii, (first, last) = pairs
    angles = np.radians(np.linspace(first, last, 1 + round(abs(last - first) / _ARC_STEP)))
    return center + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _draw_line(
    ink: NDArray[np.float32],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    radius: float,
) -> None:
    """Add a line with round ends, in place; x and y count pixels from the upper left corner."""
    low = np.maximum(np.floor(np.minimum(start, end) - radius - 1.0), 0.0).astype(int)
    high = np.ceil(np.maximum(start, end) + radius + 1.0).astype(int)
    part = ink[low[1] : high[1], low[0] : high[0]]
    y, x = np.mgrid[: part.shape[0], : part.shape[1]]
    places = np.stack([x, y], axis=-1) + low + 0.5 - start
    along = end - start
    share = np.clip(places @ along / max(along @ along, 1e-12), 0.0, 1.0)
    distance = np.linalg.norm(places - share[..., None] * along, axis=-1)
    np.maximum(part, np.clip(radius + 0.5 - distance, 0.0, 1.0), out=part)
