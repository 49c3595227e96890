"""Pictures of point clouds without a browser, display or GPU: a z-buffer in NumPy.

An orthographic view from obliquely above; every point is a disc as wide as the cloud's spacing, and
eye-dome lighting (Boucheny, 2009) darkens what lies behind its neighbours in the picture, which
makes shapes readable without normals.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from pc3d.utils.files import write_bytes
from visualize.geometry import Viewpoint, check_cloud, core_box, overview, point_spacing

_SUPERSAMPLING = 2
_MARGIN = 1.1
_GAP = 16  # pixels between panels
_BACKGROUND = 255
_COVERAGE = 1.15  # radius of a disc in units of the spacing; closes surfaces of random points
_SHADING = 0.35
_STEEPEST = 4.0  # slopes beyond this are edges and not made darker
_NEIGHBORS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))


def render_png(
    path: str | Path,
    xyz: NDArray[np.floating],
    panels: Sequence[NDArray[np.uint8]],
    *,
    size: tuple[int, int] = (640, 560),
    view: Viewpoint | None = None,
) -> None:
    """Write a picture with one view per panel, side by side, all from the same camera.

    Args:
        path: the file to write (`.png`), atomically.
        xyz: [P, 3] metres.
        panels: colours of the points, each [P, 3] uint8 RGB.
        size: width and height of a panel in pixels.
        view: where to look from; `overview(xyz)` if None.

    Raises:
        ValueError: no points or panels, NaN coordinates, lengths that differ.
    """
    write_bytes(path, encode_png(render(xyz, panels, size=size, view=view)))


def render(
    xyz: NDArray[np.floating],
    panels: Sequence[NDArray[np.uint8]],
    *,
    size: tuple[int, int] = (640, 560),
    view: Viewpoint | None = None,
) -> NDArray[np.uint8]:
    """The picture of `render_png` as an array: [height, width, 3] uint8 RGB."""
    check_cloud(xyz)
    if not panels:
        raise ValueError("render needs at least one panel of colours; got none")
    for colors in panels:
        if colors.shape != (len(xyz), 3) or colors.dtype != np.uint8:
            raise ValueError(
                f"panels must be [P, 3] uint8 with P = {len(xyz)} points; got {colors.shape} "
                f"{colors.dtype}. See visualize.palette for classes and scalars."
            )
    width, height = size
    raster = _draw(xyz, view or overview(xyz), width * _SUPERSAMPLING, height * _SUPERSAMPLING)
    shade = _eye_dome(raster)[..., None]
    seen = (raster.point >= 0)[..., None]
    gap = np.full((height, _GAP, 3), _BACKGROUND, dtype=np.uint8)
    pictures: list[NDArray[np.uint8]] = []
    for colors in panels:
        picture = np.where(seen, colors[raster.point] * shade, np.float32(_BACKGROUND))
        pictures += [gap, _downsample(picture)]
    return np.concatenate(pictures[1:], axis=1)


class _Raster(NamedTuple):
    """What every pixel shows.

    Attributes:
        point: [H, W] int64 row of the point, -1 for the background.
        depth: [H, W] float32 metres towards the camera, -inf for the background.
        pixel_size: metres.
        radius: of the discs that points are drawn as, in pixels.
    """

    point: NDArray[np.int64]
    depth: NDArray[np.float32]
    pixel_size: float
    radius: float


def _draw(xyz: NDArray[np.floating], view: Viewpoint, width: int, height: int) -> _Raster:
    axes = _camera_axes(view)
    box = core_box(xyz)
    middle = box.mean(axis=0)
    corners = np.array(np.meshgrid(*(box - middle).T)).reshape(3, 8).T @ axes
    extent = 2.0 * np.abs(corners).max(axis=0)
    pixel_size = _MARGIN * max(extent[0] / width, extent[1] / height, 1e-6)

    right, up, depth = ((xyz - middle).astype(np.float32) @ axes.astype(np.float32)).T
    column = np.floor(right / pixel_size + width / 2).astype(np.int64)
    row = np.floor(height / 2 - up / pixel_size).astype(np.int64)
    inside = np.flatnonzero((column >= 0) & (column < width) & (row >= 0) & (row < height))

    # Pixels hold the rank of the nearest point, so that a maximum over pixels is a depth test and
    # growing points to discs is a maximum filter, whatever the number of points.
    order = inside[np.argsort(depth[inside], kind="stable")]
    ranks = np.full(height * width, -1, dtype=np.int64)
    np.maximum.at(ranks, row[order] * width + column[order], np.arange(len(order)))
    radius = float(np.clip(_COVERAGE * point_spacing(xyz) / pixel_size, 1.5, 16.0))
    ranks = _grow(ranks.reshape(height, width), radius)

    # Background has rank -1 and reads the entry that is appended here.
    point = np.append(order, -1)[ranks]
    return _Raster(point, np.append(depth, -np.float32(np.inf))[point], pixel_size, radius)


def _grow(ranks: NDArray[np.int64], radius: float) -> NDArray[np.int64]:
    """Give every pixel the highest rank within `radius` pixels.

    A large disc is grown in steps: many small filters are much faster than a wide one.
    """
    step = min(radius, 3.2)
    y, x = np.ogrid[-int(step) : int(step) + 1, -int(step) : int(step) + 1]
    disc = x * x + y * y <= step * step
    grown = maximum_filter(ranks, footprint=disc, mode="constant", cval=-1)
    return _grow(grown, radius - step) if radius - step >= 1.0 else grown


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


def _eye_dome(raster: _Raster) -> NDArray[np.float32]:
    """[H, W] float32 brightness in (0, 1]: exp(-mean slope up to neighbours that are nearer)."""
    depth = raster.depth
    height, width = depth.shape
    here = np.where(np.isfinite(depth), depth, np.inf)  # nothing is nearer than the background
    slope = np.zeros_like(depth)
    # Neighbours beyond the own disc, or the rims of discs would show as a texture.
    reaches = [max(round(factor * raster.radius), 3) for factor in (2, 4)]
    for reach in reaches:
        padded = np.pad(depth, reach, constant_values=-np.inf)
        for dy, dx in _NEIGHBORS:
            y, x = reach * (1 + dy), reach * (1 + dx)
            rise = padded[y : y + height, x : x + width] - here
            distance = reach * np.hypot(dx, dy) * raster.pixel_size
            slope += np.clip(rise / distance, 0.0, _STEEPEST)
    mean_slope = slope / (len(reaches) * len(_NEIGHBORS))
    return np.exp(-_SHADING * mean_slope).astype(np.float32)


def _downsample(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    height, width, _ = picture.shape
    s = _SUPERSAMPLING
    blocks = picture.reshape(height // s, s, width // s, s, 3)
    return blocks.mean(axis=(1, 3)).round().astype(np.uint8)


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """Encode an image as PNG (ISO/IEC 15948), 8 bit RGB without interlacing.

    Args:
        image: [H, W, 3] uint8 RGB.
    """
    height, width, _ = image.shape
    # Every row starts with its filter: 0, the bytes as they are.
    rows = np.zeros((height, 1 + 3 * width), dtype=np.uint8)
    rows[:, 1:] = image.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
