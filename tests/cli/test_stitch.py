"""`pc3d stitch`: two trained networks become many, one is found, tested, and trained on."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from pc3d.cli import search as search_program
from pc3d.cli import stitch as stitch_program
from pc3d.cli import test as test_program
from pc3d.cli import train as train_program
from pc3d.models.weights import build_network, read_weights
from pc3d.search import StitchableUNet, load_supernet
from pc3d.utils.run_folder import checkpoint_path, read_run
from tests.cli.test_search import SEARCH, rows_of
from tests.conftest import TINY

TRAIN = (*TINY, "trainer.max_epochs=1", "task.holdout=0.3")
MODELS = {
    "small": ("model=voxel_tr_s", "model.widths=[8,8,8,8,8,8,8,8]", "model.stem_channels=8"),
    "large": ("model=minkunet14a", "model.widths=[8,16,24,48,24,16,16,16]"),
}


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
    """A folder with the runs of both."""
    folder = tmp_path_factory.mktemp("anchors")
    for name, model in MODELS.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setenv("PC3D_DATA", str(data_dir))
            patch.setenv("PC3D_RUN_DIR", str(folder / name))
            patch.setattr(sys, "argv", ["train.py", *TRAIN, *model])
            train_program.main()
    return folder


@pytest.fixture
def anchors(trained):
    return [f"run={trained / name}" for name in MODELS]


def state(folder: Path) -> dict[str, torch.Tensor]:
    return dict(read_weights(checkpoint_path(folder, "best")).state)


def test_two_networks_become_many(trained, anchors, call, tmp_path, capsys):
    out = tmp_path / "a = b" / "stitched"
    call(stitch_program.main, [*anchors, f"out={out}", "calibration=4", "device=cpu"])
    shown = capsys.readouterr().out
    assert "minkunet14a to voxel_tr_s" in shown and "behind" in shown and "stage 6" in shown
    assert str(trained) not in (out / "config.yaml").read_text()
    supernet = load_supernet(out)
    assert isinstance(supernet, StitchableUNet)
    assert supernet.space.names == ("minkunet14a", "voxel_tr_s")  # the larger one first
    for name, run in zip(supernet.space.names, ("large", "small"), strict=True):
        own = supernet.extract(supernet.space.only(name)).state_dict()
        assert all(torch.equal(own[key], tensor) for key, tensor in state(trained / run).items())
    record = json.loads((out / "stitching.json").read_text())
    assert record["anchors"]["voxel_tr_s"]["run"] == str(trained / "small")
    assert len(record["explained"]) == 8
    assert all(0 < value <= 1 for row in record["explained"] for value in row.values())

    call(search_program.main, [f"run={out}", "target.macs=1T", *SEARCH])
    (folder,) = (out / "search").glob("*/subnets/*")
    rows = {row["network"]: row for row in rows_of(folder.parents[1])}
    assert len(rows) == 5
    call(test_program.main, [f"run={folder}", "split=val"])
    assert "mIoU" in capsys.readouterr().out
    found = stitch_program.Anchor.read(str(folder), "best")
    assert stitch_program.names_of([found]) == [folder.name]

    again = tmp_path / "again"
    given = [f"finetune={folder}", "trainer.max_epochs=2", "optimizer.lr=1e-12"]
    call(train_program.main, given, again)
    assert "init_from taken as they are" in capsys.readouterr().out
    config, overrides = read_run(again)
    assert config.model["_target_"] == "pc3d.models.StagedUNet"
    assert config.task.holdout == 0.3 and config.dataset.voxel_size == 0.25
    assert str(folder) not in str(config.callbacks) + str(config.logger)
    assert not any(override.startswith("init_from") for override in overrides)
    before, after = state(folder), state(again)
    network = build_network(read_weights(checkpoint_path(again, "best")), 4, 20)
    for name, _ in network.named_parameters():
        torch.testing.assert_close(after[name], before[name])
    assert sum(p.numel() for p in network.parameters()) == int(rows[folder.name]["parameters"])


def test_stitched_networks_train_on_as_a_supernet(anchors, call, tmp_path):
    out, again = tmp_path / "stitched", tmp_path / "again"
    call(stitch_program.main, [*anchors, f"out={out}", "calibration=1", "device=cpu"])
    call(train_program.main, [f"finetune={out}", "trainer.max_epochs=1"], again)
    before, after = state(out), state(again)
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    for part in ("stitches.3.", "anchors.voxel_tr_s.", "anchors.minkunet14a."):
        assert any(name.startswith(part) for name in moved), part
    assert isinstance(load_supernet(again), StitchableUNet)


def test_a_run_from_scratch_with_the_network_of_another(trained, call, tmp_path):
    given = [f"finetune={trained / 'small'}", "init_from=null", "seed=1", "trainer.max_epochs=1"]
    call(train_program.main, given, tmp_path / "again")
    assert not (tmp_path / "again" / "init_from.json").exists()
    before, after = state(trained / "small"), state(tmp_path / "again")
    assert before.keys() == after.keys()
    assert not torch.allclose(before["head.weight"], after["head.weight"], atol=1e-3)


@pytest.mark.parametrize("key", ["finetune", "resume"])
def test_a_sweep_of_one_run_is_refused(trained, call, capsys, key):
    with pytest.raises(SystemExit):
        call(train_program.main, ["-m", f"{key}={trained / 'small'}", "seed=1,2"])
    assert "a sweep (-m) cannot resume or fine-tune" in capsys.readouterr().err


def test_a_folder_that_is_no_run_cannot_be_fine_tuned(call, tmp_path, capsys):
    with pytest.raises(SystemExit):
        call(train_program.main, [f"finetune={tmp_path}"])
    assert "is not a run folder" in capsys.readouterr().err


def changed(run: str, tmp_path: Path, old: str, new: str) -> str:
    copy = Path(shutil.copytree(run.removeprefix("run="), tmp_path / "copy"))
    text = (copy / "config.yaml").read_text()
    assert old in text
    (copy / "config.yaml").write_text(text.replace(old, new))
    return f"run={copy}"


def test_what_cannot_be_stitched_is_refused(anchors, call, tmp_path, capsys):
    small, large = anchors
    out = tmp_path / "out"

    def refused(*arguments: str) -> str:
        with pytest.raises(SystemExit):
            call(stitch_program.main, [*arguments, f"out={out}", "device=cpu"])
        assert not out.exists()
        return capsys.readouterr().err

    assert "two run=... or more; got 1" in refused(small)
    assert "say run=..." in refused()
    assert "is not a run folder" in refused(small, f"run={tmp_path}")
    assert "calibration=0: expected" in refused(small, large, "calibration=0")
    other = changed(small, tmp_path / "1", "holdout: 0.3", "holdout: 0.1")
    assert "differ in task.holdout" in refused(large, other)
    none = changed(small, tmp_path / "2", "holdout: 0.3", "holdout: 0.0")
    assert "trained on all scenes" in refused(large, none)


def test_runs_on_other_scenes_are_refused(anchors, call, tmp_path, capsys):
    small, large = anchors
    data = Path(str(read_run(large.removeprefix("run="))[0].dataset.reader.root))
    fewer = Path(shutil.copytree(data, tmp_path / "fewer"))
    split = fewer / "scannetv2_train.txt"
    split.write_text("".join(split.read_text().splitlines(keepends=True)[1:]))
    other = changed(small, tmp_path, f"root: {data}", f"root: {fewer}")
    with pytest.raises(SystemExit):
        call(stitch_program.main, [large, other, f"out={tmp_path / 'out'}", "device=cpu"])
    assert "were trained on other scenes" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_runs_on_other_data_are_refused(anchors, call, tmp_path, capsys):
    small, large = anchors
    copy = Path(shutil.copytree(small.removeprefix("run="), tmp_path / "copy"))
    path = copy / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["pc3d"]["voxel_size"] = 0.1
    torch.save(checkpoint, path)
    with pytest.raises(SystemExit):
        call(stitch_program.main, [large, f"run={copy}", f"out={tmp_path / 'out'}", "device=cpu"])
    assert "differ in voxel_size" in capsys.readouterr().err


def test_a_run_is_not_overwritten(anchors, call, trained, capsys):
    with pytest.raises(SystemExit):
        call(stitch_program.main, [*anchors, f"out={trained / 'small'}", "device=cpu"])
    assert "holds a run already; choose another out=" in capsys.readouterr().err
