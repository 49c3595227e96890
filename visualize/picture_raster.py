"""From points to pixels: a z-buffer of discs whose holes are closed, in NumPy.

Every point is a small disc. Where discs leave holes that are narrower than the points are apart,
these are closed as in mathematical morphology, which makes surfaces of discs and, unlike larger
discs, leaves outlines where they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from visualize.geometry import Viewpoint, core_box, overview, point_spacing

NOWHERE = -1e30
"""Depth in metres of pixels that show no point."""

_MARGIN = 1.06
_STRAY = 0.1  # of the core's extent: points that far from the core do not widen the picture
_FRAMING_POINTS = 250_000  # are enough to find viewpoint and frame
_DISC = 0.85  # radius of a disc in units of the spacing
_HOLE = 1.25  # radius of the widest holes that are closed, likewise
_DISC_PIXELS = (1.5, 16.0)
_HOLE_DEPTH = 2.0  # a pixel is in a hole if its surroundings are nearer by that many radii
_DEPTHS = 1 << 29  # steps of depth, beside as many for the rims of discs
_FLATTEST = 2.75  # slope from which ground is not taken for level any more: below 20 degrees
# Lines that add up to an octagon of radius 1: row, column, length.
_OCTAGON = ((0, 1, 0.83), (1, 0, 0.83), (1, 1, 0.59), (1, -1, 0.59))


class Raster(NamedTuple):
    """What every pixel shows.

    Attributes:
        point: [H, W] int64 row of the point, -1 for the background.
        depth: [H, W] float32 metres towards the camera, `NOWHERE` for the background.
        pixel_size: metres.
        radius: of the widest holes that were closed, in pixels.
        level: how much nearer level ground comes from row to row, in pixels.
    """

    point: NDArray[np.int64]
    depth: NDArray[np.float32]
    pixel_size: float
    radius: float
    level: float


class Frame(NamedTuple):
    """What several pictures have in common.

    Attributes:
        xyz: [P, 3] metres, the points that a picture holds.
        spacing: metres between neighbouring points, which discs cover.
    """

    xyz: NDArray[np.floating]
    spacing: float


class _Camera(NamedTuple):
    """An orthographic view.

    Attributes:
        axes: [3, 3], columns: right, up and towards the camera.
        target: [3] metres, in the middle of the picture.
        pixel_size: metres.
    """

    axes: NDArray[np.float64]
    target: NDArray[np.float64]
    pixel_size: float

    @property
    def level(self) -> float:
        """Slope of level ground in the picture."""
        up, towards = self.axes[2, 1], self.axes[2, 2]
        return float(np.clip(up / (towards or 1e-9), -_FLATTEST, _FLATTEST))


def draw(
    xyz: NDArray[np.floating],
    view: Viewpoint | None,
    width: int,
    height: int,
    frame: Frame | None = None,
) -> Raster:
    """Find what an orthographic view of points shows.

    The picture holds all points but those that lie far from most others.

    Args:
        xyz: [P, 3] metres, finite, P > 0.
        view: where to look from; `overview(xyz)` if None.
        width: in pixels.
        height: in pixels.
        frame: what camera and discs are made for, so that pictures can be compared; that of the
            points if None. What lies outside is not drawn.
    """
    if frame is None:
        frame = Frame(xyz, point_spacing(xyz))
    camera = _aim(frame.xyz[:: 1 + len(frame.xyz) // _FRAMING_POINTS], view, width, height)
    pixel_size = camera.pixel_size
    disc = float(np.clip(_DISC * frame.spacing / pixel_size, *_DISC_PIXELS))
    hole = disc * _HOLE / _DISC
    local = (xyz - camera.target).astype(np.float32)
    right, up, depth = camera.axes.T.astype(np.float32) @ local.T

    border = int(disc + 2.0 * hole) + 2  # discs and closing look over the edge
    padded = (height + 2 * border, width + 2 * border)
    column = (right / pixel_size + padded[1] / 2).astype(np.int64)
    row = (padded[0] / 2 - up / pixel_size).astype(np.int64)
    inside = (column >= disc) & (column < padded[1] - disc)
    kept = np.flatnonzero(inside & (row >= disc) & (row < padded[0] - disc))
    pixel = (row * padded[1] + column)[kept]

    near = depth[kept] - depth[kept].min(initial=np.inf)
    step = max(float(near.max(initial=0.0)), disc * pixel_size) / _DEPTHS
    keys = (_DEPTHS + (near / step).astype(np.int64) << 32) | kept
    buffer = _splat(pixel, keys, padded, disc, pixel_size / step)
    buffer = _without_holes(buffer, hole, _HOLE_DEPTH * hole * pixel_size / step)
    buffer = buffer[border : border + height, border : border + width]

    point = np.where(buffer < 0, -1, buffer & 0xFFFFFFFF)
    # Background reads the entry that is appended here.
    seen_depth = np.append(depth, np.float32(NOWHERE))[point]
    return Raster(point, seen_depth, pixel_size, hole, camera.level)


def _aim(xyz: NDArray[np.floating], view: Viewpoint | None, width: int, height: int) -> _Camera:
    """The camera whose picture the points fill, but for those that lie far from most others."""
    axes = _camera_axes(view or overview(xyz))
    box = core_box(xyz)
    stray = _STRAY * np.diff(box, axis=0).max()
    core = ((xyz >= box[0] - stray) & (xyz <= box[1] + stray)).all(axis=1)
    # Differences first: world coordinates would lose millimetres in the product.
    along = (xyz[core] - box[0]) @ axes
    low, high = along.min(axis=0), along.max(axis=0)
    pixel_size = _MARGIN * max(*((high - low)[:2] / (width, height)), 1e-6)
    return _Camera(axes, box[0] + axes @ (low + high) / 2, pixel_size)


def _camera_axes(view: Viewpoint) -> NDArray[np.float64]:
    """[3, 3], columns: right, up and towards the camera."""
    azimuth, elevation = np.radians(view.azimuth), np.radians(view.elevation)
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    towards = np.array(
        [
            np.cos(azimuth) * np.cos(elevation),
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
        ]
    )
    return np.stack([right, np.cross(towards, right), towards], axis=1)


def _splat(
    pixel: NDArray[np.int64],
    keys: NDArray[np.int64],
    shape: tuple[int, int],
    radius: float,
    depths_per_pixel: float,
) -> NDArray[np.int64]:
    """Draw discs; where they meet, the higher key stays, and the nearer centre if they are close.

    Keys are depth in the upper 32 bits and the point's row below, so that a maximum is a depth
    test. Discs are bowls: their rims lie as much deeper as they are wide.

    Returns:
        [H, W] int64 keys, -1 where there is no disc.
    """
    buffer = np.full(shape[0] * shape[1], -1, dtype=np.int64)
    reach = range(-int(radius), int(radius) + 1)
    for dy, dx in ((dy, dx) for dy in reach for dx in reach):
        square = dy * dy + dx * dx
        if square <= radius * radius:
            deeper = int(square / radius * depths_per_pixel)
            np.maximum.at(buffer, pixel + (dy * shape[1] + dx), keys - (deeper << 32))
    return buffer.reshape(shape)


def _without_holes(keys: NDArray[np.int64], radius: float, depths: float) -> NDArray[np.int64]:
    """Close holes up to `radius` pixels that are at least `depths` deep (grey-scale closing).

    Of the keys around a hole it gets one of the deepest, so that what is behind an edge goes on
    behind it.
    """
    lines = [(dy, dx, round(length * radius) + 1) for dy, dx, length in _OCTAGON]
    closed = keys.copy()
    for operation, sign in ((np.maximum, 1), (np.minimum, -1)):
        for dy, dx, length in lines:
            _along(closed, sign * dy, sign * dx, length, operation)
    is_hole = (keys < 0) | ((closed >> 32) - (keys >> 32) > depths)
    return np.where(is_hole, closed, keys)


def _along(
    image: NDArray[Any], dy: int, dx: int, length: int, operation: Callable[..., object]
) -> None:
    """Give every pixel, in place, the extreme of the `length` pixels that begin with it."""
    done = 1
    while done < length:
        step = min(done, length - done)
        here, there = _neighbors(dy * step, dx * step)
        operation(image[here], image[there], out=image[here])
        done += step


def _neighbors(dy: int, dx: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices of an image: pixels that have a neighbour so many rows and columns on, and these."""
    rows, columns = _pairs(dy), _pairs(dx)
    return (rows[0], columns[0]), (rows[1], columns[1])


def _pairs(offset: int) -> tuple[slice, slice]:
    """Slices of a sequence: elements that have another one `offset` places on, and these."""
    if offset < 0:
        return slice(-offset, None), slice(None, offset)
    return slice(None, -offset or None), slice(offset, None)
