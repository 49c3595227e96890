from __future__ import annotations

import re
from pathlib import Path

import laspy
import numpy as np
import pytest

from benchmarks.predict import main, write_scan


def test_the_scan_has_ground_houses_and_trees(tmp_path: Path):
    write_scan(tmp_path / "a.laz", 200_000)
    las = laspy.read(tmp_path / "a.laz")
    assert len(las) == 200_000 and las.x.min() > 769_000
    side = np.sqrt(200_000 / 20)
    assert np.ptp(las.x) == pytest.approx(side, rel=0.01) == np.ptp(las.y)
    assert set(np.unique(las.number_of_returns)) == {1, 2} == set(np.unique(las.return_number))
    above = las.z - 20 * np.sin((las.x - 770_000) / 150) * np.cos((las.y - 6_277_000) / 200) - 100
    is_roof, is_ground = np.abs(above - 6) < 0.2, np.abs(above) < 0.2
    # In 100 m there are six whole cells of 40 m or parts of them; in three are houses of 20 x 12 m.
    assert is_roof.mean() == pytest.approx(3 * 240 / 100**2, abs=0.01)
    assert 0.85 < is_ground.mean() < 0.93
    assert (above[np.asarray(las.number_of_returns) == 2] > 1).mean() > 0.95


def test_it_is_labelled(capfd: pytest.CaptureFixture[str]):
    assert main(["points=5000"]) == 0
    words = r"5,000 points in 0 MB of LAZ: \d+ s, 0\.\d\d GiB"
    assert re.search(words, capfd.readouterr().out)


@pytest.mark.parametrize("argument", ["points=0", "points", "depth=3"])
def test_wrong_arguments_are_named(argument: str, capsys: pytest.CaptureFixture[str]):
    assert main([argument]) == 2
    assert argument.split("=")[0] in capsys.readouterr().out
