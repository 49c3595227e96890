"""Training scenes that a search chooses by and training does not see."""

from __future__ import annotations

from itertools import groupby

import pytest

from pc3d.data.datasets import HoldOut, ScanNet
from pc3d.data.datasets.hold_out import held_out


@pytest.mark.parametrize("number", [2, 3, 9, 10, 80, 1201, 19130])
@pytest.mark.parametrize("fraction", [0.001, 0.04, 0.3, 0.5, 0.99])
def test_as_many_as_asked_in_a_few_runs(number, fraction):
    found = held_out(number, fraction)
    count = min(number - 1, max(1, round(fraction * number)))
    assert len(found) == number and sum(found) == count
    runs = [len(list(group)) for out, group in groupby(found) if out]
    assert len(runs) <= 8
    assert max(runs) - min(runs) <= 1 or fraction > 0.9


def test_runs_are_spread_over_the_split():
    found = held_out(800, 0.04)
    assert [i for i in range(8) if any(found[100 * i : 100 * (i + 1)])] == list(range(8))


def test_a_data_set_with_scenes_held_out(data_dir):
    inner = ScanNet(data_dir / "synthetic")
    reader = HoldOut(inner, 0.3)
    train, held = reader.scenes("train"), reader.scenes("holdout")
    assert sorted(train + held) == sorted(inner.scenes("train")) and len(held) == 1
    assert reader.scenes("val") == inner.scenes("val")
    sample = reader.read(held[0], "holdout")
    assert sample.name == held[0] and sample.segment is not None
    assert reader.spec == inner.spec and reader.root == inner.root
    assert reader.source_files(held[0]) == inner.source_files(held[0])
    assert hash(reader) == hash(HoldOut(inner, 0.3))


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_fractions_that_cannot_be(fraction, data_dir):
    with pytest.raises(ValueError, match="holdout must be above 0 and below 1"):
        HoldOut(ScanNet(data_dir / "synthetic"), fraction)


def test_one_scene_cannot_be_parted(data_dir, monkeypatch):
    reader = HoldOut(ScanNet(data_dir / "synthetic"), 0.3)
    monkeypatch.setattr(ScanNet, "scenes", lambda self, split: ["a"])
    with pytest.raises(ValueError, match=r"of 1 scene cannot be parted.*task\.holdout=0"):
        reader.scenes("holdout")
