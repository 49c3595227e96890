"""One picture of several clouds: a row for each cloud, a captioned view for each of its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.utils.files import write_bytes
from visualize.geometry import Viewpoint
from visualize.picture_text import draw_text
from visualize.render import BACKGROUND, GAP, encode_png, render_panels

_INK = 50  # brightness of captions
_LETTERS = 0.03  # height of capitals in units of a view's width


@dataclass(frozen=True, eq=False)
class CloudRow:
    """A cloud and what to show of it.

    Attributes:
        xyz: [P, 3] metres.
        views: the views from left to right: caption -> colours of the points, [P, 3] uint8 RGB
            (`visualize.palette` has them for classes, codes and scalars).
        viewpoint: where to look from; `visualize.geometry.overview(xyz)` if None.
    """

    xyz: NDArray[np.floating]
    views: Mapping[str, NDArray[np.uint8]]
    viewpoint: Viewpoint | None = None


def write_grid(
    path: str | Path, rows: Sequence[CloudRow], *, size: tuple[int, int] = (640, 480)
) -> None:
    """Write a picture with one row per cloud.

    Args:
        path: the file to write (`.png`), atomically.
        rows: from top to bottom.
        size: width and largest height of a view in pixels, its caption not counted.

    Raises:
        ValueError: no rows, a row without views, what `visualize.render` or
            `visualize.picture_text` refuses.
    """
    write_bytes(path, encode_png(draw_grid(rows, size=size)))


def draw_grid(rows: Sequence[CloudRow], *, size: tuple[int, int] = (640, 480)) -> NDArray[np.uint8]:
    """The picture of `write_grid` as an array: [height, width, 3] uint8 RGB."""
    if not rows:
        raise ValueError("a picture needs at least one row; got none")
    strips = [_draw_row(row, size) for row in rows]
    width = max(strip.shape[1] for strip in strips)
    wide = [_padded(strip, (GAP // 2, GAP // 2), (0, width - strip.shape[1])) for strip in strips]
    return np.concatenate(wide)


def _draw_row(row: CloudRow, size: tuple[int, int]) -> NDArray[np.uint8]:
    pictures = render_panels(row.xyz, list(row.views.values()), size=size, view=row.viewpoint)
    captions = [_caption(text, size[0]) for text in row.views]
    filled = np.flatnonzero((np.stack(pictures) != BACKGROUND).any(axis=(0, 2, 3)))
    used = slice(filled[0], filled[-1] + 1) if len(filled) else slice(None)  # white on white
    columns = [
        np.concatenate([caption, picture[used]])
        for caption, picture in zip(captions, pictures, strict=True)
    ]
    spaced = [_padded(column, (0, 0), (0, GAP)) for column in columns[:-1]]
    return np.concatenate([*spaced, columns[-1]], axis=1)


def _caption(text: str, width: int) -> NDArray[np.uint8]:
    """[height, width, 3] uint8: a line of text in the middle."""
    ink = draw_text(text, _LETTERS * width)
    if ink.shape[1] > width:
        raise ValueError(
            f"the caption {text!r} is {ink.shape[1]} pixels wide, but its view only {width}. "
            "Shorten it, or ask for wider views."
        )
    line = (BACKGROUND - ink * (BACKGROUND - _INK)).round().astype(np.uint8)
    left = (width - ink.shape[1]) // 2
    sides = (left, width - ink.shape[1] - left)
    return _padded(np.repeat(line[..., None], 3, axis=2), (0, GAP // 2), sides)


def _padded(
    image: NDArray[np.uint8], rows: tuple[int, int], columns: tuple[int, int]
) -> NDArray[np.uint8]:
    return np.pad(image, (rows, columns, (0, 0)), constant_values=BACKGROUND)
