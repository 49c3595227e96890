from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest

from pc3d.search.costs import COSTS, ArchCost
from pc3d.search.predictors import Level
from pc3d.search.search import CostModel, Search, measured_sample
from pc3d.search.strategies import Evolution
from pc3d.search.targets import Targets
from tests.search.spaces import supernet

LEVELS = [Level(1000, 9000), Level(250, 3000), Level(60, 700)]


class Device:
    """Costs that add up over blocks, and how often each was asked for."""

    def __init__(self):
        self.measured = []

    def of(self, arch):
        self.measured.append(arch)
        work = sum(s.depth * s.width * (2 if s.block == "votr" else 1) for s in arch.stages)
        return ArchCost(1e-3 * work, 1e-4, 1000 * work, 10**6 * work, 100 * work)


def quality(arch):
    """Grows with depth and codes, whatever they cost."""
    return sum(s.depth + 0.5 * (s.codes or 0) for s in arch.stages) / 20


@pytest.fixture(scope="module")
def space():
    return supernet().space


@pytest.fixture(scope="module")
def cost_model(space):
    archs, costs = measured_sample(space, Device(), 60, seed=0)
    return CostModel(space, LEVELS, archs, costs)


def make(space, cost_model, targets=None, fitness=quality, **options):
    targets = targets or Targets({"latency": 0.06})
    search = Search(space, targets, Device(), cost_model, fitness, **options)
    evolution = Evolution(
        space, lambda archs: cost_model.violation(targets, archs), seed=0, population=20
    )
    return search, evolution


def test_a_sample_begins_with_both_ends_and_repeats_nothing(space):
    device, heard = Device(), []
    archs, costs = measured_sample(space, device, 12, 0, lambda *row: heard.append(row))
    assert archs[:2] == [space.smallest, space.largest]
    assert len(set(archs)) == len(archs) == 12
    assert device.measured == archs
    assert heard == list(zip(range(1, 13), archs, costs, strict=True))
    assert archs == measured_sample(space, Device(), 12, 0)[0]
    assert archs != measured_sample(space, Device(), 12, 1)[0]


def test_costs_are_predicted_and_errors_said(space, cost_model):
    rng = np.random.default_rng(5)
    archs = [space.sample(rng) for _ in range(30)]
    true = [asdict(Device().of(arch)) for arch in archs]
    predicted = cost_model(archs)
    for key in COSTS:
        error = min(asdict(cost_model.errors[key]).values())
        values = np.array([row[key] for row in true])
        assert np.mean(np.abs(predicted[key] / values - 1)) < 2 * error + 0.01
    targets = Targets({"latency": 0.05, "macs": 40e6})
    assert cost_model.violation(targets, archs) == pytest.approx(
        [targets.violation({k: v[i] for k, v in predicted.items()}) for i in range(30)]
    )
    assert cost_model.violation(targets, []) == []


def test_it_finds_better_ones_than_as_many_at_random(space, cost_model):
    search, evolution = make(space, cost_model, evaluations=30)
    search.run(evolution, generations=6)
    rng = np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(300)]
    within = [arch for arch in drawn if Device().of(arch).latency <= 0.06][:30]
    assert search.best[0].miou > max(map(quality, within))


def test_all_results_are_measured_and_within(space, cost_model):
    asked = []
    search, evolution = make(
        space, cost_model, fitness=lambda a: asked.append(a) or quality(a), evaluations=30
    )
    found = search.run(evolution, generations=6)
    assert len(found) <= 30
    assert len(asked) == len(set(asked)) == len(search.best)
    for row in found:
        assert row.cost == Device().of(row.arch)
        assert row.violation == search.targets.violation(asdict(row.cost))
        assert (row.miou is None) == (row.violation > 0)
    assert all(row.cost.latency <= 0.06 for row in search.best)
    assert [r.miou for r in search.best] == sorted((r.miou for r in search.best), reverse=True)


def test_evaluations_are_shared_among_generations(space, cost_model):
    search, evolution = make(space, cost_model, evaluations=30)
    counts = []
    search.run(evolution, 6, lambda number, so_far: counts.append((number, len(so_far.found))))
    assert [number for number, _ in counts] == list(range(6))
    assert counts[0][1] == 10
    assert counts[-1][1] <= 30
    assert all(a < b for (_, a), (_, b) in pairwise(counts))


def test_the_front_is_what_no_cheaper_one_is_as_good_as(space, cost_model):
    search, evolution = make(space, cost_model, evaluations=30)
    search.run(evolution, generations=6)
    front = [
        row
        for row in search.best
        if not any(
            (other.miou, other.cost.latency) != (row.miou, row.cost.latency)
            and other.miou >= row.miou
            and other.cost.latency <= row.cost.latency
            for other in search.best
        )
    ]
    assert {row.miou for row in search.front} == {row.miou for row in front}
    assert search.front[0] == search.best[0]
    latencies = [row.cost.latency for row in search.front]
    assert latencies == sorted(set(latencies), reverse=True)


def test_it_is_a_function_of_its_seed(space, cost_model):
    def run():
        search, evolution = make(space, cost_model, evaluations=20)
        return search.run(evolution, generations=4)

    assert run() == run()


def test_an_impossible_target_says_the_cheapest_and_its_cost(space, cost_model):
    search, evolution = make(space, cost_model, Targets({"latency": 0.001, "macs": 1e12}))
    work = min(Device().of(arch).latency for arch in (space.smallest, search._cheapest()))
    with pytest.raises(ValueError, match="no network of this supernet keeps within latency 1 ms"):
        search.run(evolution)
    with pytest.raises(ValueError, match=f"has latency {1e3 * work:.3g} ms, macs"):
        search.run(evolution)
    assert not search.found


def test_the_cheapest_may_be_another_than_the_smallest(space, cost_model):
    search, _ = make(space, cost_model)
    cheapest = search._cheapest()
    assert Device().of(cheapest).latency <= Device().of(space.smallest).latency


def test_too_few_evaluations(space, cost_model):
    with pytest.raises(ValueError, match="at least 2; got 1"):
        make(space, cost_model, evaluations=1)
