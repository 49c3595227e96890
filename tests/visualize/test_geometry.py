from __future__ import annotations

import numpy as np
import pytest

from tests.visualize.rooms import make_room
from visualize.geometry import check_cloud, core_box, overview, point_spacing, thin


def test_thin_returns_distinct_ascending_rows_and_never_too_many():
    xyz = make_room(20_000).xyz
    for max_points in (1, 7, 500, 5_000, 19_999):
        rows = thin(xyz, max_points)
        assert 0 < len(rows) <= max_points
        assert (np.diff(rows) > 0).all()
    assert len(thin(xyz, 5_000)) > 0.9 * 5_000


def test_thin_is_deterministic_and_keeps_small_clouds_whole():
    xyz = make_room(20_000).xyz
    np.testing.assert_array_equal(thin(xyz, 1_000), thin(xyz.copy(), 1_000))
    np.testing.assert_array_equal(thin(xyz, 20_000), np.arange(20_000))


def test_thin_is_uniform_in_space_where_the_input_is_not():
    """A floor whose left half was scanned 50 times as densely keeps equally many of each half."""
    rng = np.random.default_rng(0)
    xyz = rng.random((102_000, 3)) * [1.0, 1.0, 0.0]
    xyz[100_000:, 0] += 1.0
    is_left = thin(xyz, 1_000) < 100_000
    assert 0.4 < is_left.mean() < 0.6


def test_thin_of_identical_points():
    assert 1 <= len(thin(np.ones((100, 3)), 10)) <= 10


def test_thin_refuses_zero_points():
    with pytest.raises(ValueError, match="at least 1; got 0"):
        thin(np.zeros((3, 3)), 0)


@pytest.mark.parametrize("spacing", [0.02, 0.5])
def test_point_spacing_of_a_regular_grid_is_its_step(spacing: float):
    x, y = np.meshgrid(np.arange(200), np.arange(150))
    xyz = np.stack([x, y, 0 * x], axis=-1).reshape(-1, 3) * spacing
    assert point_spacing(xyz) == pytest.approx(spacing, rel=0.1)


def test_point_spacing_of_one_place_is_zero():
    assert point_spacing(np.ones((5, 3))) == 0.0


def test_core_box_keeps_walls_and_loses_stray_points():
    xyz = make_room(20_000).xyz
    stray = np.concatenate([xyz, [[500.0, 0.0, 90.0]]])
    low, high = core_box(stray)
    np.testing.assert_allclose(low, [0, 0, 0], atol=0.15)
    np.testing.assert_allclose(high, [4, 3, 2], atol=0.35)


def test_overview_looks_steeply_into_rooms_and_flatly_over_streets():
    room = make_room().xyz
    street = room * [20.0, 20.0, 1.0]
    assert overview(room).elevation > 55
    assert overview(street).elevation == 35
    assert overview(room[:, [1, 0, 2]]).azimuth != overview(room).azimuth


def test_check_cloud_names_what_is_wrong():
    with pytest.raises(ValueError, match=r"\[P, 3\]; got \(4, 2\)"):
        check_cloud(np.zeros((4, 2)))
    with pytest.raises(ValueError, match="no points"):
        check_cloud(np.zeros((0, 3)))
    xyz = np.zeros((5, 3))
    xyz[3, 1] = np.inf
    with pytest.raises(ValueError, match=r"1 of 5 points .* \(first at row 3\)"):
        check_cloud(xyz)
