"""Pictures of point clouds without a browser, display or GPU.

The light comes from differences of depth alone: as in eye-dome lighting (Boucheny, 2009) what lies
behind its neighbours in the picture is darker, and slopes that face the upper left are a little
brighter. Shapes become readable without normals.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pc3d.utils.files import write_bytes
from visualize.geometry import Viewpoint, check_cloud
from visualize.picture_raster import Frame, Raster, draw

GAP = 16
"""Pixels between panels."""

BACKGROUND = 255
"""Brightness of what is not a cloud."""

_SUPERSAMPLING = 2
_EYE_DOME, _RELIEF = 0.4, 0.4
_STEEPEST = 4.0  # slopes beyond this are edges
_BRIGHTEST = 1.1
_LIGHT = (-0.87, -0.5)  # where it comes from, in rows and columns
_DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1))  # and their opposites


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
    pictures = render_panels(xyz, panels, size=size, view=view)
    gap = np.full((size[1], GAP, 3), BACKGROUND, dtype=np.uint8)
    return np.concatenate([part for picture in pictures for part in (gap, picture)][1:], axis=1)


def render_panels(
    xyz: NDArray[np.floating],
    panels: Sequence[NDArray[np.uint8]],
    *,
    size: tuple[int, int],
    view: Viewpoint | None = None,
    frame: Frame | None = None,
) -> list[NDArray[np.uint8]]:
    """The panels of `render_png` one by one, each [height, width, 3] uint8 RGB.

    `frame`, if given, is what the camera is made for in place of the points themselves.
    """
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
    raster = draw(xyz, view, width * _SUPERSAMPLING, height * _SUPERSAMPLING, frame)
    light = _light(raster)[..., None]
    seen = (raster.point >= 0)[..., None]
    return [
        _downsample(np.where(seen, colors[raster.point] * light, np.float32(BACKGROUND)))
        for colors in panels
    ]


def _light(raster: Raster) -> NDArray[np.float32]:
    """[H, W] float32 brightness, 1 on level ground.

    Pixels are compared with their neighbours in four pairs of opposite directions, at two distances
    beyond the radius of discs, which would show as a texture otherwise. Of a pair, the sum of the
    two slopes says how hollow the surface is, and the difference which way it is turned.
    """
    depth = raster.depth
    hollow, turned = np.zeros_like(depth), np.zeros_like(depth)
    reaches = [max(round(factor * raster.radius), 3) for factor in (2, 4)]
    border = max(reaches)
    padded = np.pad(depth, border, mode="edge")
    for reach in reaches:
        for dy, dx in _DIRECTIONS:
            length = float(np.hypot(dy, dx))
            level = raster.level * dy / length
            towards_light = (dy * _LIGHT[0] + dx * _LIGHT[1]) / length
            slopes = []
            for sign in (1, -1):
                y, x = border + sign * reach * dy, border + sign * reach * dx
                slope = padded[y : y + depth.shape[0], x : x + depth.shape[1]] - depth
                slope *= 1.0 / (reach * length * raster.pixel_size)
                slope -= sign * level
                np.clip(slope, -_STEEPEST, _STEEPEST, out=slope)
                slopes.append(slope)
            hollow += np.maximum(slopes[0] + slopes[1], 0.0)
            for slope in slopes:
                slope[np.abs(slope) == _STEEPEST] = 0.0
            turned += towards_light * (slopes[0] - slopes[1])
    count = 2 * len(_DIRECTIONS) * len(reaches)
    return np.minimum(np.exp((hollow * -_EYE_DOME - turned * _RELIEF) / count), _BRIGHTEST)


def _downsample(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    s = _SUPERSAMPLING
    parts = [picture[y::s, x::s] for y in range(s) for x in range(s)]
    mean = sum(parts[1:], parts[0]) / len(parts)
    return np.minimum(mean.round(), 255).astype(np.uint8)


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
