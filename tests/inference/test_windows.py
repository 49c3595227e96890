"""Windows cover a cloud, overlap, and hold no more than they should; votes are exact means."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pc3d.inference.windows import Column, _spans, bounded_extent, columns, starts, votes


def cloud(num_points: int = 400, sides=(30.0, 12.0), seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((num_points, 2)) * sides + (931_000.25, -6_449_000.5)


@pytest.mark.parametrize(
    ("length", "extent", "overlap", "expected"),
    [
        (10, 10, 0.25, [0]),
        (3, 10, 0.5, [0]),
        (0, 10, 0.25, [0]),
        (20, 10, 0, [0, 10]),
        (20, 10, 0.5, [0, 5, 10]),
        (21, 10, 0.25, [0, 5.5, 11]),
        (17.5, 10, 0.25, [0, 7.5]),
    ],
)
def test_windows_begin(length, extent, overlap, expected):
    np.testing.assert_allclose(starts(length, extent, overlap), expected)


@given(st.floats(0, 1e4), st.floats(1, 500), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]))
def test_windows_leave_no_gap_and_none_is_too_many(length, extent, overlap):
    begins = starts(length, extent, overlap)
    steps = np.diff(begins)
    assert begins[0] == 0 and begins[-1] + extent >= length * (1 - 1e-12)
    assert (steps <= extent * (1 - overlap) * (1 + 1e-9)).all()
    if len(begins) > 1:  # one fewer would overlap by less than asked
        assert (length - extent) / (len(begins) - 1) <= extent * (1 - overlap) * (1 + 1e-9)
        assert len(begins) == 2 or (length - extent) / (len(begins) - 2) > extent * (
            1 - overlap
        ) * (1 - 1e-9)


@pytest.mark.parametrize("sides", [(30.0, 12.0), (12.0, 30.0), (7.0, 7.0), (0.0, 40.0)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.8])
def test_every_point_is_in_a_window_and_done_once(sides, overlap):
    xy = cloud(sides=sides)
    done, seen = [], np.zeros(len(xy), dtype=int)
    for column in columns(xy, 8.0, overlap):
        assert 0 <= column.num_done <= len(column.rows)
        done.append(column.rows[: column.num_done])
        for window in column.windows:
            rows = column.rows[window]
            assert len(rows) and (np.diff(rows) > 0).all()  # in the order of the file
            assert (np.ptp(xy[rows], axis=0) <= 8.0 + 1e-9).all()
            seen[rows] += 1
    assert sorted(np.concatenate(done).tolist()) == list(range(len(xy)))
    assert seen.min() >= 1
    if overlap == 0.5 and min(sides) > 8:
        assert seen.max() >= 4


def test_points_on_the_border_of_windows_that_do_not_overlap_are_in_one():
    """Of windows [0, 10) and [10, 20], whatever rounding does to the places of the borders."""
    xy = np.stack([np.linspace(0, 20, 2001) + 0.1, np.zeros(2001)], axis=1)
    counts = np.zeros(2001, dtype=int)
    for column in columns(xy, 10.0, 0.0):
        for window in column.windows:
            counts[column.rows[window]] += 1
    assert counts.tolist() == [1] * 2001


def test_one_window_over_a_small_cloud():
    xy = cloud(50)
    (column,) = columns(xy, 30.0, 0.25)
    assert column.num_done == 50
    (window,) = column.windows
    assert column.rows[window].tolist() == list(range(50))


def test_a_gap_in_the_cloud_costs_no_window():
    xy = np.concatenate([cloud(20, (5, 5)), cloud(20, (5, 5), seed=1) + np.array([500.0, 0.0])])
    found = list(columns(xy, 5.0, 0.25))
    assert sum(len(column.windows) for column in found) <= 6
    assert sum(column.num_done for column in found) == 40


def test_votes_are_the_means_over_windows():
    """Against a table of exact fractions, one window at a time."""
    xy = cloud(300)
    rng = np.random.default_rng(3)
    windows = [c.rows[w] for c in columns(xy, 8.0, 0.5) for w in c.windows]
    given_scores = [rng.integers(0, 8, (len(rows), 3)) / 8 for rows in windows]
    expected = [[[] for _ in range(3)] for _ in xy]
    for rows, scores in zip(windows, given_scores, strict=True):
        for row, values in zip(rows, scores, strict=True):
            for k, value in enumerate(values):
                expected[row][k].append(Fraction(value))
    pending = iter(zip(windows, given_scores, strict=True))

    def score(rows):
        asked, scores = next(pending)
        assert rows.tolist() == asked.tolist()
        return scores.astype(np.float32)

    found = np.full((300, 3), np.nan)
    for rows, scores in votes(columns(xy, 8.0, 0.5), score, 3):
        assert np.isnan(found[rows]).all()
        found[rows] = scores
    exact = [[float(sum(values) / len(values)) for values in row] for row in expected]
    np.testing.assert_allclose(found, exact, rtol=1e-6)


@pytest.mark.parametrize("sides", [(200.0, 10.0), (10.0, 200.0)])
def test_what_waits_is_no_more_than_two_columns(sides):
    most = max(len(column.rows) for column in columns(cloud(4000, sides), 10.0, 0.25))
    assert most <= 2 * 4000 * 10 / 200


def test_no_column_no_votes():
    assert list(votes(iter(()), lambda rows: np.zeros((len(rows), 2)), 2)) == []
    column = Column(np.array([4]), 1, [np.array([0])])
    ((rows, scores),) = votes(iter([column]), lambda rows: np.ones((1, 2), np.float32), 2)
    assert rows.tolist() == [4] and scores.tolist() == [[1, 1]]


def test_windows_shrink_until_they_hold_few_enough():
    xy = cloud(1000, (40.0, 40.0))
    assert bounded_extent(xy, 20.0, 1000) == 20.0
    assert bounded_extent(xy, np.inf, 1000) == pytest.approx(40, rel=0.02)
    extent = bounded_extent(xy, 20.0, 100)
    assert extent == 10.0
    cells = np.floor((xy - xy.min(axis=0)) / extent).astype(int)
    assert np.unique(cells, axis=0, return_counts=True)[1].max() <= 100


def test_points_at_one_place_end_the_shrinking():
    assert 0.05 <= bounded_extent(np.zeros((50, 2)), 20.0, 10) <= 0.1


def test_rounding_leaves_no_gap_between_windows():
    place = np.array([0.0, 9.0, 10.0, 20.0])
    firsts, lasts = _spans(place, np.array([0.0, np.nextafter(10.0, 11)]), 10.0)
    assert firsts.tolist() == [0, 3] and lasts.tolist() == [3, 4]


def test_cells_of_a_long_cloud_are_counted_one_by_one():
    xy = np.stack(np.meshgrid(np.arange(20.0), np.arange(80.0), indexing="ij"), -1).reshape(-1, 2)
    assert bounded_extent(xy, 10.0, 100) == 10.0  # every cell holds exactly 100
    assert bounded_extent(xy[:, ::-1], 10.0, 100) == 10.0
    assert bounded_extent(xy, 10.0, 99) == 5.0
