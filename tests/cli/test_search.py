"""`pc3d search`, from the command line, on a supernet that was trained for an epoch."""

from __future__ import annotations

import csv
import json
import logging
import shutil
import sys
from pathlib import Path

import pytest
import torch

from pc3d.cli import search as search_program
from pc3d.cli import test as test_program
from pc3d.cli import train as train_program
from pc3d.cli.build import build_data
from pc3d.models.weights import build_network, read_weights
from pc3d.search import ArchSpec, Supernet, load_supernet
from pc3d.search.costs import Meter
from pc3d.search.fitness import Fitness
from pc3d.utils.run_folder import read_run
from tests.conftest import TINY

SUPERNET = (
    *TINY,
    "task=supernet",
    "model=minkunet_supernet",
    "model.network.stem_channels=8",
    "model.genes.width=[[8,16],[8,16],[8,16],[8,16],[8,16],[8,16],[8,16],[8,16]]",
    "trainer.max_epochs=1",
)
SEARCH = (
    "cost_samples=10",
    "scans=2",
    "warmup=1",
    "runs=1",
    "calibration=2",
    "evaluations=5",
    "generations=2",
    "population=6",
    "save=1",
    "device=cpu",
)


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
    """The run folder of a supernet."""
    folder = tmp_path_factory.mktemp("trained") / "super"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder.parent)
        patch.setenv("PC3D_DATA", str(data_dir))
        patch.setenv("PC3D_RUN_DIR", str(folder))
        patch.setattr(sys, "argv", ["train.py", *SUPERNET])
        train_program.main()
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it, in which nothing was searched."""
    return Path(shutil.copytree(trained, tmp_path / "super"))


def refuse(*_, **__):
    raise AssertionError("measured again")


def rows_of(folder):
    with (folder / "evaluated.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_search_is_complete_and_can_be_repeated(run, call, capsys, monkeypatch):
    arguments = [f"run={run}", "target.latency=10s", "target.macs=1T", *SEARCH]
    call(search_program.main, arguments)
    out = run / "search" / "latency-10s_macs-1T_evolution_seed0"
    rows = rows_of(out)
    assert len(rows) == 5
    best = max(rows, key=lambda row: float(row["miou"]))
    (folder,) = (out / "subnets").iterdir()
    assert folder.name == best["network"]
    assert best["network"] in (out / "front.html").read_text()
    shown = capsys.readouterr().out
    assert "best networks, measured" in shown and best["network"] in shown

    record = json.loads((folder / "subnet.json").read_text())
    assert record["holdout_miou"] == float(best["miou"])
    assert record["cost"]["macs"] == int(best["macs"])
    weights = read_weights(folder / "checkpoints" / "best.ckpt")
    network = build_network(weights, 4, len(weights.facts["spec"]["class_names"]))
    assert not isinstance(network, Supernet)
    assert "search" not in str(weights.facts["model"])
    assert sum(p.numel() for p in network.parameters()) == record["cost"]["parameters"]
    kept = load_supernet(run).extract(ArchSpec.from_plain(record["arch"]))
    own = dict(kept.named_parameters())
    assert all(torch.equal(p, own[name]) for name, p in network.named_parameters())
    held = list(build_data(read_run(run)[0]).eval_dataloader("holdout"))
    fitness = Fitness(load_supernet(run), held, held, torch.device("cpu"), None)
    assert fitness.score(network) == record["holdout_miou"]

    call(test_program.main, [f"run={folder}", "split=val"])
    assert "mIoU" in capsys.readouterr().out

    monkeypatch.setattr(Meter, "cost", refuse)
    monkeypatch.setattr(Fitness, "score", refuse)
    call(search_program.main, arguments)
    assert rows_of(out) == rows


def test_an_interrupted_search_goes_on(run, call, monkeypatch):
    arguments = [f"run={run}", "target.parameters=1G", *SEARCH]
    asked, score = [], Fitness.score

    def interrupted(self, network):
        asked.append(sum(p.numel() for p in network.parameters()))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return score(self, network)

    monkeypatch.setattr(Fitness, "score", interrupted)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        call(search_program.main, arguments)
    call(search_program.main, arguments)
    assert len(asked) == 6  # five networks, one of them again since it was interrupted
    assert asked[2] == asked[3]
    assert len(rows_of(run / "search" / "parameters-1G_evolution_seed0")) == 5


def test_nsga2_shares_what_was_measured(run, call, monkeypatch):
    pytest.importorskip("optuna")
    call(search_program.main, [f"run={run}", "target.macs=1T", "strategy=nsga2", *SEARCH])
    out = run / "search" / "macs-1T_nsga2_seed0"
    assert len(rows_of(out)) == 5
    assert (out / "optuna.log").stat().st_size > 0


def test_costs_of_another_device_are_measured_anew(run, call, caplog, monkeypatch):
    arguments = [f"run={run}", "target.macs=1T", *SEARCH]
    call(search_program.main, arguments)
    measured, cost = [], Meter.cost

    def counted(self, network, usual=None):
        measured.append(network)
        return cost(self, network, usual)

    known = search_program.cost_facts
    monkeypatch.setattr(Meter, "cost", counted)
    monkeypatch.setattr(
        search_program, "cost_facts", lambda *given: known(*given) | {"device": "Z80"}
    )
    with caplog.at_level(logging.INFO):
        call(search_program.main, arguments)
    assert len(measured) >= 10
    assert "they are measured anew on Z80" in caplog.text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["target.latency=1us"], "no network of this supernet keeps within latency 1 us: the"),
        (["target.latency=5"], "target.latency=5: expected a number above 0 with a unit of us"),
        (["target.lat=5ms"], "costs are latency, memory, macs, parameters"),
        ([], "say what a network may cost"),
        (["target.macs=1G", "cost_samples=3"], "need at least 10"),
        (["target.macs=1G", "worker=1"], "strategy=nsga2"),
        (["target.macs=1G", "strategy=random"], "evolution or nsga2"),
        (["target.macs=1G", "ckpt=nothing.ckpt"], "no checkpoint nothing.ckpt"),
        (["target.macs=1G", "task.holdout=0"], "Train with task.holdout=0.04"),
    ],
)
def test_what_cannot_be_searched(trained, call, capsys, given, message):
    with pytest.raises(SystemExit):
        call(search_program.main, [f"run={trained}", *SEARCH, *given])
    assert message in capsys.readouterr().err
    assert not list(trained.rglob("subnets"))
