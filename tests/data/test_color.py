"""Colour transforms."""

from __future__ import annotations

import numpy as np
import pytest

from pc3d.data.transforms import ChromaticAutoContrast, ChromaticJitter, ChromaticTranslation

EVERY = [ChromaticAutoContrast(p=1.0), ChromaticTranslation(p=1.0), ChromaticJitter(p=1.0)]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("transform", EVERY, ids=lambda t: type(t).__name__)
def test_only_colour_changes_and_stays_in_range(transform, make_scene):
    sample, untouched = make_scene(), make_scene()
    first, second = transform(sample, rng(1)), transform(sample, rng(1))
    np.testing.assert_array_equal(sample.color, untouched.color)
    np.testing.assert_array_equal(first.color, second.color)
    np.testing.assert_array_equal(first.xyz, sample.xyz)
    assert first.color.dtype == np.float32
    assert not np.array_equal(first.color, sample.color)
    assert first.color.min() >= 0
    assert first.color.max() <= 255


@pytest.mark.parametrize("transform", EVERY, ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_scan_without_colour_is_refused_by_name(transform, p, make_scene):
    sample = make_scene(color=None, name="00/000123")
    with pytest.raises(ValueError, match=rf"{type(transform).__name__} needs 'color'.*00/000123"):
        type(transform)(p=p)(sample, rng())


def test_auto_contrast_blends_towards_the_full_range(make_scene):
    """c + u ((c - lo) 255 / (hi - lo) - c): linear in c per channel, u the same for all."""
    sample = make_scene()
    color = sample.color
    low, high = color.min(axis=0), color.max(axis=0)
    blends = []
    for seed in range(200):
        result = ChromaticAutoContrast(p=1.0)(sample, rng(seed)).color
        full = (color - low) * 255 / (high - low)
        row = int(np.abs(full - color).min(axis=1).argmax())
        blend = (result - color)[row] / (full - color)[row]
        np.testing.assert_allclose(blend, blend[0], atol=1e-3)
        np.testing.assert_allclose(result, color + blend[0] * (full - color), atol=0.2)
        blends.append(blend[0])
    assert 0 <= min(blends) < 0.05
    assert 0.95 < max(blends) <= 1.001


def test_auto_contrast_leaves_a_constant_channel(make_scene):
    color = make_scene().color.copy()
    color[:, 1] = 77
    result = ChromaticAutoContrast(p=1.0)(make_scene(color=color), rng())
    np.testing.assert_array_equal(result.color[:, 1], 77)


def test_translation_adds_one_colour_within_its_ratio(make_scene):
    color = np.full((50, 3), 128, dtype=np.float32)
    shifts = np.stack(
        [
            ChromaticTranslation(ratio=0.1, p=1.0)(make_scene(50, color=color), rng(s)).color
            - color
            for s in range(300)
        ]
    )
    assert np.ptp(shifts, axis=1).max() == 0
    assert 24.5 < shifts.max() <= 25.5
    assert -25.5 <= shifts.min() < -24.5
    white = make_scene(50, color=np.full((50, 3), 250, dtype=np.float32))
    assert max(ChromaticTranslation(p=1.0)(white, rng(s)).color.max() for s in range(20)) == 255


def test_jitter_has_its_standard_deviation(make_scene):
    color = np.full((20_000, 3), 128, dtype=np.float32)
    sample = make_scene(20_000, color=color)
    noise = ChromaticJitter(std=0.05, p=1.0)(sample, rng()).color - color
    assert noise.std() == pytest.approx(0.05 * 255, rel=0.02)


def test_each_happens_with_its_probability(make_scene):
    sample = make_scene(5)
    for kind, p in (
        (ChromaticAutoContrast, 0.2),
        (ChromaticTranslation, 0.95),
        (ChromaticJitter, 0.95),
    ):
        changed = [
            not np.array_equal(kind()(sample, rng(s)).color, sample.color) for s in range(1500)
        ]
        assert np.mean(changed) == pytest.approx(p, abs=0.035)
