from __future__ import annotations

import numpy as np
import pytest

from pc3d.data.specs import SCANNET20
from visualize.palette import UNLABELLED_COLOR, class_colors, code_colors, ramp_colors


def test_class_colors_are_the_palette_and_grey():
    colors = class_colors(np.array([19, -1, 0]), SCANNET20)
    assert colors.dtype == np.uint8
    assert colors.tolist() == [
        list(SCANNET20.palette[19]),
        list(UNLABELLED_COLOR),
        list(SCANNET20.palette[0]),
    ]


@pytest.mark.parametrize("bad", [-2, 20])
def test_class_colors_refuse_unknown_classes(bad: int):
    with pytest.raises(ValueError, match=r"-1\.\.19 of scannet20"):
        class_colors(np.array([0, bad]), SCANNET20)


def test_codes_have_colours_of_their_own_that_more_codes_leave_as_they_are():
    colors = code_colors(40)
    assert colors.dtype == np.uint8 and colors[0].tolist() == [230, 159, 0]
    assert len(np.unique(colors, axis=0)) == 40
    np.testing.assert_array_equal(code_colors(3), colors[:3])


def test_ramp_rises_in_brightness_whatever_the_outliers():
    values = np.concatenate([np.linspace(0, 1, 1000), [1e9, -1e9]])
    brightness = ramp_colors(values)[:1000].astype(int).sum(axis=1)
    assert brightness[:900:100].tolist() == sorted(set(brightness[:900:100].tolist()))
    assert brightness[0] < 200 < 400 < brightness[-1]


def test_ramp_of_equal_values_and_of_nothing():
    assert len(np.unique(ramp_colors(np.full(9, 5.0)), axis=0)) == 1
    assert ramp_colors(np.empty(0)).shape == (0, 3)


def test_ramp_refuses_nan():
    with pytest.raises(ValueError, match="1 of 3 values are NaN"):
        ramp_colors(np.array([0.0, np.nan, 1.0]))
