"""Named point features."""

from __future__ import annotations

import numpy as np
import pytest

from pc3d.data.features import FEATURES, num_channels, point_features


def test_columns_stand_in_the_order_of_the_names(make_scene):
    sample = make_scene()
    names = ("intensity", "color", "xyz", "normal", "height")
    feats = point_features(sample, names)
    assert feats.shape == (len(sample), num_channels(names)) == (200, 11)
    assert feats.dtype == np.float32
    np.testing.assert_array_equal(feats[:, 0], sample.intensity)
    np.testing.assert_allclose(feats[:, 1:4], sample.color / 255 - 0.5, atol=1e-6)
    np.testing.assert_array_equal(feats[:, 4:7], sample.xyz)
    np.testing.assert_array_equal(feats[:, 7:10], sample.normal)


def test_every_feature_has_its_declared_width(make_scene):
    for name, feature in FEATURES.items():
        assert point_features(make_scene(), (name,)).shape == (200, feature.num_channels)


def test_height_is_measured_from_the_floor_not_from_stray_points(make_scene):
    z = np.concatenate([[-50.0], np.zeros(500), np.full(499, 2.5)]).astype(np.float32)
    xyz = np.stack([z * 0, z * 0, z + 7], axis=1)
    height = point_features(make_scene(1000, xyz=xyz), ("height",))[:, 0]
    assert height[1] == 0
    assert height[-1] == 2.5


def test_unknown_feature_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"color, normal, intensity, xyz, height.*'colour'"):
        num_channels(("xyz", "colour"))
    with pytest.raises(ValueError, match="at least one"):
        num_channels(())


def test_missing_field_names_scene_and_feature(make_scene):
    sample = make_scene(normal=None, name="scene0042_01")
    with pytest.raises(ValueError, match=r"feature 'normal' needs 'normal'.*scene0042_01"):
        point_features(sample, ("color", "normal"))


def test_relative_xyz_is_the_place_in_the_bounding_box(make_scene):
    xyz = np.array([[2, 0, 5], [4, 0, 9], [3, 0, 6]], dtype=np.float32)
    found = point_features(make_scene(3, xyz=xyz), ("relative_xyz",))
    np.testing.assert_allclose(found, [[-0.5, -0.5, -0.5], [0.5, -0.5, 0.5], [0, -0.5, -0.25]])
