"""Training of a supernet: which architectures, what gradient, what checkpoints."""

from __future__ import annotations

import csv
import json
import signal
import sys
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import pc3d
from pc3d.cli import profile as profile_program
from pc3d.cli import test as test_program
from pc3d.cli import train as train_program
from pc3d.cli.build import build_data
from pc3d.cli.config import compose_config
from pc3d.data.datasets import ScanNet
from pc3d.models import MinkUNet
from pc3d.models.checkpoint import read_checkpoint
from pc3d.search import Sandwich, SupernetTask, load_supernet, recalibrate
from pc3d.search.task import distillation
from pc3d.sparse import Batch
from pc3d.utils.run_folder import read_run
from tests.cli.conftest import call, finish, program, start  # noqa: F401
from tests.cli.test_programs import wait_for
from tests.conftest import TINY
from tests.profiling.scenes import make_batch
from tests.search.spaces import supernet
from visualize.__main__ import main as show

SMALL = (
    "task=supernet",
    "model=minkunet_supernet",
    "model.network.stem_channels=8",
    "model.genes.width=[[8,16],[8,16],[8,16],[8,16],[8,16],[8,16],[8,16],[8,16]]",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
)
SEED = 3


class Labels(nn.Module):
    """Cross-entropy against made-up labels."""

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(logits, target)


def task_of(**sandwich: object) -> SupernetTask:
    task = SupernetTask(
        network=supernet(),
        class_names=tuple("abcde"),
        max_eval_voxels=1000,
        loss=Labels(),
        sandwich={"seed": SEED, **sandwich},
    )
    trainer = SimpleNamespace(global_step=7, estimated_stepping_batches=100, global_rank=1)
    task._trainer = trainer
    task._voxel_labels = lambda batch: torch.arange(len(batch.voxels.coords)) % 5
    return task.train()


def test_the_gradient_is_that_of_all_networks_together():
    task, batch = task_of(), make_batch(200)
    loss, parts = task.training_loss(batch)
    (3 * loss).backward()  # whatever the trainer multiplies by
    found = {name: p.grad for name, p in task.network.named_parameters()}

    net = supernet().train()
    archs = Sandwich(seed=SEED).draw(net.space, step=7, progress=0.07, rank=1)
    assert len(set(archs)) == 4 and archs[:2] == [net.space.largest, net.space.smallest]
    scores = [net(batch, arch).logits for arch in archs]
    target = torch.arange(len(scores[0])) % 5
    largest = nn.functional.cross_entropy(scores[0], target)
    teacher = scores[0].detach().softmax(dim=1)
    others = [(teacher * (teacher.log() - s.log_softmax(dim=1))).sum(dim=1).mean() for s in scores]
    (3 * (largest + sum(others[1:]))).backward()
    assert loss.item() == pytest.approx(largest.item())
    assert parts["distillation"].item() == pytest.approx(sum(others[1:]).item() / 3, rel=1e-4)
    for name, p in net.named_parameters():
        expected = torch.zeros_like(p) if p.grad is None else p.grad
        torch.testing.assert_close(found[name], expected, atol=1e-5, rtol=1e-3, msg=name)


def test_one_graph_at_a_time(monkeypatch):
    """When a network begins, the graph of the one before is gone."""
    task, batch, alive = task_of(), make_batch(100), []
    add = sys.modules["pc3d.search.task"].Gradients.add

    def adding(self: object, loss: torch.Tensor) -> None:
        add(self, loss)
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()
        alive.append(loss)

    monkeypatch.setattr("pc3d.search.task.Gradients.add", adding)
    task.training_loss(batch)
    assert len(alive) == 4


def test_distillation_is_nothing_between_equals_and_grows_with_the_temperature_squared():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    assert distillation(logits, logits + 5).item() == pytest.approx(0, abs=1e-6)
    teacher = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    expected = distillation(logits / 2, teacher / 2) * 4
    torch.testing.assert_close(distillation(logits, teacher, temperature=2.0), expected)
    assert distillation(teacher, logits) != distillation(logits, teacher)


def test_draws_are_of_seed_and_step_and_of_the_rank_only_if_asked():
    space = supernet().space
    same = [Sandwich(seed=1).draw(space, 5, 0.5, rank) for rank in (0, 1)]
    assert same[0] == same[1]
    apart = [Sandwich(seed=1, per_rank=True).draw(space, 5, 0.5, rank) for rank in (0, 1)]
    assert apart[0][:2] == apart[1][:2] and apart[0][2:] != apart[1][2:]
    assert Sandwich(seed=1).draw(space, 6, 0.5, 0)[2:] != same[0][2:]
    assert Sandwich(seed=2).draw(space, 5, 0.5, 0)[2:] != same[0][2:]
    assert len(Sandwich(num_random=0).draw(space, 5, 0.5, 0)) == 2


def test_the_largest_warms_up_alone():
    space = supernet().space
    rule = Sandwich(warmup=0.2)
    assert rule.draw(space, 19, 0.19, 0) == [space.largest]
    assert len(rule.draw(space, 20, 0.2, 0)) == 4
    task = task_of(warmup=0.5)
    _, parts = task.training_loss(make_batch(100))
    assert parts == {}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"num_random": -1}, "must not be negative; got -1"),
        ({"warmup": 1.0}, r"sandwich\.warmup must be in \[0, 1\); got 1\.0"),
        ({"temperature": 0.0}, r"sandwich\.temperature must be above 0"),
    ],
)
def test_wrong_sandwiches(options, expected):
    with pytest.raises(ValueError, match=expected):
        Sandwich(**options)


def test_what_cannot_be_trained_this_way():
    net = MinkUNet(in_channels=4, num_classes=5, widths=[4, 4], depths=[1, 1])
    with pytest.raises(ValueError, match="model is a MinkUNet"):
        SupernetTask(network=net, class_names=tuple("abcde"), max_eval_voxels=10)
    task = task_of()
    task._trainer.precision = "16-mixed"
    with pytest.raises(ValueError, match="bf16-mixed or 32-true"):
        task.on_fit_start()


def test_validation_is_that_of_the_largest_network():
    task, batch = task_of().eval(), make_batch(100)
    assert isinstance(batch, Batch)
    with torch.no_grad():
        assert torch.equal(task.network(batch).logits, task.network.extract()(batch).logits)


def test_a_supernet_is_trained_and_tested(call, tmp_path, capsys):  # noqa: F811
    run = tmp_path / "run"
    call(train_program.main, [*TINY, *SMALL], run)
    with next((run / "csv").rglob("metrics.csv")).open() as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["train/loss_epoch"]) for row in rows if row.get("train/loss_epoch")]
    assert losses[-1] < losses[0]
    assert any(row.get("train/distillation") for row in rows)
    capsys.readouterr()
    call(test_program.main, [f"run={run}"])
    assert "mIoU" in capsys.readouterr().out

    net = load_supernet(run)
    state = read_checkpoint(run / "checkpoints" / "best.ckpt")["state_dict"]
    assert all(torch.equal(t, state[f"network.{name}"]) for name, t in net.state_dict().items())
    network = net.extract(net.space.smallest)
    data = build_data(read_run(run)[0])
    recalibrate(network, islice(data.train_dataloader(), 2))
    (batch, *_) = data.eval_dataloader("holdout")
    with torch.no_grad():
        assert network(batch).logits.isfinite().all()


def test_a_run_of_an_ordinary_network_is_no_supernet(tmp_path):
    sizes = {"widths": [4, 4], "depths": [1, 1]}
    network = MinkUNet(in_channels=4, num_classes=3, **sizes)
    facts = {"format": 1, "model": {"_target_": "pc3d.models.MinkUNet", **sizes}}
    facts |= {"features": ["color", "height"], "spec": {"class_names": ["a", "b", "c"]}}
    (tmp_path / "checkpoints").mkdir()
    state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    content = {"pc3d": facts, "state_dict": state}
    torch.save(content, tmp_path / "checkpoints" / "best.ckpt")
    with pytest.raises(ValueError, match=r"best\.ckpt holds a MinkUNet, not a supernet"):
        load_supernet(tmp_path)
    with pytest.raises(FileNotFoundError, match="last"):
        load_supernet(tmp_path, "last")


@pytest.mark.slow
def test_a_killed_training_of_a_supernet_goes_on(start, tmp_path):  # noqa: F811
    arguments = [*TINY, *SMALL]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(*program("train.py"), *arguments, run_dir=whole))
    process = start(*program("train.py"), *arguments, run_dir=killed)
    last = killed / "checkpoints" / "last.ckpt"
    wait_for(last.exists, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    finish(start(*program("train.py"), f"resume={killed}"))
    expected, resumed = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in (whole, killed)
    )
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in expected.items())


def test_a_supernet_is_looked_at_as_its_largest_network(call, tmp_path, data_dir):  # noqa: F811
    """Label files, show a scene with the codes that were chosen, count the work of every module."""
    run, tiny = tmp_path / "run", "model.genes.width=[[8],[8],[8],[8],[8],[8],[8],[8]]"
    arguments = [*TINY, "task=supernet", "model=voxel_tr_supernet_s", tiny, "trainer.max_epochs=1"]
    call(train_program.main, arguments, run)
    call(test_program.main, [f"run={run}"])
    (scene, *_) = sorted((run / "predictions").rglob("*.npy"))
    out = tmp_path / "a.html"
    show([f"run={run}", f"scene={scene.stem}", f"out={out}", "max_points=500"])
    page = out.read_text(encoding="utf-8")
    assert "chosen code" in page and "decoder.1.0" in page
    points = ScanNet(data_dir / "synthetic").read(scene.stem, "test")
    found = pc3d.load(run).predict(points.xyz, points.color, extent=1e6)
    assert (found.classes == np.load(scene)).mean() > 0.99
    path = tmp_path / "costs.json"
    profiled = ["task=supernet", "model=voxel_tr_supernet_s", tiny, "voxels=300", f"out={path}"]
    call(profile_program.main, [*profiled, "runs=1", "warmup=1"])
    macs = {module["name"]: module["macs"] for module in json.loads(path.read_text())["modules"]}
    assert macs["backbone.encoder.0.0.conv1.conv"] > 0


def test_training_does_not_see_what_is_held_out(data_dir, monkeypatch):
    monkeypatch.setenv("PC3D_DATA", str(data_dir))
    data = build_data(compose_config("config", [*TINY, *SMALL, "task.holdout=0.3"]))
    train, held = data.reader.scenes("train"), data.reader.scenes("holdout")
    assert (len(train), len(held)) == (2, 1) and not {*train} & {*held}
    assert list(data.train_dataloader().dataset.scenes) == train
    whole = build_data(compose_config("config", [*TINY, *SMALL, "task.holdout=0"]))
    assert len(whole.reader.scenes("train")) == 3


@pytest.mark.slow
def test_two_processes_train_a_supernet(start, tmp_path):  # noqa: F811
    options = ["trainer=ddp_cpu", "trainer.max_epochs=1", "trainer.limit_val_batches=0"]
    finish(start(*program("train.py"), *TINY, *SMALL, *options, "task.sandwich.per_rank=true"))


def test_a_supernet_without_its_task_is_refused(call, capsys):  # noqa: F811
    arguments = [a for a in (*TINY, *SMALL) if a != "task=supernet"]
    with pytest.raises(SystemExit):
        call(train_program.main, arguments)
    assert "only its largest network would learn. Add task=supernet" in capsys.readouterr().err
