"""SphereCrop and GridSample against loops."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from pc3d.data.transforms import GridSample, SphereCrop


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def is_sphere_about(sample, kept: list[int], center: int) -> bool:
    """Whether no dropped point is nearer to the centre than a kept one."""
    distances = [math.dist(sample.xyz[center].tolist(), p) for p in sample.xyz.tolist()]
    dropped = set(range(len(sample))) - set(kept)
    return max(distances[i] for i in kept) <= min(distances[i] for i in dropped) + 1e-6


@pytest.mark.parametrize(
    ("options", "num_kept"),
    [
        ({"num_points": 50}, 50),
        ({"num_points": 201}, 201),
        ({"num_points": 203}, 203),  # as many as there are
        ({"num_points": 1000}, 203),
        ({"sample_rate": 0.6}, 121),  # floor(121.8)
        ({"sample_rate": 0.001}, 1),
        ({"sample_rate": 1.0}, 203),
    ],
)
@pytest.mark.parametrize("mode", ["random", "center"])
def test_the_crop_keeps_an_exact_number_in_order(options, num_kept, mode, make_scene):
    sample = make_scene(203)
    rows = SphereCrop(**options, mode=mode)(sample, rng(4)).row
    assert len(rows) == num_kept
    assert (np.diff(rows) > 0).all()


@pytest.mark.parametrize("seed", range(8))
def test_the_crop_is_a_sphere_about_a_random_point(seed, make_scene):
    sample = make_scene(120, seed)
    kept = SphereCrop(num_points=30)(sample, rng(seed)).row.tolist()
    assert any(is_sphere_about(sample, kept, center) for center in kept)


def test_every_point_may_be_the_centre(make_scene):
    sample = make_scene(12)
    alone = Counter(SphereCrop(num_points=1)(sample, rng(s)).row.item() for s in range(1200))
    assert set(alone) == set(range(12))
    assert max(alone.values()) < 150  # 100 each, and 5 standard deviations


@pytest.mark.parametrize("num_points", [100, 101])
def test_the_centre_is_the_point_in_the_middle_of_the_list(num_points, make_scene):
    """Not of the box: the order of the points decides, and nothing is drawn."""
    sample = make_scene(num_points)
    crop = SphereCrop(num_points=1, mode="center")
    assert crop(sample, rng()).row.tolist() == [50]
    generator = rng()
    kept = SphereCrop(num_points=20, mode="center")(sample, generator).row.tolist()
    assert is_sphere_about(sample, kept, 50)
    assert generator.random() == rng().random()


def test_equally_far_points_that_come_first_stay(make_scene):
    sample = make_scene(10, xyz=np.zeros((10, 3), np.float32))
    assert SphereCrop(num_points=4)(sample, rng()).row.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "either num_points or sample_rate"),
        ({"num_points": 5, "sample_rate": 0.5}, "either num_points or sample_rate"),
        ({"num_points": 0}, "num_points"),
        ({"sample_rate": 0.0}, "sample_rate"),
        ({"sample_rate": 1.5}, "sample_rate"),
        ({"num_points": 5, "mode": "middle"}, "mode"),
    ],
)
def test_senseless_crops_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        SphereCrop(**options)


@pytest.mark.parametrize("seed", range(5))
def test_the_grid_keeps_one_point_of_every_voxel(seed, make_scene):
    """On both sides of zero; points stay where they are and in their order."""
    sample = make_scene(400, seed)
    sample = sample.with_(xyz=sample.xyz - sample.xyz.mean(axis=0))
    kept = GridSample(voxel_size=0.7)(sample, rng(seed))
    cells = [tuple(math.floor(c / 0.7) for c in map(float, p)) for p in sample.xyz]
    kept_cells = [cells[row] for row in kept.row]
    assert sorted(kept_cells) == sorted(set(cells))
    assert len(kept) < 300
    assert (np.diff(kept.row) > 0).all()
    np.testing.assert_array_equal(kept.xyz, sample.xyz[kept.row])
    np.testing.assert_array_equal(kept.segment, sample.segment[kept.row])


def test_every_point_of_a_voxel_is_as_likely(make_scene):
    sample = make_scene(9)
    groups = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2], np.float32)
    sample = sample.with_(xyz=np.stack([groups + 0.5] * 3, axis=1))
    counts = Counter(
        row for s in range(1200) for row in GridSample(voxel_size=1.0)(sample, rng(s)).row.tolist()
    )
    sizes = defaultdict(int)
    for group in groups.tolist():
        sizes[group] += 1
    for row, group in enumerate(groups.tolist()):
        assert counts[row] == pytest.approx(1200 / sizes[group], abs=80)  # 5 standard deviations


def test_a_senseless_grid_is_refused():
    with pytest.raises(ValueError, match="voxel_size"):
        GridSample(voxel_size=0.0)
