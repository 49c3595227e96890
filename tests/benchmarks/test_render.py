from __future__ import annotations

import pytest

from benchmarks.render import main


def test_both_clouds_are_timed(capsys: pytest.CaptureFixture[str]):
    assert main(["points=9000", "width=60", "height=40", "runs=2"]) == 0
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    names = [row[1].strip() for row in rows]
    assert names == ["indoor", "lidar"]
    assert 5000 < int(rows[0][2].replace(",", "")) < 15000
    assert all(float(row[3]) > 0 for row in rows)


@pytest.mark.parametrize("argument", ["points=0", "points", "depth=3", "runs=-1"])
def test_wrong_arguments_are_named(argument: str, capsys: pytest.CaptureFixture[str]):
    assert main([argument]) == 2
    assert argument.split("=")[0] in capsys.readouterr().out
