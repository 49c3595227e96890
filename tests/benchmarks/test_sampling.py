"""The benchmark of farthest point sampling, with fpsample and without it."""

from __future__ import annotations

import json

import pytest
import torch

import cuda_ops
from benchmarks import sampling
from benchmarks.scans import write_scan


def test_it_writes_times_and_compares_rows(tmp_path):
    scan = write_scan(tmp_path / "kitti", torch.rand(400, 3) * 20)
    outs = tmp_path / "a.json", tmp_path / "b.md"
    arguments = ["sizes=800", "runs=1", f"kitti={scan.root}", f"out={outs[0]},{outs[1]}"]
    assert sampling.main(arguments) == 0
    report = json.loads(outs[0].read_text())
    ours = [row for row in report["rows"] if row["contestant"] == "kernels"]
    assert [row["workload"] for row in ours] == ["indoor 800", "lidar", "SemanticKITTI 00/000000"]
    assert ours[0]["name"] == "800 -> 200"
    assert outs[1].read_text().startswith("### Machine")


def test_fpsample_is_left_out_where_it_is_not_installed(monkeypatch, capsys):
    monkeypatch.setattr(sampling.importlib.util, "find_spec", lambda name: None)
    assert sampling.main(["sizes=300", "runs=1"]) == 0
    assert "fpsample is left out: not installed" in capsys.readouterr().out


@pytest.mark.parametrize("argument", ["sizes=none", "runs=0", "size=3"])
def test_wrong_arguments_are_told(argument, capsys):
    assert sampling.main([argument]) == 2
    assert argument.split("=")[0] in capsys.readouterr().out


def test_rows_are_compared_from_the_same_first_point():
    points = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    order = torch.cat([torch.tensor([123]), torch.arange(123), torch.arange(124, 300)])
    picks = cuda_ops.farthest_points(points[order], torch.tensor([0, 300]), [60])
    theirs = order[picks]
    assert "the same 60 rows in the same order" in sampling.compared("x", "y", points, theirs)
    theirs[[40, 41]] = theirs[[41, 40]]
    told = sampling.compared("x", "y", points, theirs)
    assert "up to pick 40; of all 60, 60 are common" in told
