"""Patterns learned from neighbourhoods: floors and poles are found; files compose."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import cuda_ops
from data_prep.patterns import learn_patterns, main
from data_prep.synthetic import generate
from pc3d.nn import CodebookAttention
from pc3d.sparse import CoordSet

FLOOR = "".join("1" if i % 3 == 1 else "0" for i in range(27))
"""z in the middle: taps are x slowest, z fastest."""
POLE = "0" * 12 + "111" + "0" * 12


def coords_of(points: list[tuple[int, int, int, int]]) -> CoordSet:
    keys = cuda_ops.morton_encode(torch.tensor(points, dtype=torch.int32))
    return CoordSet(cuda_ops.morton_decode(cuda_ops.voxelize(keys)[0]), 1)


@pytest.mark.parametrize("dilation", [1, 2])
def test_floors_and_poles_are_told_apart(dilation):
    floor = coords_of([(0, x, y, 5) for x in range(30) for y in range(30)])
    poles = coords_of([(0, 20 * n, 0, z) for n in range(4) for z in range(40)])
    assert learn_patterns([floor, poles], dilation, 2, 10**6) == [FLOOR, POLE]
    ends = {"0" * 13 + "11" + "0" * 12, "0" * 12 + "11" + "0" * 13}
    found = learn_patterns([poles], dilation, 3, 10**6)
    assert found[0] == POLE and set(found[1:]) <= ends, "the largest cluster comes first"


def test_learning_repeats_itself_and_takes_no_more_voxels_than_told():
    floor = coords_of([(0, x, y, x * y % 3) for x in range(30) for y in range(30)])
    first = learn_patterns([floor], 1, 4, 100)
    assert first == learn_patterns([floor], 1, 4, 100)
    assert 1 <= len(first) <= 4 and all(mask[13] == "1" for mask in first)


def test_the_file_makes_an_attention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PC3D_DATA", str(tmp_path))
    monkeypatch.setenv("PC3D_RUN_DIR", str(tmp_path))
    counts = {"num_train": 2, "num_val": 1, "num_test": 1}
    generate(tmp_path / "synthetic", **counts, num_workers=1)
    prepare = [f"dataset.prepare.{name}={count}" for name, count in counts.items()]
    out = tmp_path / "mine.yaml"
    arguments = [f"out={out}", "num_patterns=2", "dilations=1,2", "dataset.voxel_size=0.2"]
    assert main([*arguments, "num_workers=0", *prepare]) == 0
    found = OmegaConf.to_container(OmegaConf.load(out))
    assert found["defaults"] == ["codebook"]
    assert [code["dilation"] for code in found["codes"]] == [1, 2]
    options = {"codes": found["codes"], "guidance": found["guidance"]}
    layer = CodebookAttention(8, 16, groups=8, choice={}, **options)
    assert layer.codebook.mask.shape == (54, 8)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "out=FILE.yaml"),
        (["out=x.txt"], "out=FILE.yaml"),
        (["out=x.yaml", "num_patterns=many"], "many"),
        (["out=x.yaml", "dataset=synthetic", "dataset.voxel_size=0"], "voxel_size"),
    ],
)
def test_refuses(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
