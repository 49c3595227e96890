from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.visualize.rooms import make_room
from tests.visualize.test_render import decode_png
from visualize.geometry import Viewpoint
from visualize.picture import CloudRow, draw_grid, write_grid
from visualize.render import render_panels

SIZE = (120, 110)
CAPTION = 5 + 8  # height of a line of letters of 3.6 pixels, and the space below
TOP = Viewpoint(-90.0, 90.0)


def used_rows(picture: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero((picture != 255).any(axis=(1, 2)))
    return picture[rows[0] : rows[-1] + 1]


def test_a_row_is_its_views_without_empty_rows_below_captions():
    room = make_room()
    views = {"input": room.rgb, "turned": 255 - room.rgb}
    image = draw_grid([CloudRow(room.xyz, views, TOP)], size=SIZE)
    first, second = render_panels(room.xyz, list(views.values()), size=SIZE, view=TOP)
    height = len(used_rows(first))
    assert 60 < height < 100
    assert image.shape == (8 + CAPTION + height + 8, 120 + 16 + 120, 3) and image.dtype == np.uint8
    body = image[8 + CAPTION : -8]
    np.testing.assert_array_equal(body[:, :120], used_rows(first))
    np.testing.assert_array_equal(body[:, -120:], used_rows(second))
    assert (body[:, 120:136] == 255).all()
    assert (image[:8] == 255).all() and (image[-8:] == 255).all()


def test_captions_stand_above_the_middle_of_their_views():
    room = make_room()
    image = draw_grid([CloudRow(room.xyz, {"lll": room.rgb, "|": room.rgb}, TOP)], size=(400, 300))
    band = image[8 : 8 + 18, :, 0]
    assert band.min() <= 60  # dark
    left, right = (
        np.flatnonzero(part.min(axis=0) < 200) for part in (band[:, :400], band[:, 416:])
    )
    for columns in (left, right):
        assert (columns[0] + columns[-1]) / 2 == pytest.approx(199.5, abs=1.5)
    assert len(left) > len(right) > 0
    assert (image[8 + 18 : 8 + 18 + 8] == 255).all()


def test_rows_may_differ_in_number_and_height_of_views():
    room, flat = make_room(), make_room(500, seed=1)
    rows = [
        CloudRow(room.xyz, {"a": room.rgb, "b": room.rgb, "c": room.rgb}),
        CloudRow(flat.xyz * [1.0, 0.2, 1.0], {"d": flat.rgb}, TOP),
    ]
    image = draw_grid(rows, size=SIZE)
    alone = [draw_grid([row], size=SIZE) for row in rows]
    assert alone[0].shape[1] == 3 * 120 + 2 * 16 and alone[1].shape[1] == 120
    assert len(alone[0]) > len(alone[1])
    np.testing.assert_array_equal(image[: len(alone[0])], alone[0])
    np.testing.assert_array_equal(image[len(alone[0]) :, :120], alone[1])
    assert (image[len(alone[0]) :, 120:] == 255).all()


def test_each_row_has_its_own_camera():
    room = make_room()
    above, oblique = (
        draw_grid([CloudRow(room.xyz, {"a": room.rgb}, view)], size=SIZE) for view in (TOP, None)
    )
    assert above.shape != oblique.shape or (above != oblique).any()


def test_a_view_that_shows_less_does_not_cut_the_others():
    room = make_room()
    white = np.where(room.xyz[:, :1] < 2.0, 255, room.rgb).astype(np.uint8)
    both = draw_grid([CloudRow(room.xyz, {"a": white, "b": room.rgb}, TOP)], size=SIZE)
    one = draw_grid([CloudRow(room.xyz, {"b": room.rgb}, TOP)], size=SIZE)
    np.testing.assert_array_equal(both[:, -120:], one)


def test_white_on_white_is_a_picture():
    xyz = make_room(50).xyz
    colors = np.full((50, 3), 255, dtype=np.uint8)
    image = draw_grid([CloudRow(xyz * [1, 1, 0], {"": colors}, TOP)], size=SIZE)
    assert (image == 255).all() and image.shape == (8 + CAPTION + 110 + 8, 120, 3)


def test_write_grid_writes_the_picture_and_nothing_else(tmp_path: Path):
    room = make_room(300)
    rows = [CloudRow(room.xyz, {"room": room.rgb})]
    write_grid(tmp_path / "new" / "a.png", rows, size=SIZE)
    written = decode_png((tmp_path / "new" / "a.png").read_bytes())
    np.testing.assert_array_equal(written, draw_grid(rows, size=SIZE))
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.png"]


def test_errors_say_what_is_wrong(tmp_path: Path):
    room = make_room(30)
    with pytest.raises(ValueError, match="at least one row; got none"):
        draw_grid([])
    with pytest.raises(ValueError, match="at least one panel"):
        draw_grid([CloudRow(room.xyz, {})])
    with pytest.raises(ValueError, match=r"is \d+ pixels wide, but its view only 120"):
        draw_grid([CloudRow(room.xyz, {"far too long " * 9: room.rgb})], size=SIZE)
    with pytest.raises(ValueError, match="no letters for ß"):
        write_grid(tmp_path / "a.png", [CloudRow(room.xyz, {"groß": room.rgb})], size=SIZE)
    assert not any(tmp_path.iterdir())
