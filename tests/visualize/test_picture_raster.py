from __future__ import annotations

import numpy as np
import pytest

from visualize import picture_raster
from visualize.geometry import Viewpoint
from visualize.picture_raster import NOWHERE, draw

TOP = Viewpoint(azimuth=-90.0, elevation=90.0)  # +x to the right, +y up


def grid(width: int, height: int, z: float = 0.0) -> np.ndarray:
    """[width * height, 3]: points 1 m apart, x fastest."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.full_like(x, z, dtype=float)], axis=-1).reshape(-1, 3).astype(float)


def pixels(xyz: np.ndarray, width: int, height: int, size: float) -> np.ndarray:
    """Columns and rows of points from above, with the middle of their box in the middle."""
    middle = (xyz.min(axis=0) + xyz.max(axis=0)) / 2
    right, up = ((xyz - middle)[:, :2] / size).T
    return np.stack([width / 2 + right, height / 2 - up], axis=1)


def test_points_are_where_they_belong():
    xyz = np.array([[0, 0, 0], [4, 0, 0.5], [0, 3, 0], [4, 3, 1], [1, 2, 0]], dtype=float)
    raster = draw(xyz, TOP, 106, 130)
    assert raster.pixel_size == pytest.approx(0.04)
    assert raster.point.shape == raster.depth.shape == (130, 106)
    for row, (column, line) in enumerate(pixels(xyz, 106, 130, 0.04)):
        assert raster.point[int(line), int(column)] == row
    seen = raster.point >= 0
    assert (raster.depth[~seen] == np.float32(NOWHERE)).all() and seen.mean() < 0.4
    height = xyz[raster.point[seen], 2]
    np.testing.assert_allclose(raster.depth[seen], height - 0.5, atol=1e-6)


def test_a_pixel_shows_the_nearest_point_of_a_surface():
    xyz = grid(7, 5)
    raster = draw(xyz, TOP, 208, 208)
    centers = pixels(xyz, 208, 208, raster.pixel_size)
    row, column = np.nonzero(raster.point >= 0)
    apart = np.hypot(*(np.stack([column, row], axis=1)[:, None] + 0.5 - centers).T).T
    shown = apart[np.arange(len(row)), raster.point[row, column]]
    assert (shown - apart.min(axis=1)).max() < 1.5
    assert len(np.unique(raster.point)) == len(xyz) + 1


def test_rows_of_large_clouds_are_kept():
    xyz = grid(300, 250)
    raster = draw(xyz, TOP, 60, 50)
    row, column = np.nonzero(raster.point >= 0)
    shown = pixels(xyz, 60, 50, raster.pixel_size)[raster.point[row, column]]
    assert abs(shown - np.stack([column, row], axis=1) - 0.5).max() < 2.5
    assert raster.point.max() > 70_000


def test_points_are_round():
    xyz = np.array([[0, 0, 0], [50, 0, 30], [0, 40, 10], [50, 40, 20]], dtype=float)
    raster = draw(xyz, TOP, 700, 600)
    rows, columns = np.nonzero(raster.point == 1)
    width = np.ptp(columns) + 1
    assert np.ptp(rows) + 1 == width > 8
    assert len(rows) == pytest.approx(np.pi / 4 * width**2, rel=0.1)


def test_the_order_of_points_does_not_matter():
    xyz = np.random.default_rng(0).random((500, 3)) * [5.0, 4.0, 2.0]
    order = np.random.default_rng(1).permutation(500)
    one = draw(xyz, Viewpoint(20.0, 50.0), 90, 70)
    two = draw(xyz[order], Viewpoint(20.0, 50.0), 90, 70)
    np.testing.assert_array_equal(one.point, np.append(order, -1)[two.point])


def test_narrow_holes_are_closed_and_wide_ones_are_not():
    xyz = grid(120, 100)
    x, y = xyz[:, 0], xyz[:, 1]
    narrow = (x == 10) & (y == 30)
    wide = (abs(x - 85) <= 2) & (abs(y - 12) <= 2)
    raster = draw(xyz[~narrow & ~wide], TOP, 600, 600)
    columns, rows = pixels(xyz, 600, 600, raster.pixel_size).astype(int).T
    assert raster.point[rows[narrow], columns[narrow]] >= 0
    middle = (x == 85) & (y == 12)
    assert raster.point[rows[middle], columns[middle]] == -1
    seen = raster.point >= 0
    inside = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert (~seen[inside]).mean() < 25 / 12_000  # nothing else is open
    spacing = 1.0 / raster.pixel_size
    assert columns.min() - np.flatnonzero(seen.any(axis=0))[0] <= 0.9 * spacing  # as wide as discs
    assert np.flatnonzero(seen.any(axis=1))[-1] - rows.max() <= 0.9 * spacing


def test_what_lies_behind_an_edge_goes_on_behind_it():
    """The gap beside a plate shows the floor: closing takes the deepest of what is around."""
    floor, plate = grid(120, 100), grid(50, 100, z=10.0)
    floor = floor[floor[:, 0] >= 52]
    xyz = np.concatenate([plate, floor])
    raster = draw(xyz, TOP, 700, 700)
    columns, rows = pixels(xyz, 700, 700, raster.pixel_size).astype(int).T
    disc = 0.9 / raster.pixel_size
    gap = np.s_[rows.min() : rows.max(), int(columns[49] + disc) + 1 : columns[len(plate)]]
    assert raster.point[gap].shape[1] >= 3
    assert (raster.point[gap] >= len(plate)).all()


def test_holes_in_a_near_surface_are_closed_over_a_far_one():
    floor, roof = grid(100, 100), grid(100, 100, z=50.0)
    hole = (roof[:, 0] == 20) & (roof[:, 1] == 33)
    xyz = np.concatenate([floor, roof[~hole]])
    raster = draw(xyz, TOP, 500, 500)
    assert (raster.point[30:-30, 30:-30] >= len(floor)).all()


def test_small_steps_are_no_holes():
    """A step that is lower than a hole is wide stays what it is, narrow as it may be."""
    xyz = grid(100, 100)
    xyz[:, 2] = np.where(xyz[:, 0] == 40, -1.0, 0.0)
    raster = draw(xyz, TOP, 500, 500)
    columns, rows = pixels(xyz, 500, 500, raster.pixel_size).astype(int).T
    deep = xyz[:, 2] < 0
    np.testing.assert_array_equal(raster.point[rows[deep], columns[deep]], np.flatnonzero(deep))


def test_surfaces_run_on_to_the_edge_of_the_picture():
    """A strip of points that leaves the picture has no end before it."""
    room = grid(100, 100)
    strip = grid(60, 3) + np.array([100.0, 20.0, 0.0])
    raster = draw(np.concatenate([room, strip]), TOP, 400, 400)
    seen = raster.point >= 0
    row = np.flatnonzero(seen[:, -1])
    assert len(row) and seen[row.mean().astype(int), 200:].all()
    assert not seen[:, 0].any()


def test_far_points_do_not_widen_the_picture():
    rng = np.random.default_rng(0)
    xyz = rng.random((5000, 3)) * [10.0, 8.0, 2.0]
    stray = np.concatenate([xyz, [[900.0, 0.0, 0.0], [0.0, 0.0, 300.0]]])
    assert draw(stray, TOP, 80, 60).pixel_size == draw(xyz, TOP, 80, 60).pixel_size
    assert draw(xyz, TOP, 80, 60).pixel_size == pytest.approx(1.06 * 8.0 / 60, rel=0.01)


def test_large_clouds_are_framed_by_a_part_of_their_points(monkeypatch: pytest.MonkeyPatch):
    xyz = np.random.default_rng(0).random((20_000, 3)) * [10.0, 8.0, 2.0]
    xyz = xyz[np.argsort(xyz[:, 0])]
    whole = draw(xyz, Viewpoint(-120.0, 40.0), 80, 60)
    monkeypatch.setattr(picture_raster, "_FRAMING_POINTS", 1000)
    part = draw(xyz, Viewpoint(-120.0, 40.0), 80, 60)
    assert part.pixel_size == pytest.approx(whole.pixel_size, rel=0.1)
    assert part.pixel_size != whole.pixel_size
    assert (part.point >= 0).mean() == pytest.approx((whole.point >= 0).mean(), rel=0.2)


def test_world_coordinates_are_as_exact_as_local_ones():
    xyz = np.random.default_rng(0).integers(0, 4000, (3000, 3)) / 1024
    local = draw(xyz, Viewpoint(-120.0, 40.0), 160, 120)
    world = draw(xyz + np.array([652_000.0, 6_861_000.0, 128.0]), Viewpoint(-120.0, 40.0), 160, 120)
    assert (local.point != world.point).mean() < 0.01


@pytest.mark.parametrize(
    ("elevation", "level"), [(90.0, 0.0), (45.0, 1.0), (5.0, 2.75), (0.0, 2.75), (-45.0, -1.0)]
)
def test_level_is_the_slope_of_the_ground_in_the_picture(elevation: float, level: float):
    raster = draw(grid(30, 30), Viewpoint(-90.0, elevation), 100, 100)
    assert raster.level == pytest.approx(level, abs=1e-9)
    if abs(level) == 1.0:
        depth = raster.depth[[40, 60], [50, 50]] / raster.pixel_size
        assert depth[1] - depth[0] == pytest.approx(20 * level, abs=4)


def test_one_place_is_a_disc_in_the_middle():
    raster = draw(np.full((3, 3), 7.0), TOP, 20, 30)
    row, column = np.nonzero(raster.point >= 0)
    assert set(zip(row, column, strict=True)) == {(y, x) for y in (14, 15, 16) for x in (9, 10, 11)}
