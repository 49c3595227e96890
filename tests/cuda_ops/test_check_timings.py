"""What is timed first, what is left out when time is up, and what rivals are given."""

from __future__ import annotations

import importlib
import time
from types import SimpleNamespace

import pytest
import torch

import cuda_ops
from cuda_ops.check import rivals, run, timings
from cuda_ops.check.floors import Ceilings
from cuda_ops.check.kernels import (
    ATTENTION,
    BACKWARD,
    CONV,
    FORWARD,
    KNOWN_MAPS,
    MAPS,
    WEIGHT,
    map_kernels,
)
from cuda_ops.check.precision import BFLOAT16, FLOAT32
from cuda_ops.check.rivals import OURS
from cuda_ops.check.rooms import Place
from cuda_ops.check.timing import Stopwatch
from cuda_ops.check.timings import Found, Plan, RivalJob, time_all, timing_section

CPU, GPU_LIKE = torch.device("cpu"), SimpleNamespace(type="cuda")
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
    found, plan = Found(), Plan.of(200, quick=False)
    jobs = timings.rival_jobs([place], plan, CPU)
    names = {"spconv-triton": ""}
    assert timings.time_rivals(jobs, found, watch, names, time.monotonic() + 60) == 4
    assert [d.op for d in found.duels].count(rivals.MAP) == 1
    assert [d.channels for d in found.duels if d.op == rivals.BOTH] == [32, 64, 128, 256]
    assert timings.time_rivals(jobs, found, watch, names, time.monotonic() - 1) == 0


def test_rivals_that_throw_are_named_and_the_others_go_on(monkeypatch):
    """Out of memory in one must not lose what was timed before it, nor what comes after."""
    place = Place.make("room", 200, CPU)
    plan = Plan((("room", 200),), (32, 64), (64,), False)
    jobs = timings.rival_jobs([place], plan, CPU)
    found, watch = Found(), Stopwatch(CPU, 0, 1)
    real = rivals.duel

    def duel(place, channels, *others):
        if channels == 32:
            raise RuntimeError("out of memory")
        return real(place, channels, *others)

    monkeypatch.setattr(timings, "duel", duel)
    done = timings.time_rivals(
        jobs, found, watch, {"a rival": "that is not here"}, time.monotonic() + 60
    )
    assert done == len(jobs)
    assert len(found.failed) == sum(job.channels == 32 for job in jobs) > 0
    assert all("out of memory" in line and "C=32" in line for line in found.failed)
    assert any("C=64" in note for note in found.notes)  # the other one was tried


GPU_PLAN = Plan((("room", 200), ("room", 300), ("street", 200)), (64, 128, 256), (128, 64), False)


@pytest.fixture
def pretended(monkeypatch):
    """What would be timed on a GPU, in its order, and nothing is."""
    order = []
    monkeypatch.setattr(Place, "make", lambda kind, size, device: Place(f"{kind} {size}", ()))
    monkeypatch.setitem(timings.TIMED, "cpu", timings.TIMED["cuda"])
    monkeypatch.setattr(
        timings, "time_kernel", lambda kernel, *_: order.append(kernel) or (kernel, None)
    )
    return order


def test_what_targets_need_is_timed_first_then_bfloat16_on_rooms(pretended):
    time_all(GPU_PLAN, CPU, TOP, time.monotonic() + 60, Found())
    ranks = [timings.rank(kernel) for kernel in pretended]
    assert ranks == sorted(ranks) and set(ranks) == {0, 1, 2}
    first = {(k.place.name, k.op, k.channels) for k in pretended if timings.rank(k) == 0}
    for place in ("room 200", "room 300"):
        for op in (f"{CONV} {FORWARD}", f"{CONV} {WEIGHT}"):
            assert {(place, op, 64), (place, op, 128)} < first
        assert {(place, f"{ATTENTION} {phase}", 128) for phase in (FORWARD, BACKWARD)} < first
        assert {(place, MAPS, 0), (place, KNOWN_MAPS, 0)} <= first
    assert len(first) == 16
    assert all(k.precision == BFLOAT16 or not k.channels for k in pretended if timings.rank(k) < 2)
    assert len(pretended) == len(set(map(str, pretended))) == 3 * (8 + 3 * (9 + 4 + 4) + 9)


def test_rivals_on_rooms_in_bfloat16_come_before_the_bulk_of_ours(pretended, monkeypatch):
    """Another clock: every job takes a second."""
    clock = iter(range(10_000))
    monkeypatch.setattr(timings.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(timings, "installed", lambda: {"spconv-triton": ""})
    monkeypatch.setattr(Plan, "watch", lambda self, device: Stopwatch(CPU, 1, 1))
    monkeypatch.setattr(
        timings,
        "duel",
        lambda place, channels, precision, *_: (
            pretended.append(RivalJob(place, channels, precision)) or ([], [])
        ),
    )

    def moments(deadline):
        pretended.clear()
        found = Found()
        time_all(GPU_PLAN, GPU_LIKE, TOP, next(clock) + deadline, found)
        return [isinstance(item, RivalJob) for item in pretended], found.notes

    rival, notes = moments(5000)
    assert rival[:16] == [False] * 16 and rival[16:22] == [True] * 6 and not rival[22]
    assert sum(rival) == 3 * 3 * 4 and notes == []
    assert rival[-30:] == [True] * 30
    rival, notes = moments(40)
    assert sum(rival) and not rival[-1] and "Out of time" in notes[0]


def test_the_minutes_of_timings_begin_with_the_first_kernel(monkeypatch):
    """What came before, and compiled, has taken none of them."""
    deadlines = []
    monkeypatch.setattr(run, "time_all", lambda *args: deadlines.append(args[3]))
    check = run.Check(run.parse(["device=cpu", "minutes=1"]), top=TOP)
    check.start -= 1000
    check.kernels()
    assert 20 < deadlines[0] - time.monotonic() <= 60 and 50 < check.left() <= 60
