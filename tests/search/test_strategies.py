import numpy as np
import pytest

from pc3d.search.strategies import Candidate, Evolution, Nsga2, spread
from tests.search.spaces import supernet


@pytest.fixture(scope="module")
def space():
    return supernet().space


def size(arch):
    return sum(stage.width * stage.depth for stage in arch.stages)


def violation(limit):
    return lambda archs: [max(0.0, size(arch) / limit - 1) for arch in archs]


def told(archs, limit=1e9, is_measured=True):
    """Scores grow with codes and depth, costs with the size."""
    scores = [sum(stage.depth + (stage.codes or 0) for stage in a.stages) for a in archs]
    return [
        Candidate(arch, float(score), float(size(arch)), excess, is_measured)
        for arch, score, excess in zip(archs, scores, violation(limit)(archs), strict=True)
    ]


def played(strategy, generations, limit=1e9):
    found = []
    for _ in range(generations):
        archs = strategy.ask()
        found.append(told(archs, limit))
        strategy.tell(found[-1])
    return found


def test_an_evolution_gets_better_within_the_targets(space):
    limit = 0.6 * size(space.largest)
    found = played(Evolution(space, violation(limit), seed=0, population=20), 8, limit)
    assert all(c.violation == 0 for generation in found for c in generation)
    means = [np.mean([c.score for c in generation]) for generation in found]
    assert means[-1] > means[0] + 1
    assert all(len({c.arch for c in generation}) == 20 for generation in found)


def test_an_evolution_is_a_function_of_its_seed(space):
    def run(seed):
        return played(Evolution(space, violation(1e9), seed=seed, population=10), 3)

    assert run(3) == run(3)
    assert run(3) != run(4)


def test_parents_are_within_the_targets_first_then_good_then_cheap(space):
    rng = np.random.default_rng(0)
    a, b, c, d = list(dict.fromkeys(space.sample(rng) for _ in range(20)))[:4]
    evolution = Evolution(space, violation(1e9), seed=0, population=8)
    rows = [
        Candidate(a, 0.9, 1.0, 0.1, True),
        Candidate(b, 0.5, 3.0, 0.0, True),
        Candidate(c, 0.5, 2.0, 0.0, True),
        Candidate(d, 0.1, 1.0, 0.0, True),
    ]
    evolution.tell(rows)
    assert [p.arch for p in evolution._parents] == [c, b]


def test_what_was_predicted_is_forgotten_and_what_was_measured_is_not(space):
    rng = np.random.default_rng(0)
    a, b, c = list(dict.fromkeys(space.sample(rng) for _ in range(20)))[:3]
    evolution = Evolution(space, violation(1e9), seed=0, population=8)
    evolution.tell([Candidate(a, 0.9, 1.0, 0.0, False), Candidate(b, 0.5, 1.0, 0.0, True)])
    assert [p.arch for p in evolution._parents] == [a, b]
    evolution.tell([Candidate(c, 0.2, 1.0, 0.0, True)])
    assert [p.arch for p in evolution._parents] == [b, c]


def test_where_nothing_is_within_the_targets_the_closest_come(space):
    evolution = Evolution(space, violation(1), seed=0, population=5)
    evolution.MAX_TRIES = 10
    drawn = evolution.ask()
    rng = np.random.default_rng(0)
    tried = {spread(space, rng) for _ in range(50)}
    assert sorted(map(size, drawn)) == sorted(map(size, tried))[:5]


@pytest.mark.parametrize("bad", [{"population": 1}, {"parents": 0}, {"mutation": 1.5}])
def test_an_evolution_needs_sane_numbers(space, bad):
    with pytest.raises(ValueError, match=str(next(iter(bad.values())))):
        Evolution(space, violation(1e9), seed=0, **bad)


def test_sizes_are_spread_evenly(space):
    rng = np.random.default_rng(0)
    sizes = [size(spread(space, rng)) for _ in range(300)]
    uniform = [size(space.sample(rng)) for _ in range(300)]
    assert np.std(sizes) > 1.2 * np.std(uniform)


@pytest.fixture(scope="module")
def optuna():
    return pytest.importorskip("optuna")


def test_nsga2_gets_better(space, optuna, tmp_path):
    limit = 0.6 * size(space.largest)
    found = played(Nsga2(space, tmp_path / "s" / "optuna.log", 0, population=20), 8, limit)
    excess = [np.mean([c.violation for c in generation]) for generation in found]
    assert excess[-1] < 0.5 * excess[0]


def test_processes_share_a_study_and_one_goes_on(space, optuna, tmp_path):
    storage = tmp_path / "optuna.log"
    first, second = (Nsga2(space, storage, seed, population=6) for seed in (0, 1))
    asked = [s.ask() for s in (first, second)]
    assert asked[0] != asked[1]
    for strategy, archs in zip((first, second), asked, strict=True):
        strategy.tell(told(archs))
    assert first.num_finished == second.num_finished == 12
    later = Nsga2(space, storage, 0, population=6)
    assert later.num_finished == 12
    assert later.ask() != asked[0]


def test_nsga2_says_what_to_install(space, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ImportError, match=r"pc3d\[search\]"):
        Nsga2(space, tmp_path / "optuna.log", 0)
