"""A training on other data starts from what an earlier one learned."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pc3d.cli import train as train_program
from pc3d.cli.init_from import data_facts
from pc3d.data.specs import SCANNET20, SEMANTICKITTI19
from pc3d.io.semantickitti import label_path, scan_path
from pc3d.utils.files import file_hash
from pc3d.utils.run_folder import checkpoint_path
from tests.conftest import TINY

SMALL = (
    "model=minkunet14a",
    "model.widths=[8,12,16,20,16,12,8,10]",
    "trainer.max_epochs=1",
    "callbacks=[default,ema]",
)
STREET = (
    "dataset=semantickitti",
    "dataset.features=[intensity,height]",
    "dataset.voxel_size=0.5",
    "dataset.reader.frames={train: [00/000000], val: [00/000001]}",
    "num_workers=0",
    "callbacks.progress.refresh_rate=0",
    "recipe=default",
    "optimizer.lr=1e-12",
)


@pytest.fixture(scope="module")
def first(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint for the rooms' classes, colour and height."""
    folder = tmp_path_factory.mktemp("first") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PC3D_DATA", str(data_dir))
        patch.setenv("PC3D_RUN_DIR", str(folder))
        patch.setattr("sys.argv", ["train.py", *TINY, *SMALL])
        train_program.main()
    return checkpoint_path(folder, "last")


@pytest.fixture
def street(tmp_path: Path) -> str:
    """An override that names a folder with two small scans."""
    rng = np.random.default_rng(0)
    for scene in ("00/000000", "00/000001"):
        points = rng.random((300, 4)) * [40, 30, 3, 1] - [20, 15, 2, 0]
        for path, values in (
            (scan_path(tmp_path, scene), points.astype("<f4")),
            (label_path(tmp_path, scene), np.resize([40, 252, 0, 81], 300).astype("<u4")),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            values.tofile(path)
    return f"dataset.reader.root={tmp_path}"


def weights(path: Path) -> dict[str, Tensor]:
    state = torch.load(path, weights_only=True)["state_dict"]
    return {name: tensor for name, tensor in state.items() if "running_" not in name}


def test_a_street_starts_from_rooms(first, street, call, tmp_path, capsys):
    folder = tmp_path / "second"
    call(train_program.main, [*STREET, *SMALL, street, f"init_from={first}"], folder)
    before, after = weights(first), weights(checkpoint_path(folder, "last"))
    stem, head = "network.backbone.stem.0.conv.weight", "network.head.weight"
    assert after[head].shape == (19, 10) and after[head].std() > 0.01
    torch.testing.assert_close(after[stem][:, 1], before[stem][:, 3])
    assert after[stem][:, 0].abs().max() < 1e-6, "intensity starts at zero"
    backbone = [n for n in before if ".backbone." in n and n != stem and "num_batches" not in n]
    assert len(backbone) > 50
    for name in backbone:
        torch.testing.assert_close(after[name], before[name])

    report = json.loads((folder / "init_from.json").read_text())
    assert report["checkpoint"] == str(first) and report["checkpoint_hash"] == file_hash(first)
    assert report["label_space"] == {"checkpoint": SCANNET20.name, "now": SEMANTICKITTI19.name}
    others = {row["name"] for row in report["tensors"] if row["kind"] != "taken"}
    assert others == {"backbone.stem.0.conv.weight", "head.weight", "head.bias"}
    output = capsys.readouterr().out
    for stated in (
        "features color+height -> intensity+height: height taken; intensity starts at zero",
        "scannet20 -> semantickitti19: no class in common",
        "trained with voxels of 0.25 m, now 0.5 m",
    ):
        assert stated in output


def test_a_resumed_run_does_not_start_again(first, street, call, tmp_path):
    copy, folder = tmp_path / "copy.ckpt", tmp_path / "second"
    copy.write_bytes(first.read_bytes())
    call(train_program.main, [*STREET, *SMALL, street, f"init_from={copy}"], folder)
    copy.unlink()
    call(train_program.main, [f"resume={folder}", "trainer.max_epochs=2"], folder)
    assert torch.load(checkpoint_path(folder, "last"), weights_only=True)["epoch"] == 1


def test_another_network_is_refused_before_anything_is_trained(first, call, tmp_path, capsys):
    arguments = [*TINY, "model=minkunet14a", f"init_from={first}"]
    with pytest.raises(SystemExit):
        call(train_program.main, arguments, tmp_path / "run")
    error = capsys.readouterr().err
    assert "holds another model" in error and "backbone.down.1.conv.weight" in error
    assert not (tmp_path / "run" / "init_from.json").exists()


def test_facts_that_are_missing_are_named():
    with pytest.raises(ValueError, match=r"a\.ckpt does not say its spec and voxel_size"):
        data_facts({"features": ["color"]}, "a.ckpt")


def test_weights_that_come_with_pc3d(call, tmp_path, capsys):
    call(train_program.main, [*TINY, "model=voxel_tr_t", "init_from=als-s"], tmp_path / "run")
    report = json.loads((tmp_path / "run" / "init_from.json").read_text())
    assert report["checkpoint"].endswith("als-s.safetensors")
    assert report["label_space"] == {"checkpoint": "als5", "now": SCANNET20.name}
    assert "height taken" in capsys.readouterr().out


def test_weights_that_are_not_there(call, tmp_path, capsys):
    with pytest.raises(SystemExit):
        call(train_program.main, [*TINY, "init_from=als-x"], tmp_path / "run")
    assert "no weights 'als-x'" in capsys.readouterr().err
