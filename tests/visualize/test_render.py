from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from tests.visualize.rooms import make_room
from visualize.geometry import Viewpoint
from visualize.picture_raster import Raster
from visualize.render import _downsample, _light, encode_png, render, render_png

TOP = Viewpoint(azimuth=-90.0, elevation=90.0)  # +x to the right, +y up
RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def plane(z: float, color: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.meshgrid(np.linspace(0, 1, 60), np.linspace(0, 1, 60))
    xyz = np.stack([x, y, np.full_like(x, z)], axis=-1).reshape(-1, 3)
    return xyz, np.tile(np.array(color, dtype=np.uint8), (len(xyz), 1))


def decode_png(data: bytes) -> np.ndarray:
    """A PNG reader of its own: chunk checksums, IHDR, filter 0 only."""
    assert data[:8] == bytes([137, 80, 78, 71, 13, 10, 26, 10])
    chunks, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length) == (zlib.crc32(kind + body),)
        chunks[kind] = body
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *kind = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert kind == [8, 2, 0, 0, 0]
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), dtype=np.uint8).reshape(height, -1)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3)


def test_png_decodes_to_the_image():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    np.testing.assert_array_equal(decode_png(encode_png(image)), image)


@pytest.mark.parametrize("nearer_first", [True, False])
def test_the_nearer_point_wins(nearer_first: bool):
    pair = [plane(0.5, RED), plane(0.0, GREEN)]
    xyz, rgb = (
        np.concatenate(part) for part in zip(*pair[:: 1 if nearer_first else -1], strict=True)
    )
    image = render(xyz, [rgb], size=(80, 80), view=TOP)
    assert image[40, 40].tolist() == list(RED)
    below = render(xyz, [rgb], size=(80, 80), view=Viewpoint(-90.0, -90.0))
    assert below[40, 40].tolist() == list(GREEN)


def test_the_picture_is_not_mirrored():
    """Seen from above with +x to the right, the corner at +x +y is the upper right one."""
    xyz, rgb = plane(0.0, RED)
    rgb[(xyz[:, 0] > 0.5) & (xyz[:, 1] > 0.5)] = BLUE
    image = render(xyz, [rgb], size=(80, 80), view=TOP)
    corners = [image[y, x].tolist() for y, x in ((20, 60), (20, 20), (60, 60), (60, 20))]
    assert corners == [list(BLUE), list(RED), list(RED), list(RED)]


def test_dense_surfaces_have_no_holes_and_the_background_is_white():
    xyz, rgb = plane(0.0, RED)
    image = render(xyz, [rgb], size=(400, 400), view=TOP)
    assert (image[30:-30, 30:-30] == RED).all()
    assert (image[:4] == 255).all()


def test_depth_edges_are_shaded_and_flat_parts_are_not():
    floor, wall = plane(0.0, RED), plane(0.0, RED)
    wall[0][:, 2] = wall[0][:, 1]
    wall[0][:, 1] = 1.0
    xyz = np.concatenate([floor[0], wall[0]])
    image = render(xyz, [np.concatenate([floor[1], wall[1]])], size=(100, 100), view=TOP)
    assert image[60, 50, 0] == 200  # flat
    red = image[:50, 50, 0].astype(int)
    assert red.min() < 190  # the floor at the foot of the wall


def test_a_plate_casts_a_shade_on_all_sides_and_none_on_itself():
    floor, plate = plane(0.0, RED), plane(2.0, GREEN)
    plate[0][:, :2] = plate[0][:, :2] * 0.4 + 0.3
    xyz, rgb = (np.concatenate(part) for part in zip(floor, plate, strict=True))
    image = render(xyz, [rgb], size=(200, 200), view=TOP)
    assert (image[85:115, 85:115] == GREEN).all()
    around = [image[100, 52], image[100, 147], image[52, 100], image[147, 100]]
    shades = [int(pixel[0]) for pixel in around]
    assert max(shades) < 170 and np.ptp(shades) <= 8
    assert (image[100, 15:20] == RED).all()  # far from the plate


@pytest.mark.parametrize("elevation", [30.0, 60.0, -40.0])
def test_level_ground_keeps_its_colour_from_everywhere(elevation: float):
    xyz, rgb = plane(0.0, RED)
    image = render(xyz, [rgb], size=(120, 120), view=Viewpoint(-90.0, elevation))
    assert abs(image[50:70, 50:70].astype(int) - RED).max() <= 6


def test_slopes_to_the_upper_left_are_brighter():
    xyz, rgb = plane(0.0, RED)
    for axis, sign in ((0, -1), (1, 1)):
        roof = xyz.copy()
        roof[:, 2] = -0.8 * abs(xyz[:, axis] - 0.5)
        image = render(roof, [rgb], size=(100, 100), view=TOP)
        low, high = (image[50, 25], image[50, 75]) if axis == 0 else (image[75, 50], image[25, 50])
        bright, dark = (low, high) if sign < 0 else (high, low)
        assert 200 < bright[0] <= 220 and dark[0] < 190
        assert (image[..., 0] <= 255).all()


def test_brightness_ends_at_white():
    xyz, rgb = plane(0.0, (250, 250, 250))
    xyz[:, 2] = 1.5 * xyz[:, 0]
    image = render(xyz, [rgb], size=(100, 100), view=TOP)
    assert (image[40:60, 40:60] == 255).all()


def test_panels_share_one_camera_and_stand_side_by_side():
    room = make_room()
    single = render(room.xyz, [room.rgb], size=(120, 90))
    triple = render(room.xyz, [room.rgb, 255 - room.rgb, room.rgb], size=(120, 90))
    assert single.shape == (90, 120, 3)
    assert triple.shape == (90, 3 * 120 + 2 * 16, 3)
    np.testing.assert_array_equal(triple[:, :120], single)
    np.testing.assert_array_equal(triple[:, -120:], single)
    assert (triple[:, 136:256] != single).any()


def test_world_coordinates_render_like_local_ones():
    room = make_room()
    world = room.xyz + np.array([652_000.0, 6_861_000.0, 100.0])
    local = render(room.xyz, [room.rgb], size=(120, 90))
    moved = render(world, [room.rgb], size=(120, 90))
    assert (local != moved).any(axis=-1).mean() < 0.05  # rounding moves a few points by a pixel


def test_render_png_writes_the_picture_and_nothing_else(tmp_path: Path):
    room = make_room()
    render_png(tmp_path / "new" / "a.png", room.xyz, [room.rgb], size=(64, 48))
    written = decode_png((tmp_path / "new" / "a.png").read_bytes())
    np.testing.assert_array_equal(written, render(room.xyz, [room.rgb], size=(64, 48)))
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.png"]


def test_outlines_are_smooth():
    """Pixels at the rim of a surface hold a part of its colour."""
    xyz, rgb = plane(0.0, RED)
    image = render(xyz, [rgb], size=(90, 90), view=Viewpoint(-75.0, 90.0))
    green = np.unique(image[..., 1])
    assert green.min() == 0 and green.max() == 255 and ((green > 50) & (green < 200)).any()


def test_a_pixel_is_the_mean_of_what_was_drawn_for_it():
    drawn = np.array([[0, 10, 1, 1], [20, 41, 1, 2]], dtype=np.float32)
    assert _downsample(np.repeat(drawn[..., None], 3, axis=2))[..., 0].tolist() == [[18, 1]]


def test_what_is_cut_off_by_the_picture_is_not_shaded_there():
    """A plate fills the right half of the picture, a floor far below the left one."""
    depth = np.where(np.arange(60) < 30, 0.0, 9.0).astype(np.float32) * np.ones((50, 1), np.float32)
    light = _light(Raster(np.zeros((50, 60), dtype=np.int64), depth, 0.1, 3.0, 0.0))
    np.testing.assert_array_equal(light[:, [0, 59]], 1.0)
    np.testing.assert_array_equal(light[[0, 49]], light[[25, 25]])
    assert light[25, 28] < 0.8


def test_odd_sizes_are_what_was_asked_for():
    room = make_room(200)
    assert render(room.xyz, [room.rgb], size=(61, 33)).shape == (33, 61, 3)


def test_one_point_is_a_picture():
    image = render(np.zeros((1, 3)), [np.array([RED], dtype=np.uint8)], size=(30, 30))
    assert (image == RED).all(axis=-1).any()


def test_errors_say_what_is_wrong():
    room = make_room(10)
    with pytest.raises(ValueError, match="no points"):
        render(np.zeros((0, 3)), [np.zeros((0, 3), dtype=np.uint8)])
    with pytest.raises(ValueError, match="at least one panel"):
        render(room.xyz, [])
    with pytest.raises(ValueError, match=r"P = 10 points; got \(9, 3\)"):
        render(room.xyz, [room.rgb[:9]])
    with pytest.raises(ValueError, match="float64"):
        render(room.xyz, [room.rgb / 255.0])
