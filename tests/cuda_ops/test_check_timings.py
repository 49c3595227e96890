"""What is timed first, what is left out when time is up, and what rivals are given."""

from __future__ import annotations

import importlib
import time

import pytest
import torch

import cuda_ops
from cuda_ops.check import rivals, timings
from cuda_ops.check.floors import Ceilings
from cuda_ops.check.kernels import map_kernels
from cuda_ops.check.precision import FLOAT32
from cuda_ops.check.rivals import OURS
from cuda_ops.check.rooms import Place
from cuda_ops.check.timing import Stopwatch
from cuda_ops.check.timings import Found, Plan, time_all, timing_section

CPU = torch.device("cpu")
TOP = Ceilings(copy=1000.0, matmul={"float32": 50_000.0, "bfloat16": 500_000.0})


def test_a_kernel_that_throws_is_named_and_the_others_go_on(monkeypatch):
    def boom(keys, offsets):
        raise RuntimeError("no such kernel")

    plan = Plan((("room", 200),), (), (), quick=True)
    kernels = [k for k in map_kernels(Place.make("room", 200, CPU)) if "table" in k.op]
    monkeypatch.setattr(timings, "kernels_of", lambda *_: kernels)
    monkeypatch.setattr(cuda_ops, "neighbor_table", boom)
    found = Found()
    time_all(plan, CPU, TOP, time.monotonic() + 100, found)
    assert [r.op for r in found.rows] == ["down_table"]
    assert len(found.failed) == 4 and "no such kernel" in found.failed[0]
    assert timing_section(found, "protocol").passed is False


def test_nothing_is_started_after_the_deadline():
    found = Found()
    time_all(Plan.of(200, quick=True), CPU, TOP, time.monotonic() - 1, found)
    assert not found.rows and "Out of time" in found.notes[0]


def test_the_layer_of_spconv_is_ours_with_its_map_built_before(monkeypatch):
    """The code for spconv-triton, run by spconv on the CPU; it throws if values differ."""
    pytest.importorskip("spconv")
    ops = importlib.import_module("spconv.pytorch.ops")
    cloud = Place.make("room", 200, CPU).clouds[0]
    x, weight = torch.randn(len(cloud), 8), torch.randn(27, 8, 16)
    found = rivals.checked("spconv", cloud, x, weight, FLOAT32)
    monkeypatch.setattr(ops, "get_indice_pairs", None)  # called by whoever builds a map
    ours = rivals.our_layer(cloud, weight).apply(x)
    torch.testing.assert_close(found.apply(x), ours, rtol=1e-4, atol=1e-4)


def test_rivals_are_timed_in_turn_and_one_that_throws_is_left_out(monkeypatch):
    """Another engine stands in: ours under another name; a second one computes something else."""

    def stand_in(name, cloud, weight, precision):
        found = rivals.our_layer(cloud, weight)
        if name == "torchsparse":
            return found._replace(apply=lambda x: 2 * found.apply(x))
        if name == "spconv":
            raise RuntimeError("bfloat16 is not\nsupported")
        return found

    monkeypatch.setattr(rivals, "layer", stand_in)
    place, watch = Place.make("room", 200, CPU), Stopwatch(CPU, 1, 3)
    duels, notes = rivals.duel(place, 8, FLOAT32, watch, rivals.MODULES)
    assert [(d.op, d.channels) for d in duels] == [
        (rivals.FORWARD, 8),
        (rivals.BOTH, 8),
        (rivals.MAP, 0),
    ]
    assert all(list(d.times) == [OURS, "spconv-triton"] for d in duels)
    assert all(0.05 < d.ratios()["spconv-triton"] < 20 for d in duels)
    assert "not supported" in notes[0] and "differ from ours" in notes[1]
    found = Found()
    timings._duels(
        place, Plan.of(200, quick=False), found, watch, {"spconv-triton": ""}, time.monotonic() + 60
    )
    assert [d.op for d in found.duels].count(rivals.MAP) == 1
    assert [d.channels for d in found.duels if d.op == rivals.BOTH] == [32, 64, 128, 256]
