"""Networks: times beside floors that are counted from what is called."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

import cuda_ops
from benchmarks import attention, inference_memory, networks, ops, predict, unet
from benchmarks.options import CONTESTANTS, parse
from benchmarks.peers import from_spconv_weight, spconv_weight
from benchmarks.steps import Problem, build_model, build_network, training_gflop
from benchmarks.work import work_of
from cuda_ops.check.floors import Ceilings, Work

TOP = Ceilings(copy=10.0, matmul={"float32": 100.0})


@pytest.fixture(scope="module")
def problem():
    generator = torch.Generator().manual_seed(0)
    cells = torch.randint(-6, 6, (300, 3), generator=generator, dtype=torch.int32)
    keys = cuda_ops.voxelize(cuda_ops.morton_encode(torch.nn.functional.pad(cells, (1, 0))))[0]
    return Problem.random(cuda_ops.morton_decode(keys))


def test_a_training_step_has_the_work_that_its_layers_say(problem):
    network = build_network()

    def step():
        network(problem.batch()).logits.sum().backward()

    flop = sum(work.flop for work in work_of(step).works)
    assert 1e-9 * flop == pytest.approx(training_gflop(network, problem), rel=1e-6)


def test_maps_are_counted_only_where_they_are_built(problem):
    network, batch = build_model("minkunet18a").eval(), problem.batch()
    with torch.no_grad():
        fresh = work_of(lambda: network(problem.batch())).works
        network(batch)
        ready = work_of(lambda: network(batch)).works
    # Nine kinds of maps: five levels and four steps between them; keys once for the finest set.
    assert len(fresh) > len(ready) + 9
    assert sum(work.flop for work in fresh) == sum(work.flop for work in ready)


def test_codebook_attention_is_counted_forward_and_backward():
    table = torch.tensor([[-1, 0], [0, 1], [1, -1]], dtype=torch.int32)
    v, codes = torch.randn(2, 8, requires_grad=True), torch.randn(3, 8, requires_grad=True)

    def both():
        cuda_ops.codebook_attention(v, None, codes, [table]).sum().backward()

    works = work_of(both).works
    assert [work.flop for work in works] == [2 * 4 * 8] * 3  # forward, and by each input
    assert all(work.num_bytes >= table.nbytes + 2 * v.nbytes for work in works)


def test_matrix_products_and_floors():
    a, b = torch.randn(5, 7), torch.randn(7, 3)
    ledger = work_of(lambda: torch.nn.functional.linear(a, b.T.contiguous(), torch.zeros(3)))
    (work,) = ledger.works
    assert work.flop == 2 * 5 * 7 * 3 and work.rate == "float32"
    assert work_of(lambda: a @ b).works[0].flop == 2 * 5 * 7 * 3
    ledger.works = [Work(1e9, 0.0), Work(0.0, 1e9)]
    assert ledger.floor_ms(TOP) == pytest.approx(10.0 + 100.0)


def test_the_program_measures_every_network_and_phase(tmp_path, capsys):
    out = tmp_path / "a.json"
    arguments = ["points=200", "warmup=1", "runs=1", "networks=minkunet_m,voxel_tr_a", f"out={out}"]
    assert networks.main(arguments) == 0
    report = json.loads(out.read_text())
    assert report["notes"] == []
    found = [(row["network"], row["phase"]) for row in report["rows"]]
    each = (networks.WITH_MAPS, networks.INFERENCE, networks.STEP)
    assert found == [(name, phase) for name in ("minkunet_m", "voxel_tr_a") for phase in each]
    for row in report["rows"]:
        assert row["ms"] > 0 and row["floor_ms"] > 0 and row["peak_mib"] is None


def test_a_network_that_throws_is_named_and_the_others_go_on(monkeypatch, tmp_path):
    real = networks.build_model

    def failing(name):
        if name == "minkunet_m":
            raise RuntimeError("a planted error")
        return real(name)

    monkeypatch.setattr(networks, "build_model", failing)
    options = networks.Options.parse(["points=200", "warmup=1", "runs=1"])
    rows, notes = networks.measure(options, TOP)
    assert {row["network"] for row in rows} == {"minkunet18a", "voxel_tr_a"}
    assert notes == ["Failed: minkunet_m, 200, float32: RuntimeError: a planted error"]


def test_nothing_is_started_when_time_is_up(monkeypatch):
    options = networks.Options.parse(["points=200", "seconds=1"])
    clock = iter([0.0, 2.0])
    monkeypatch.setattr(networks.time, "monotonic", lambda: next(clock))
    rows, notes = networks.measure(options, TOP)
    assert rows == [] and "Out of time" in notes[0]


@pytest.mark.parametrize(
    "argument", ["points=x", "networks=resnet", "out=a.md", "device=tpu", "speed=1"]
)
def test_wrong_arguments_end_with_status_2(argument, capsys):
    assert networks.main([argument]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1


WITHOUT_HYDRA = """
import importlib.util, sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("hydra", "omegaconf"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nothing())
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name in ("hydra", "omegaconf") else find(name)
from benchmarks import networks
sys.exit(networks.main(["points=200"]))
"""


def test_without_hydra_one_line_says_what_is_needed():
    done = subprocess.run([sys.executable, "-c", WITHOUT_HYDRA], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "networks: needs hydra-core and omegaconf (carry the wheels)\n"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("program", [ops, unet, attention, networks, predict])
def test_a_gpu_that_is_not_there_ends_with_status_2(program, capsys):
    assert program.main(["device=cuda"]) == 2
    captured = capsys.readouterr()
    assert "no GPU" in captured.out + captured.err


def test_contestants_are_those_of_the_device():
    assert parse([], {})[0].contestants == CONTESTANTS["cpu"]
    with pytest.raises(ValueError, match="contestants"):
        parse(["contestants=spconv-triton"], {})


def test_weights_go_to_spconv_and_back():
    weight = torch.randn(27, 3, 5)
    there = spconv_weight(weight, 3)
    assert torch.equal(from_spconv_weight(there), weight)
    assert torch.equal(there[:, 2, 0, 1], weight[2 * 9 + 1].T)  # x is the slowest of the taps


def test_memory_of_inference_is_that_of_a_process_each(tmp_path, capsys):
    arguments = ["networks=minkunet14a", "voxels=3000", f"out={tmp_path / 'memory.json'}"]
    assert inference_memory.main(arguments) == 0
    (row,) = json.loads((tmp_path / "memory.json").read_text())["rows"]
    assert row["network"] == "minkunet14a" and 2000 < row["voxels"] < 4000
    # At least the features of the first stage, twice: 32 channels of float32.
    assert 2 * 32 * 4 * row["voxels"] / 2**20 < row["pass"] < row["before"]
    assert "minkunet14a" in capsys.readouterr().out


@pytest.mark.parametrize("argument", ["networks=resnet", "voxels=none", "points=1"])
def test_wrong_arguments_of_the_memory_program_are_named(argument, capsys):
    assert inference_memory.main([argument]) == 2
    assert argument.split("=")[0] in capsys.readouterr().out
