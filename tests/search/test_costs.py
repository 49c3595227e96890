from time import sleep

import pytest
import torch
from torch import nn

from pc3d.profiling import multiply_adds
from pc3d.search.costs import ArchCost, MeasuredCosts, Meter, Timing, cost_facts, where
from pc3d.search.records import Records
from pc3d.sparse import CoordSet
from tests.profiling.scenes import make_batch
from tests.search.spaces import supernet

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def net():
    return supernet().eval()


@pytest.fixture(scope="module")
def scans():
    return [make_batch(size) for size in (200, 400)]


@pytest.fixture
def meter(net, scans):
    return Meter(scans, CPU, net.extract(net.space.smallest), warmup=1, runs=3)


def test_work_is_the_exact_mean_of_the_scans(net, scans, meter):
    network = net.extract()
    work = [sum(multiply_adds(network, lambda s=scan: network(s)).values()) for scan in scans]
    cost = meter.cost(network)
    assert cost.macs == round(sum(work) / 2)
    assert work[0] != work[1]
    assert cost.parameters == sum(p.numel() for p in network.parameters())
    assert cost.memory > 4 * cost.parameters
    assert 0 <= cost.maps < cost.latency


class SlowMaps(nn.Module):
    """Sleeps for 10 ms, and for 40 ms more where it has not seen the batch."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen = []

    def forward(self, batch):
        known = any(batch is other for other in self.seen)
        self.seen.append(batch)
        sleep(0.01 if known else 0.05)


def test_maps_are_what_a_second_pass_saves(meter):
    cost = meter.cost(SlowMaps())
    assert cost.maps == pytest.approx(0.04, abs=0.02)
    assert cost.latency >= 0.05


def test_memory_is_that_of_the_largest_scan(net, scans, meter):
    alone = Meter(scans[1:], CPU, net.extract(net.space.smallest), 1, 1)
    assert meter.cost(net.extract()).memory == alone.cost(net.extract()).memory


def test_a_network_is_left_as_it_is(net, meter):
    network = net.extract().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    meter.cost(network)
    assert network.training
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_maps_are_built_anew_for_every_pass(net, scans, meter, monkeypatch):
    built = []
    original = CoordSet.neighbors

    def neighbors(self, spec):
        built.append((id(self._maps), spec) if spec not in self._maps else None)
        return original(self, spec)

    monkeypatch.setattr(CoordSet, "neighbors", neighbors)
    meter.time(net.extract())
    passes, fresh = 3 * 4, sum(entry is not None for entry in built)
    assert 0 < fresh < len(built)  # the second pass over a scan finds what the first one built
    assert fresh % (passes // 3) == 0


def test_times_are_scaled_to_the_usual_speed(net, meter, monkeypatch):
    monkeypatch.setattr(Meter, "time", lambda *_: Timing(0.4, 0.3, reference=0.2))
    cost = meter.cost(net.extract(), usual=0.1)
    assert (cost.latency, cost.maps) == (pytest.approx(0.2), pytest.approx(0.05))
    assert meter.cost(net.extract()).latency == 0.4


def test_medians_after_the_warm_up(net, scans, monkeypatch):
    """A clock that is moved by hand: passes of 1 s, and of 100 s in the warm-up."""
    meter = Meter(scans, CPU, net.extract(net.space.smallest), warmup=2, runs=3)
    reads = []

    def now(_):
        reads.append(None)
        turn = (len(reads) - 1) // 6
        number = (len(reads) - 1) % 6
        step = 100.0 if turn < 2 else (1.0, 3.0, 2.0)[turn - 2]
        return 1e4 * len(reads) if number % 2 == 0 else 1e4 * (len(reads) - 1) + step * number

    monkeypatch.setattr("pc3d.search.costs.Clock.now", now)
    timing = meter.time(net.extract())
    assert timing == Timing(network=6.0, kept_maps=10.0, reference=2.0)
    assert len(reads) == 6 * 5


@pytest.mark.parametrize("bad", [{"warmup": 0}, {"runs": 0}])
def test_a_meter_needs_turns(net, scans, bad):
    with pytest.raises(ValueError, match="at least 1"):
        Meter(scans, CPU, net.extract(), **bad)


def test_a_meter_needs_scans(net):
    with pytest.raises(ValueError, match="got 0 scans"):
        Meter([], CPU, net.extract())


class Counted:
    device = CPU

    def __init__(self):
        self.usual = []

    def cost(self, network, usual=None):
        self.usual.append(usual)
        return ArchCost(0.5, 0.1, 10, 20, 30)


def test_what_was_measured_is_not_measured_again(net, tmp_path):
    meter = Counted()
    costs = MeasuredCosts(net, meter, Records(tmp_path, "x", {}))
    first = costs.of(net.space.largest)
    assert meter.usual == [None, 0.5]  # the reference first, which says what is usual
    assert costs.of(net.space.largest) == first == ArchCost(0.5, 0.1, 10, 20, 30)
    again = MeasuredCosts(net, meter, Records(tmp_path, "x", {}))
    assert again.of(net.space.smallest) == again.of(net.space.largest) == first
    assert len(meter.usual) == 2


def test_costs_hold_for_device_threads_networks_and_scans(net, scans, monkeypatch):
    facts = cost_facts(net, scans, CPU)
    assert cost_facts(net, list(reversed(scans)), CPU) != facts
    assert cost_facts(net, scans[:1], CPU) != facts
    assert cost_facts(supernet(divisor=8), scans, CPU) != facts
    assert cost_facts(net, [make_batch(200), make_batch(400)], CPU) == facts
    known = {"processor": "Z80", "num_threads": 1, "packages": {"torch": "2"}}
    monkeypatch.setattr("pc3d.search.costs.environment", lambda: known)
    other = cost_facts(net, scans, CPU)
    assert where(other) == "Z80, 1 thread"
    assert other != facts
    assert where({**facts, "device": "A", "threads": 2}) == "A, 2 threads"
