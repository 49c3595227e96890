"""Nothing is built from a file but classes of the packages that were named."""

from __future__ import annotations

import os

import pytest

from pc3d.data.transforms import CenterShift, ClampRange
from pc3d.utils.trusted import build_trusted

PACKAGES = ("pc3d.data.transforms",)


def test_classes_of_the_packages_are_built():
    config = [
        {"_target_": "pc3d.data.transforms.CenterShift"},
        {
            "_target_": "pc3d.data.transforms.ranges.ClampRange",
            "low": [-1, -1, -1],
            "high": [1, 1, 2],
        },
    ]
    center, clamp = build_trusted(config, PACKAGES, "a.ckpt")
    assert isinstance(center, CenterShift) and isinstance(clamp, ClampRange)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "pc3d.data.transforms.base.np.save",  # a module of ours leads to others
        "pc3d.data.transforms.base.Any",
        "pc3d.data.transforms.base.require_field",  # a function
        "pc3d.data.transforms_and_more.X",
        "pc3d.data.transforms.nothing",
        "pc3d.data.sample.PointSample",
        7,
        None,
    ],
)
def test_nothing_else_is(target, tmp_path):
    marker = tmp_path / "ran"
    for config in (
        {"_target_": target, "command": f"touch {marker}"},
        {"_target_": "pc3d.data.transforms.CenterShift", "x": [{"deep": {"_target_": target}}]},
    ):
        with pytest.raises(ValueError, match=r"a\.ckpt wants to build .* Nothing was run"):
            build_trusted(config, PACKAGES, "a.ckpt")
    assert not marker.exists()


def test_interpolations_are_refused(monkeypatch):
    monkeypatch.setitem(os.environ, "SECRET", "x")
    with pytest.raises(ValueError, match="holds the interpolation"):
        build_trusted({"a": ["${oc.env:SECRET}"]}, PACKAGES, "a.ckpt")
