"""train.py and test.py from end to end."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

import pc3d
from pc3d.cli import export as export_program
from pc3d.cli import predict as predict_program
from pc3d.cli import runs as runs_program
from pc3d.cli import test as test_program
from pc3d.cli import train as train_program
from pc3d.data.datasets import ScanNet, scannet
from pc3d.data.specs import SCANNET20
from pc3d.io.ply import read_vertices
from pc3d.metrics import ConfusionMatrix, scores
from pc3d.models.weights import read_weights
from pc3d.utils.files import file_hash
from pc3d.utils.run_folder import checkpoint_path, read_run, read_training
from tests.cli.conftest import finish, program
from tests.conftest import COUNTS, TINY
from visualize.__main__ import main as show
from visualize.split_counts import count_split, doubts


@pytest.fixture(scope="module")
def trained(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a short training."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PC3D_DATA", str(data_dir))
        patch.setenv("PC3D_RUN_DIR", str(folder))
        patch.setattr(sys, "argv", ["train.py", *TINY])
        train_program.main()
    return folder


def result_of(run: Path) -> dict:
    """Of the newest test."""
    paths = (run / "test").glob("test-*.json")
    return json.loads(max(paths, key=lambda path: path.stat().st_mtime_ns).read_text())


def test_a_run_folder_holds_what_the_run_needs_to_be_repeated(trained):
    config, overrides = read_run(trained)
    assert config.dataset.voxel_size == 0.25 and "dataset.voxel_size=0.25" in overrides
    environment = json.loads((trained / "environment.json").read_text())
    assert environment["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {"commit", "python", "processor"} <= environment.keys()
    assert {p.name for p in (trained / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    record = json.loads((trained / "training.json").read_text())
    assert record["state"] == "finished" and record["epochs"] == 3
    assert len(record["epoch_seconds"]) == 3 and record["memory_mib"] > 100
    with next((trained / "csv").rglob("metrics.csv")).open() as file:
        columns = set(csv.DictReader(file).fieldnames or ())
    assert {
        "train/loss_epoch",
        "val/miou_point",
        "val/miou_voxel",
        "val/macc",
        "val/oa",
        "val/iou/wall",
    } <= columns
    assert list((trained / "tensorboard").glob("events.*"))


def test_a_checkpoint_says_what_it_is(trained):
    facts = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)["pc3d"]
    assert facts["features"] == ["color", "height"] and facts["voxel_size"] == 0.25
    assert facts["spec"]["name"] == "scannet20" and len(facts["spec"]["class_names"]) == 20
    assert "every original point" in facts["protocol"]


def test_the_loss_falls(trained):
    with next((trained / "csv").rglob("metrics.csv")).open() as file:
        column = [row["train/loss_epoch"] for row in csv.DictReader(file)]
    losses = [float(value) for value in column if value]
    assert losses[-1] < losses[0]


def test_test_scores_every_point_in_input_order(trained, call, data_dir, capsys):
    call(test_program.main, [f"run={trained}"])
    output = capsys.readouterr().out
    result = result_of(trained)
    reader = ScanNet(data_dir / "synthetic")
    confusion = ConfusionMatrix(20)
    (folder,) = (trained / "predictions" / result["checkpoint_hash"] / "test").glob("single-*")
    for scene in reader.scenes("test"):
        truth = reader.read(scene, "test").segment
        prediction = np.load(folder / f"{scene}.npy")
        assert prediction.shape == truth.shape
        confusion.update(torch.from_numpy(prediction), torch.from_numpy(truth))
        lines = (folder / "submission" / f"{scene}.txt").read_text().split()
        np.testing.assert_array_equal(np.array(lines, int), reader.spec.to_raw(prediction))
    again = scores(confusion.compute())
    assert again.miou == pytest.approx(result["miou"]) and again.oa == pytest.approx(result["oa"])
    assert result["confusion"] == confusion.compute().tolist()
    assert result["metric"] == "test/miou_point" and "by_distance" not in result
    assert result["scenes"] == reader.scenes("test")
    assert len(list(folder.glob("*.npy"))) == COUNTS["num_test"]
    for stated in ("every original point", "mean over the classes", "wall", "mIoU"):
        assert stated in output


def test_tiled_scenes_lose_no_point(trained, call, data_dir, monkeypatch, capsys):
    """Neither in all nor by distance, which these rooms pretend to be LiDAR scans for."""
    pretended = replace(SCANNET20, sensor="lidar")
    monkeypatch.setitem(scannet._SPECS, 20, pretended)
    call(test_program.main, [f"run={trained}", "task.max_eval_voxels=400", "predictions=false"])
    reader = ScanNet(data_dir / "synthetic")
    truth = [reader.read(scene, "test").segment for scene in reader.scenes("test")]
    labelled = sum(int((segment >= 0).sum()) for segment in truth)
    result = result_of(trained)
    assert sum(map(sum, result["confusion"])) == result["num_labelled"] == labelled
    assert sum(part["num_labelled"] for part in result["by_distance"]) == labelled
    assert result["settings"]["max_eval_voxels"] == 400
    assert "IoU by distance from the sensor" in capsys.readouterr().out


def test_predictions_are_kept_apart_by_checkpoint(trained, call):
    """A stale file in the folder of the same checkpoint does not survive a new test."""
    call(test_program.main, [f"run={trained}"])
    digest = result_of(trained)["checkpoint_hash"]
    scores = max((trained / "test").glob("test-*.json"), key=lambda path: path.stat().st_mtime_ns)
    folder = trained / "predictions" / digest / "test" / scores.stem.split("-", 2)[2]
    stale = folder / "scene9999_00.npy"
    stale.touch()
    assert file_hash(trained / "checkpoints" / "best.ckpt") == digest
    call(test_program.main, [f"run={trained}"])
    assert not stale.exists() and len(list(folder.glob("*.npy"))) == COUNTS["num_test"]


def test_a_killed_test_goes_on_where_it_was(trained, call, start, caplog):
    """With two views of every scene; the scores are those of a test that ran through."""
    arguments = [f"run={trained}", "split=val", "tta.views=[{angle: 90}, {scale: 1.05}]"]
    process = start(*program("test.py"), *arguments)
    pattern = "predictions/*/val/tta2-*/counts/*.npz"
    wait_for(lambda: any(trained.glob(pattern)), process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = {path: path.stat().st_mtime_ns for path in trained.glob(pattern)}
    assert 0 < len(done) < COUNTS["num_val"], "killed too late"
    results = []
    for more in ([], ["resume=false"]):
        caplog.clear()
        with caplog.at_level("INFO"):
            call(test_program.main, [*arguments, *more])
        (path,) = (trained / "test").glob("val-*-tta2-*.json")
        results.append(path.read_text())
        path.unlink()
        kept = [path for path, time in done.items() if path.stat().st_mtime_ns == time]
        reused = f"{len(done)} of {COUNTS['num_val']} scenes are reused"
        assert len(kept) == (0 if more else len(done))
        assert (reused in caplog.text) == (not more)
    assert results[0] == results[1]
    result = json.loads(results[0])
    assert result["metric"] == "val/miou_point_tta2" and "2 views" in result["protocol"]
    assert [view["angle"] for view in result["settings"]["views"]] == [90, 0]


def test_an_exported_network_labels_files_as_the_test_does(trained, data_dir, call, tmp_path):
    """From a run to one file, and from that to the same classes for the same points."""
    call(test_program.main, [f"run={trained}"])
    tested = result_of(trained)
    out = tmp_path / "tiny=1.safetensors"
    call(export_program.main, [f"run={trained}", f"out={out}", "data=made up"])
    predictor = pc3d.load(out)
    training = predictor.facts["training"]
    assert training["data"] == "made up"
    assert tested["miou"] in [result["miou"] for result in training["tests"]]
    assert training["checkpoint_hash"] == tested["checkpoint_hash"]
    assert "dataset.voxel_size=0.25" in training["overrides"]
    reader = ScanNet(data_dir / "synthetic")
    sides = [np.ptp(reader.read(s, "train").xyz[:, :2], axis=0) for s in reader.scenes("train")]
    assert predictor.extent == pytest.approx(np.max(sides), rel=1e-5)
    scene = reader.scenes("test")[0]
    source = data_dir / "synthetic" / "scans" / scene / f"{scene}_vh_clean_2.ply"
    arguments = [f"ckpt={out}", f"input={source}", "output=a (1).ply", "extent=100"]
    call(predict_program.main, arguments)
    folder = next((trained / "predictions" / training["checkpoint_hash"] / "test").glob("single-*"))
    ids = SCANNET20.to_raw(np.load(folder / f"{scene}.npy").astype(np.int64))
    np.testing.assert_array_equal(read_vertices(tmp_path / "a (1).ply")["classification"], ids)


def test_a_tested_run_is_listed_and_weighed(trained, call, capsys):
    """Against itself: from the counts that the test kept of every scene."""
    call(test_program.main, [f"run={trained}"])
    capsys.readouterr()
    call(runs_program.main, [f"folder={trained.parent}", "metric=test/miou_point"])
    output = capsys.readouterr().out
    assert f"{result_of(trained)['miou']:.4f}" in output and "2 scenes" in output
    newest = max((trained / "test").glob("*.json"), key=lambda path: path.stat().st_mtime)
    call(runs_program.main, ["compare", str(newest), str(newest)])
    assert "resamples of 2 scenes, equal in 100.0 %" in capsys.readouterr().out


def test_a_tested_run_shows_itself(trained, call, tmp_path, capsys):
    call(test_program.main, [f"run={trained}"])
    show([f"run={trained}", f"out={tmp_path / 'scene.html'}", "max_points=500"])
    assert "scene.html: " in capsys.readouterr().out
    page = (tmp_path / "scene.html").read_text()
    assert all(text in page for text in ("ground truth", "prediction", "this scene: mIoU"))
    split, _ = count_split(trained, "test")
    assert split.scores.miou == result_of(trained)["miou"] and doubts(split) == []
    with pytest.raises(SystemExit, match="has no predictions of split train"):
        show([f"run={trained}", "split=train"])
    with pytest.raises(SystemExit, match="no prediction of scene 'nowhere'"):
        show([f"run={trained}", "scene=nowhere"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["dataset.voxel_size=0.5"], r"voxel_size: checkpoint 0\.25, data 0\.5"),
        (["dataset.features=[height]"], r"features: checkpoint \['color', 'height'\]"),
        (["dataset=semantickitti"], r"checkpoint .*scannet20.* data .*semantickitti19"),
        (["model=minkunet18a"], "another model"),
        (["ckpt=/nowhere.ckpt"], "no checkpoint"),
        (["split=vall"], "split must be one of"),
        (["nokey=1"], "nokey"),
    ],
)
def test_what_does_not_fit_a_checkpoint_is_refused(trained, call, capsys, arguments, expected):
    with pytest.raises(SystemExit):
        call(test_program.main, [f"run={trained}", *arguments])
    assert re.search(expected, capsys.readouterr().err)


def test_a_training_starts_from_weights_with_fewer_codes(trained, call, tmp_path, capsys):
    """Before a step of any size, the network with more codes is as good as the first one."""
    weights = checkpoint_path(trained, "last")
    codes = "[{dilation: 2}, {dilation: 1}, {dilation: 3}, {dilation: 1}]"
    arguments = [
        *TINY,
        f"init_from={weights}",
        f"model.block.attention.codes={codes}",
        "model.block.attention.split.noise=0",
        "optimizer.lr=1e-12",
        "trainer.max_epochs=1",
    ]
    call(train_program.main, arguments, tmp_path / "grown")
    losses = []
    for run in (trained, tmp_path / "grown"):
        with next((run / "csv").rglob("metrics.csv")).open() as file:
            column = [row["train/loss_epoch"] for row in csv.DictReader(file)]
        losses.append([float(value) for value in column if value][-1])
    assert losses[1] < 1.05 * losses[0]
    with pytest.raises(SystemExit):
        call(train_program.main, [*TINY, f"init_from={tmp_path / 'none.ckpt'}"], tmp_path / "none")
    assert "none.ckpt'" in capsys.readouterr().err


def test_codes_are_split_in_training(call, tmp_path, capsys):
    arguments = [*TINY, "model=voxel_tr_s", "trainer.max_epochs=1"]
    split = ["model.block.attention.split.at=[0.3]", "trainer.limit_val_batches=0"]
    call(train_program.main, [*arguments, *split], tmp_path / "run")
    state = torch.load(checkpoint_path(tmp_path / "run", "last"), weights_only=True)["state_dict"]
    shares = [value for name, value in state.items() if name.endswith("codebook.share")]
    assert len(shares) == 12 and all(share.tolist() == [0.5] * 6 for share in shares)
    assert "codes are split at 33 % of the training: 6 now" in capsys.readouterr().out


def test_a_run_folder_is_not_overwritten(trained, call, capsys):
    with pytest.raises(SystemExit):
        call(train_program.main, list(TINY), run_dir=trained)
    assert "holds a run already" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_named(tmp_path, call, capsys):
    with pytest.raises(SystemExit):
        call(test_program.main, [f"run={tmp_path}"])
    assert f"{tmp_path} is not a run folder" in capsys.readouterr().err


def test_missing_data_says_what_to_do(call, capsys):
    with pytest.raises(SystemExit):
        call(train_program.main, [*TINY[3:], "dataset=scannet"])
    error = capsys.readouterr().err
    assert "dataset=synthetic" in error and "scannet" in error


def test_two_gloo_processes_give_the_metric_of_one(trained, call, start):
    call(test_program.main, [f"run={trained}", "split=val", "ckpt=last"])
    (path,) = (trained / "test").glob("val-*.json")
    one = json.loads(path.read_text())
    path.unlink()
    arguments = [f"run={trained}", "split=val", "ckpt=last", "trainer=ddp_cpu", "resume=false"]
    finish(start(*program("test.py"), *arguments))
    assert json.loads(path.read_text()) == one


def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(start, tmp_path):
    """With everything that a checkpoint must carry: averages, and heads beside the network."""
    arguments = [*TINY, "callbacks=[default,ema]", "trainer.max_epochs=3", "task.aux_weight=0.4"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(*program("train.py"), *arguments, run_dir=whole))
    process = start(*program("train.py"), *arguments, run_dir=killed)
    last = killed / "checkpoints" / "last.ckpt"
    wait_for(last.exists, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    stopped_at = torch.load(last, weights_only=True)["epoch"]
    assert read_training(killed)["state"] == "unfinished"
    finish(start(*program("train.py"), f"resume={killed}"))
    expected = torch.load(whole / "checkpoints" / "last.ckpt", weights_only=True)
    resumed = torch.load(last, weights_only=True)
    assert stopped_at < resumed["epoch"] == expected["epoch"]
    for key in ("state_dict", "current_model_state"):
        assert expected[key].keys() == resumed[key].keys() >= {"auxiliary.heads.2.weight"}
        for name, tensor in expected[key].items():
            assert torch.equal(tensor, resumed[key][name]), name
    record = read_training(killed)
    assert (record["state"], record["sessions"]) == ("finished", 2)
    assert len(record["epoch_seconds"]) == 3 and all(record["epoch_seconds"])


def test_ctrl_c_says_how_to_continue(start, tmp_path):
    arguments = [*TINY, "trainer.max_epochs=1000"]
    process = start(*program("train.py"), *arguments, run_dir=tmp_path / "run")
    wait_for((tmp_path / "run" / "checkpoints" / "last.ckpt").exists, process)
    time.sleep(0.5)  # into the next epoch: fsspec swallows an interrupt while it saves
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert f"resume={tmp_path / 'run'}" in output
    assert checkpoint_path(tmp_path / "run", "last").is_file()
    assert read_training(tmp_path / "run")["state"] == "interrupted"


def wait_for(happened: Callable[[], bool], process: subprocess.Popen, seconds: float = 120) -> None:
    """Return when something has happened; fail if the process ends before."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"nothing happened in {seconds} s"
        time.sleep(0.02)


def test_what_an_export_says(trained, call, tmp_path):
    """Also of a checkpoint of an older pc3d, and nothing of the places on this machine."""
    old = tmp_path / "old"
    shutil.copytree(trained, old)
    last = old / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    transforms = [{"_target_": "pc3d.data.transforms.CenterShift"}]
    config = OmegaConf.load(old / "config.yaml")
    config.augment.eval = transforms
    OmegaConf.save(config, old / "config.yaml")
    extent = content["pc3d"].pop("extent")
    del content["pc3d"]["transforms"]
    torch.save(content, last)
    overrides = OmegaConf.load(old / "overrides.yaml")
    OmegaConf.save([*overrides, "paths.cache_dir=/secret"], old / "overrides.yaml")
    facts = {}
    for name, options in {"a": [], "b": ["half=true"]}.items():
        out = tmp_path / f"{name}.safetensors"
        call(export_program.main, [f"run={old}", f"out={out}", "ckpt=last", *options])
        facts = read_weights(out).facts
        assert facts["transforms"] == transforms and facts["extent"] == extent > 0
        said = facts["training"]
        assert said["checkpoint_hash"] == file_hash(last)
        assert said["overrides"] == list(overrides)
        environment = json.loads((old / "environment.json").read_text())
        assert said["commit"] == environment["commit"]
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in "ab"]
    assert sizes[1] < 0.7 * sizes[0]
