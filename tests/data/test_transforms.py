"""What every transform must do: keep fields with their points, repeat itself, change no input."""

from __future__ import annotations

import numpy as np
import pytest

from pc3d.data import transforms
from pc3d.data.sample import POINT_FIELDS
from pc3d.data.transforms import (
    Augmentation,
    CenterShift,
    ChromaticAutoContrast,
    ChromaticJitter,
    ChromaticTranslation,
    ClampRange,
    ElasticDistortion,
    GridSample,
    RandomDropout,
    RandomFlip,
    RandomJitter,
    RandomRotate,
    RandomScale,
    RandomShift,
    RangeFilter,
    SphereCrop,
)

EVERY = [
    CenterShift(),
    RandomDropout(p=1.0),
    RandomRotate(p=1.0),
    RandomScale(),
    RandomFlip(p=1.0),
    RandomShift(),
    RandomJitter(),
    ElasticDistortion(p=1.0),
    ChromaticAutoContrast(p=1.0),
    ChromaticTranslation(p=1.0),
    ChromaticJitter(p=1.0),
    RangeFilter(max_distance=5.5),
    ClampRange(max_distance=4.0, low=(0, -4, 1), high=(4, 0, 2)),
    SphereCrop(num_points=40),
    SphereCrop(sample_rate=0.5, mode="center"),
    GridSample(voxel_size=0.8),
]
LEGAL_IN_EVAL = {"CenterShift", "ClampRange"}
NO_TRANSFORMS = {"Augmentation", "Transform", "Mix", "OtherScenes"}
MIXES = {"InstanceCutMix", "LaserMix", "OneOf", "PolarMix"}


def name(transform) -> str:
    return type(transform).__name__


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_no_transform_is_left_out():
    assert {name(t) for t in EVERY} == set(transforms.__all__) - NO_TRANSFORMS - MIXES


@pytest.mark.parametrize("transform", EVERY, ids=name)
@pytest.mark.parametrize("seed", range(3))
def test_all_fields_stay_with_their_point(transform, seed, make_scene):
    """The instance id is a tag: whatever moves, fields that are not its own go along."""
    tags = rng(seed).permutation(200)
    sample = make_scene(seed=seed, instance=tags)
    row_of_tag = np.argsort(tags)
    result = transform(sample, rng(seed))
    rows = row_of_tag[result.instance]
    np.testing.assert_array_equal(result.row, sample.row[rows])
    np.testing.assert_array_equal(result.segment, sample.segment[rows])
    np.testing.assert_array_equal(result.intensity, sample.intensity[rows])
    if "Chromatic" in name(transform):
        np.testing.assert_array_equal(result.xyz, sample.xyz[rows])
        np.testing.assert_array_equal(result.normal, sample.normal[rows])
    else:
        np.testing.assert_array_equal(result.color, sample.color[rows])
    assert (np.diff(rows) > 0).all(), "points keep their order"


@pytest.mark.parametrize("transform", EVERY, ids=name)
def test_inputs_stay_and_results_repeat(transform, make_scene):
    sample, untouched = make_scene(instance=np.arange(200)), make_scene(instance=np.arange(200))
    first, second = transform(sample, rng(7)), transform(sample, rng(7))
    for field in (*POINT_FIELDS, "origin"):
        np.testing.assert_array_equal(getattr(sample, field), getattr(untouched, field))
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))
        assert getattr(first, field).dtype == getattr(sample, field).dtype


@pytest.mark.parametrize("transform", EVERY, ids=name)
def test_evaluation_takes_only_what_keeps_all_points_and_draws_nothing(transform, make_scene):
    if name(transform) not in LEGAL_IN_EVAL:
        with pytest.raises(ValueError, match=f"{name(transform)} is for training only"):
            Augmentation(eval=(transform,))
        return
    Augmentation(eval=(transform,))
    generator, sample = rng(), make_scene()
    np.testing.assert_array_equal(transform(sample, generator).row, sample.row)
    assert generator.random() == rng().random()


@pytest.mark.parametrize("transform", EVERY, ids=name)
@pytest.mark.parametrize("seed", range(3))
def test_normals_stay_unit_vectors(transform, seed, make_scene):
    result = transform(make_scene(seed=seed), rng(seed))
    np.testing.assert_allclose(np.linalg.norm(result.normal, axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_elastic_distortion_is_bounded_and_smooth(seed, make_scene):
    """Its fields are weighted means of unit noise, and twins 1 mm apart move alike."""
    sample = make_scene(400, seed)
    twins = np.concatenate([sample.xyz[:200], sample.xyz[:200] + np.float32(0.001)])
    distort = ElasticDistortion(distortion_params=((0.2, 0.4), (0.8, 1.6)), p=1.0)
    moved = distort(sample.with_(xyz=twins), rng(seed)).xyz - twins
    deviation_per_metre = np.linalg.norm(np.array([1, 2, 3, 2, 1]) / 9) ** 3
    assert 0.02 < np.abs(moved).max() < 6 * (0.4 + 1.6) * deviation_per_metre
    assert 0 < np.abs(moved[:200] - moved[200:]).max() < 0.005


@pytest.mark.parametrize("mix3d", [-0.1, 1.1])
def test_mix3d_must_be_a_probability(mix3d):
    with pytest.raises(ValueError, match="mix3d is a probability"):
        Augmentation(mix3d=mix3d)


def test_a_mix_must_be_callable():
    with pytest.raises(ValueError, match="_convert_='all'"):
        Augmentation(mix=({"p": 1.0},))
