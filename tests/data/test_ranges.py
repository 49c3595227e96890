"""RangeFilter drops, ClampRange moves; nobody may confuse them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pc3d.data.sample import POINT_FIELDS
from pc3d.data.transforms import Augmentation, ClampRange, RangeFilter

LOW, HIGH = (-30.0, -20.0, -4.0), (35.0, 25.0, 2.0)
INF = math.inf


@pytest.fixture
def far_scene(make_scene):
    """Points up to 90 m away on all sides, some exactly on a bound."""
    xyz = (np.random.default_rng(1).random((400, 3)) - [0.4, 0.5, 0.6]) * [120, 100, 20]
    xyz[:3] = [[35.0, 0, 0], [0, -20.0, 0], [30.0, 40.0, 0]]
    return make_scene(400, xyz=xyz.astype(np.float32))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def inside_box(point) -> bool:
    return all(low <= c <= high for low, c, high in zip(LOW, point, HIGH, strict=True))


@pytest.mark.parametrize(
    ("options", "inside"),
    [
        ({"low": LOW, "high": HIGH}, inside_box),
        ({"max_distance": 50.0}, lambda p: math.dist(p, (0, 0, 0)) <= 50.0),
        ({"low": (-INF, -INF, -4.0)}, lambda p: p[2] >= -4.0),
        (
            {"max_distance": 30.0, "low": LOW, "high": HIGH},
            lambda p: inside_box(p) and math.dist(p, (0, 0, 0)) <= 30.0,
        ),
    ],
)
def test_the_filter_drops_exactly_what_is_outside(options, inside, far_scene):
    """Bounds belong to the inside; what stays is as it was, with all its fields, in order."""
    kept = RangeFilter(**options)(far_scene, rng())
    expected = [row for row, point in enumerate(far_scene.xyz.tolist()) if inside(point)]
    assert kept.row.tolist() == expected
    assert 0 < len(expected) < len(far_scene)
    for field in POINT_FIELDS:
        if getattr(kept, field) is not None:
            np.testing.assert_array_equal(getattr(kept, field), getattr(far_scene, field)[expected])


def test_the_clamp_keeps_every_point_and_moves_only_those_outside(far_scene):
    clamped = ClampRange(low=LOW, high=HIGH)(far_scene, rng())
    for field in POINT_FIELDS:
        if field != "xyz" and getattr(clamped, field) is not None:
            np.testing.assert_array_equal(getattr(clamped, field), getattr(far_scene, field))
    by_hand = [
        [min(max(c, low), high) for low, c, high in zip(LOW, point, HIGH, strict=True)]
        for point in far_scene.xyz.tolist()
    ]
    np.testing.assert_array_equal(clamped.xyz, np.array(by_hand, np.float32))
    assert clamped.xyz.dtype == np.float32
    again = ClampRange(low=LOW, high=HIGH)(clamped, rng())
    np.testing.assert_array_equal(again.xyz, clamped.xyz)


def test_the_radial_clamp_keeps_directions(far_scene):
    """Pointwise: the same direction, and the distance min(distance, 50)."""
    clamped = ClampRange(max_distance=50.0)(far_scene, rng())
    moved = 0
    for before, after in zip(far_scene.xyz.tolist(), clamped.xyz.tolist(), strict=True):
        distance = math.dist(before, (0, 0, 0))
        factor = min(1.0, 50.0 / distance)
        np.testing.assert_allclose(after, [c * factor for c in before], rtol=1e-6)
        moved += factor < 1
        if factor == 1:
            assert after == before
    assert 20 < moved < 380


def test_the_pull_comes_before_the_box(make_scene):
    """(0, 60, -25) is pulled to 50 m first and then lifted to z = -4: y is not 50."""
    sample = make_scene(2, xyz=np.array([[0, 60, -25], [0, 0, 0]], np.float32))
    clamp = ClampRange(max_distance=50.0, low=(-INF, -INF, -4.0), high=(INF, INF, 2.0))
    y, z = clamp(sample, rng()).xyz[0, 1:].tolist()
    assert (y, z) == (pytest.approx(60 * 50 / 65), -4.0)
    np.testing.assert_array_equal(clamp(sample, rng()).xyz[1], 0)  # the sensor stays


def test_only_the_clamp_is_legal_in_evaluation():
    clamp, drop = ClampRange(max_distance=50.0), RangeFilter(max_distance=50.0)
    assert Augmentation(train=(drop,), eval=(clamp,)).eval == (clamp,)
    with pytest.raises(ValueError, match="RangeFilter is for training only"):
        Augmentation(eval=(drop,))


def test_a_scene_of_which_nothing_would_remain_is_named(make_scene):
    with pytest.raises(ValueError, match=r"scene scene: .*max_distance=0\.5.* all 200 points"):
        RangeFilter(max_distance=0.5)(make_scene(), rng())


@pytest.mark.parametrize("kind", [RangeFilter, ClampRange])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "at least one of max_distance, low and high"),
        ({"max_distance": 0.0}, "positive"),
        ({"low": (0, 0)}, "x, y, z"),
        ({"low": (0, 0, 0), "high": (1, 0, 1)}, "low < high"),
        ({"high": (1, math.nan, 1)}, "low < high"),
    ],
)
def test_senseless_bounds_are_refused(kind, options, words):
    with pytest.raises(ValueError, match=rf"{kind.__name__}.*{words}"):
        kind(**options)
