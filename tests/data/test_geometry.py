"""Coordinate transforms: what each must do, and what none may do."""

from __future__ import annotations

from math import pi

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from pc3d.data.sample import POINT_FIELDS
from pc3d.data.transforms import (
    CenterShift,
    ElasticDistortion,
    RandomDropout,
    RandomFlip,
    RandomJitter,
    RandomRotate,
    RandomScale,
    RandomShift,
)
from pc3d.data.transforms.geometry import rotation_matrix

EVERY = [
    CenterShift(),
    RandomDropout(p=1.0),
    RandomRotate(p=1.0),
    RandomScale(),
    RandomScale(anisotropic=True),
    RandomFlip(p=1.0),
    RandomShift(),
    RandomJitter(),
    ElasticDistortion(p=1.0),
]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("transform", EVERY, ids=lambda t: type(t).__name__)
def test_input_is_kept_and_output_follows_the_generator(transform, make_scene):
    sample, untouched = make_scene(), make_scene()
    first, second = transform(sample, rng(3)), transform(sample, rng(3))
    for field in POINT_FIELDS:
        before, after = getattr(untouched, field), getattr(sample, field)
        if before is not None:
            np.testing.assert_array_equal(after, before)
            np.testing.assert_array_equal(getattr(first, field), getattr(second, field))
            assert getattr(first, field).dtype == before.dtype
    np.testing.assert_array_equal(sample.origin, untouched.origin)
    assert not np.array_equal(first.xyz, sample.xyz)
    np.testing.assert_allclose(np.linalg.norm(first.normal, axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("transform", EVERY, ids=lambda t: type(t).__name__)
def test_one_point_survives(transform, make_scene):
    result = transform(make_scene(num_points=1), rng())
    assert len(result) == 1
    assert np.isfinite(result.xyz).all()


def test_center_shift_keeps_world_positions(make_scene):
    sample = make_scene()
    for apply_z in (True, False):
        moved = CenterShift(apply_z=apply_z)(sample, rng())
        np.testing.assert_allclose(moved.xyz + moved.origin, sample.xyz + sample.origin, atol=1e-5)
        middle = (moved.xyz.min(axis=0) + moved.xyz.max(axis=0)) / 2
        np.testing.assert_allclose(middle[:2], 0, atol=1e-5)
        lowest = moved.xyz[:, 2].min()
        assert lowest == (0 if apply_z else sample.xyz[:, 2].min())


@pytest.mark.parametrize(("num_points", "kept"), [(10, 8), (11, 8), (1, 1), (2, 1)])
def test_dropout_keeps_an_exact_number_in_order(num_points, kept, make_scene):
    sample = make_scene(num_points)
    for seed in range(5):
        rows = RandomDropout(ratio=0.2, p=1.0)(sample, rng(seed)).row
        assert len(rows) == kept
        assert (np.diff(rows) > 0).all()


def test_dropout_happens_with_its_probability(make_scene):
    sample = make_scene(10)
    happened = [len(RandomDropout(p=0.2)(sample, rng(s))) < 10 for s in range(2000)]
    assert np.mean(happened) == pytest.approx(0.2, abs=0.03)  # 3 standard deviations


@pytest.mark.parametrize("axis", "xyz")
@pytest.mark.parametrize("center", [None, (0.0, 0.0, 0.0), (1.0, 2.0, 3.0)])
def test_rotation_keeps_distances_and_turns_normals_along(axis, center, make_scene):
    """A point one normal away from another stays one normal away."""
    sample = make_scene(50)
    tips = sample.with_(xyz=sample.xyz + sample.normal)
    transform = RandomRotate(axis=axis, center=(center or (3.0, -3.5, 1.5)), p=1.0)
    turned, turned_tips = transform(sample, rng(1)), transform(tips, rng(1))
    np.testing.assert_allclose(pdist(turned.xyz), pdist(sample.xyz), atol=1e-4)
    np.testing.assert_allclose(turned_tips.xyz - turned.xyz, turned.normal, atol=1e-4)
    along = "xyz".index(axis)
    np.testing.assert_allclose(turned.xyz[:, along], sample.xyz[:, along], atol=1e-5)


def test_rotation_is_counter_clockwise_about_each_axis():
    for axis, start, end in (("z", (1, 0, 0), (0, 1, 0)), ("x", (0, 1, 0), (0, 0, 1)),
                             ("y", (0, 0, 1), (1, 0, 0))):  # fmt: skip
        np.testing.assert_allclose(rotation_matrix(axis, pi / 2) @ start, end, atol=1e-12)


def test_rotation_is_about_the_middle_of_the_box_unless_told(make_scene):
    sample = make_scene()
    turned = RandomRotate(angle=(1.0, 1.0), p=1.0)(sample, rng())  # half a turn
    low, high = sample.xyz.min(axis=0), sample.xyz.max(axis=0)
    np.testing.assert_allclose(turned.xyz[:, :2], (low + high - sample.xyz)[:, :2], atol=1e-5)
    about_sensor = RandomRotate(angle=(1.0, 1.0), center=(0, 0, 0), p=1.0)(sample, rng())
    np.testing.assert_allclose(about_sensor.xyz[:, :2], -sample.xyz[:, :2], atol=1e-5)


def test_rotation_angle_is_in_units_of_pi(make_scene):
    sample = make_scene(2)
    angles = []
    for seed in range(300):
        turned = RandomRotate(angle=(-0.25, 0.25), center=(0, 0, 0), p=1.0)(sample, rng(seed))
        (x0, y0), (x1, y1) = sample.xyz[0, :2], turned.xyz[0, :2]
        angles.append(np.arctan2(x0 * y1 - y0 * x1, x0 * x1 + y0 * y1))
    assert -pi / 4 <= min(angles) < -0.7 * pi / 4
    assert 0.7 * pi / 4 < max(angles) <= pi / 4 + 1e-6


def test_scale_multiplies_by_a_factor_in_its_range(make_scene):
    sample = make_scene()
    factors = [RandomScale(scale=(0.9, 1.1))(sample, rng(s)).xyz / sample.xyz for s in range(100)]
    assert all(np.ptp(f) < 1e-5 for f in factors)  # one factor for all points and axes
    means = [f.mean() for f in factors]
    assert 0.9 <= min(means) < 0.93
    assert 1.07 < max(means) <= 1.1


def test_anisotropic_scale_keeps_normals_at_right_angles(make_scene):
    plane = np.array([[0, 0, 0], [1, 0, 1], [0, 1, 2], [1, 1, 3]], dtype=np.float32)
    normal = np.tile(np.array([-1, -2, 1], dtype=np.float32) / np.sqrt(np.float32(6)), (4, 1))
    sample = make_scene(4, xyz=plane, normal=normal)
    scaled = RandomScale(scale=(0.5, 2.0), anisotropic=True)(sample, rng(2))
    edges = scaled.xyz[1:] - scaled.xyz[0]
    np.testing.assert_allclose(edges @ scaled.normal[0], 0, atol=1e-5)


def test_flip_negates_x_and_y_independently_and_never_z(make_scene):
    sample = make_scene()
    seen = set()
    for seed in range(60):
        flipped = RandomFlip(p=0.5)(sample, rng(seed))
        signs = np.sign(flipped.xyz[0] / sample.xyz[0])
        np.testing.assert_array_equal(flipped.xyz, sample.xyz * signs)
        np.testing.assert_array_equal(flipped.normal, sample.normal * signs)
        seen.add(tuple(signs))
    assert seen == {(1, 1, 1), (-1, 1, 1), (1, -1, 1), (-1, -1, 1)}


def test_shift_moves_the_whole_scene_within_its_box(make_scene):
    sample = make_scene()
    shifts = np.stack(
        [
            RandomShift(max_shift=(0.2, 0.1, 0.0))(sample, rng(s)).xyz - sample.xyz
            for s in range(200)
        ]
    )
    assert np.ptp(shifts, axis=1).max() < 1e-5
    np.testing.assert_allclose(np.abs(shifts).max(axis=(0, 1)), [0.2, 0.1, 0], atol=0.01)


def test_jitter_has_its_spread_and_is_clipped(make_scene):
    sample = make_scene(20_000, xyz=np.zeros((20_000, 3), dtype=np.float32))
    noise = RandomJitter(sigma=0.005, clip=0.02)(sample, rng()).xyz
    assert noise.std() == pytest.approx(0.005, rel=0.02)
    clipped = RandomJitter(sigma=0.005, clip=0.004)(sample, rng()).xyz
    assert np.abs(clipped).max() == np.float32(0.004)


def test_elastic_distortion_is_smooth_and_of_its_magnitude(make_scene):
    """Near points move alike, far points do not, and the spread is that of blurred noise."""
    line = np.linspace(0, 40, 4001, dtype=np.float32)
    xyz = np.stack([line, 0 * line, 0 * line], axis=1) + np.float32(0.5)
    sample = make_scene(4001, xyz=xyz)
    moved = [
        ElasticDistortion(distortion_params=((0.8, 1.6),), p=1.0)(sample, rng(s)).xyz - xyz
        for s in range(20)
    ]
    shift = np.stack(moved)
    # Two box blurs of width 3 are weights (1, 2, 3, 2, 1) / 9 per axis; 0.23 of unit noise is the
    # norm of a separable filter, here cut at the faces of the grid in y and z, halved by
    # interpolation between the nodes at most.
    one_axis = np.array([1, 2, 3, 2, 1]) / 9
    full = 1.6 * np.linalg.norm(one_axis) ** 3
    assert 0.5 * full < shift.std() < 1.1 * full
    step = np.abs(np.diff(shift, axis=1)).max()
    assert step < 0.05 * shift.std() * 3  # 1 cm apart on a grid of 80 cm
    far = np.corrcoef(shift[:, :2000].ravel(), shift[:, 2000:4000].ravel())[0, 1]
    assert abs(far) < 0.2


def test_elastic_distortion_agrees_with_a_plain_interpolation_of_the_same_noise(make_scene):
    """The formula once more, as loops over the eight corners."""
    sample = make_scene(40)
    granularity, magnitude = 0.4, 0.7
    transform = ElasticDistortion(distortion_params=((granularity, magnitude),), p=1.0)
    moved = transform(sample, rng(5))
    generator = rng(5)
    generator.random()  # the draw that decides whether it happens
    low = sample.xyz.min(axis=0)
    shape = ((sample.xyz.max(axis=0) - low) // granularity).astype(int) + 3
    noise = generator.standard_normal((3, *shape), dtype=np.float32).astype(np.float64)
    for _ in range(2):
        for axis in (1, 2, 3):
            padded = np.pad(noise, [(1, 1) if a == axis else (0, 0) for a in range(4)])
            pieces = [np.take(padded, range(k, k + noise.shape[axis]), axis) for k in range(3)]
            noise = sum(pieces) / 3
    for point, result in zip(sample.xyz, moved.xyz, strict=True):
        cell = (point - low) / granularity + 1
        base = np.floor(cell).astype(int)
        value = np.zeros(3)
        for corner in np.ndindex(2, 2, 2):
            weight = np.prod(np.where(corner, cell - base, 1 - (cell - base)))
            value += weight * noise[(slice(None), *(base + corner))]
        np.testing.assert_allclose(result - point, magnitude * value, atol=1e-5)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: RandomDropout(ratio=1.0), "ratio"),
        (lambda: RandomRotate(axis="w"), "axis"),
        (lambda: RandomScale(scale=(0.0, 1.0)), "positive"),
        (lambda: ElasticDistortion(distortion_params=((0.0, 1.0),)), "granularity"),
    ],
)
def test_senseless_parameters_fail_when_the_transform_is_made(build, words):
    with pytest.raises(ValueError, match=words):
        build()
