"""Whose time it is: laps of a clock that is moved by hand, of real modules, of real networks."""

from __future__ import annotations

import statistics
import time

import pytest
import torch
from torch import Tensor, nn

from pc3d.models import PointBranch
from pc3d.profiling import laps as module
from pc3d.profiling.laps import Clock, Laps, graph_of
from pc3d.profiling.scopes import OUTSIDE, Scope
from pc3d.profiling.subject import Subject
from pc3d.sparse import CoordSet, PointSet, PointVoxelMap
from tests.profiling.scenes import make_batch, point_network, small_network


class HandClock(Clock):
    """Shows what the work has taken so far."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))
        self.moment = 0.0

    def now(self) -> float:
        return self.moment


class Slow(torch.autograd.Function):
    """Takes so long forward, and ten times as long backward."""

    @staticmethod
    def forward(ctx, x: Tensor, clock: HandClock, seconds: float) -> Tensor:
        clock.moment += seconds
        ctx.clock, ctx.seconds = clock, seconds
        return x.clone()

    @staticmethod
    def backward(ctx, grad: Tensor):
        ctx.clock.moment += 10 * ctx.seconds
        return grad, None, None


class Worker(nn.Module):
    """Works before, in and after the modules within it."""

    def __init__(self, clock: HandClock, seconds: float, *within: nn.Module) -> None:
        super().__init__()
        self.clock, self.seconds = clock, seconds
        self.within = nn.ModuleList(within)
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        x = Slow.apply(x * self.weight, self.clock, self.seconds)
        for part in self.within:
            x = part(x)
        return Slow.apply(x, self.clock, self.seconds / 2)


def test_time_belongs_to_the_innermost_module():
    clock = HandClock()
    network = Worker(clock, 1.0, Worker(clock, 2.0), Worker(clock, 4.0, Worker(clock, 8.0)))
    laps = Laps(clock)
    with laps.forward(network):
        y = network(torch.ones(3))
        loss = Slow.apply(y.sum(), clock, 100.0)
    expected = {"": 1.5, "within.0": 3.0, "within.1": 6.0, "within.1.within.0": 12.0, None: 100.0}
    forward = laps.forward_seconds()
    assert {scope.module: seconds for scope, seconds in forward.items()} == expected
    laps.backward(loss, network)
    backward = {s.module: seconds for s, seconds in laps.backward_seconds().items() if seconds}
    assert backward == {name: 10 * seconds for name, seconds in expected.items()}
    assert network.weight.grad is not None
    assert not any("forward" in vars(module) for module in network.modules())


def test_maps_are_told_apart_and_belong_to_who_asks_first():
    laps, network, batch = Laps(Clock(torch.device("cpu"))), small_network(), make_batch()
    with laps.forward(network):
        network(batch)
    found = laps.forward_seconds()
    maps = {scope.module for scope in found if scope.maps}
    assert "backbone.stem.0.conv" in maps and "backbone.down.0.conv" in maps
    assert all(found[Scope(name, maps=True)] > 0 for name in maps)
    again = Laps(Clock(torch.device("cpu")))
    with again.forward(network):
        network(batch)
    built, remembered = (
        sum(s for scope, s in lap.forward_seconds().items() if scope.maps) for lap in (laps, again)
    )
    assert remembered < 0.5 * built


def test_an_error_in_the_network_leaves_nothing_behind():
    network = small_network()
    with pytest.raises(ZeroDivisionError), Laps(Clock(torch.device("cpu"))).forward(network):
        raise ZeroDivisionError
    assert not any("forward" in vars(module) for module in network.modules())
    batch = make_batch()
    assert "surrounded" not in type(batch.voxels.coords).neighbors.__code__.co_name


def test_the_sum_of_the_parts_is_the_whole():
    """Beside a clock that stands outside."""
    network, batch = small_network(channels=48), make_batch(15_000)
    laps, moments = Laps(Clock(torch.device("cpu"))), [time.perf_counter()]
    with laps.forward(network):
        moments.append(time.perf_counter())
        loss = network(batch).logits.sum()
    moments.append(time.perf_counter())
    laps.backward(loss, network)
    moments.append(time.perf_counter())
    forward, backward = moments[2] - moments[1], moments[3] - moments[2]
    assert 0.95 * forward < sum(laps.forward_seconds().values()) < 1.05 * forward
    assert 0.95 * backward < sum(laps.backward_seconds().values()) < backward, "hooks come first"


@pytest.mark.slow
def test_looking_costs_little():
    subject = Subject(small_network(channels=48), lambda: make_batch(30_000), None)
    ratios: dict[str, list[float]] = {"inference": [], "forward": [], "backward": []}
    for turn in range(16):  # in turns, as the machine may be busy with other things
        order = [True, False] if turn % 2 else [False, True]
        sums = {by_scope: subject.turn(by_scope).sums for by_scope in order}
        apart, whole = sums[True], sums[False]
        for kind, found in ratios.items():
            found.append(apart[kind] / whole[kind])
    medians = {kind: statistics.median(found) for kind, found in ratios.items()}
    assert all(0.95 < ratio < 1.05 for ratio in medians.values()), medians


def test_a_network_that_is_not_looked_into_has_one_part():
    turn = Subject(small_network(), make_batch, None).turn(by_scope=False)
    assert set(turn.inference) == set(turn.forward) == set(turn.backward) == {OUTSIDE}


def test_every_node_of_a_graph_once():
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    names = [type(node).__name__ for node in graph_of((y + y).sum())]
    assert sorted(names) == ["AccumulateGrad", "AddBackward0", "MulBackward0", "SumBackward0"]


def test_a_gpu_is_asked_by_events(monkeypatch):
    class Event:
        clock = 0.0

        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            Event.clock += 250.0
            self.moment = Event.clock

        def elapsed_time(self, end: Event) -> float:
            return end.moment - self.moment

    waited = []
    monkeypatch.setattr(module.torch.cuda, "Event", Event)
    monkeypatch.setattr(module.torch.cuda, "synchronize", lambda: waited.append(time.time()))
    network = nn.Sequential(nn.Linear(2, 2))
    laps = Laps(Clock(torch.device("cuda")))
    with laps.forward(network):
        network(torch.ones(1, 2))
    assert not waited, "nothing waits while the network runs"
    seconds = laps.forward_seconds()
    assert seconds == {OUTSIDE: 0.5, Scope(""): 0.5, Scope("0"): 0.25} and len(waited) == 1


WAYS = [
    (CoordSet, "neighbors"),
    (CoordSet, "down"),
    (PointVoxelMap, "_around"),
    (PointSet, "down"),
    (PointSet, "neighbors"),
    (PointSet, "neighbors_in"),
    (PointSet, "interpolation"),
]


@pytest.mark.parametrize(("owner", "name"), WAYS, ids=str)
def test_every_way_of_building_maps_counts_as_maps(owner, name, monkeypatch):
    build = getattr(owner, name)

    def slow(*args: object, **kwargs: object) -> object:
        time.sleep(0.2)
        return build(*args, **kwargs)

    monkeypatch.setattr(owner, name, slow)
    network = point_network() if owner is PointSet else small_network(point_branch=PointBranch)
    batch, laps = make_batch(), Laps(Clock(torch.device("cpu")))
    with torch.no_grad(), laps.forward(network.eval()):
        network(batch)
    found = laps.forward_seconds()
    assert max(seconds for scope, seconds in found.items() if scope.maps) >= 0.2
    assert max(seconds for scope, seconds in found.items() if not scope.maps) < 0.2
