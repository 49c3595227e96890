"""The search for the best network within targets: measures what is promising, predicts the rest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from pc3d.search.arch import ArchSpec
from pc3d.search.costs import COSTS, ArchCost, MeasuredCosts
from pc3d.search.predictors import (
    Array,
    Level,
    Predictor,
    Table,
    WorkModel,
    held_out,
    relative_error,
)
from pc3d.search.space import Space
from pc3d.search.strategies import Candidate, Evolution, Strategy, spread
from pc3d.search.targets import Targets, shown

log = logging.getLogger(__name__)

_CHEAPEST_GENERATIONS = 20


@dataclass(frozen=True)
class Found:
    """An architecture that the search measured.

    Attributes:
        arch: the architecture.
        cost: measured.
        miou: on the held-out scenes; None where the cost was beyond a target.
        violation: of the targets, 0 if none.
    """

    arch: ArchSpec
    cost: ArchCost
    miou: float | None
    violation: float


@dataclass(frozen=True)
class Errors:
    """How well a cost is predicted: mean relative errors on architectures that were held out.

    Attributes:
        model: of `WorkModel`.
        table: of `Table`, the baseline.
    """

    model: float
    table: float


class CostModel:
    """Predicts all costs of architectures; each by the better of two models on held-out ones.

    Args:
        space: of the architectures.
        levels: of the scans, stride 1 first.
        archs: that were measured.
        costs: theirs.
    """

    def __init__(
        self,
        space: Space,
        levels: Sequence[Level],
        archs: Sequence[ArchSpec],
        costs: Sequence[ArchCost],
    ) -> None:
        self.measured = dict(zip(archs, costs, strict=True))
        alike = [Level(1.0, 1.0)] * len(levels)  # weights do not grow with scans
        self.errors: dict[str, Errors] = {}
        self._predictors: dict[str, Predictor] = {}
        for key in COSTS:
            work = WorkModel.fitted(space, alike if key == "parameters" else levels)
            fits = {"model": work, "table": Table.fitted(space)}
            values = np.array([float(getattr(cost, key)) for cost in costs])
            errors = {
                name: relative_error(held_out(fit, archs, values), values)
                for name, fit in fits.items()
            }
            self.errors[key] = Errors(**errors)
            best = min(errors, key=lambda name: errors[name])
            self._predictors[key] = fits[best](archs, values)

    def __call__(self, archs: Sequence[ArchSpec]) -> dict[str, Array]:
        """[A] predicted numbers of every cost."""
        return {key: predictor(archs) for key, predictor in self._predictors.items()}

    def violation(self, targets: Targets, archs: Sequence[ArchSpec]) -> list[float]:
        """Of the targets, for every architecture."""
        if not archs:
            return []
        predicted = self(archs)
        return [
            targets.violation({key: float(predicted[key][row]) for key in COSTS})
            for row in range(len(archs))
        ]


def measured_sample(
    space: Space,
    costs: MeasuredCosts,
    number: int,
    seed: int,
    told: Callable[[int, ArchSpec, ArchCost], object] = lambda *_: None,
) -> tuple[list[ArchSpec], list[ArchCost]]:
    """The smallest, the largest and others of all sizes with their costs, for a `CostModel`.

    Args:
        space: of the architectures.
        costs: measures them.
        number: of architectures.
        seed: of the choice.
        told: is given the number of every one as it is there, and what it costs.
    """
    rng = np.random.default_rng(seed)
    archs = dict.fromkeys([space.smallest, space.largest])
    for _ in range(100 * number):
        if len(archs) >= number:
            break
        archs[spread(space, rng)] = None
    found = []
    for arch in archs:
        found.append(costs.of(arch))
        told(len(found), arch, found[-1])
    return list(archs), found


class Search:
    """Looks for the network with the highest mIoU within targets.

    Every generation of a strategy is ranked by predictions, and the most promising architectures
    that are new are measured: first what they cost, and then, if that is within the targets, their
    mIoU. The predictor of mIoU learns from all of them. What was measured once, here or in another
    search, is not measured again; the result is the same.

    Args:
        space: of the architectures.
        targets: what a network may cost.
        costs: measures costs.
        cost_model: predicts them.
        fitness: mIoU of an architecture.
        evaluations: architectures that are measured at most.
        seed: of the search for the cheapest architecture, should there be no other.
    """

    def __init__(
        self,
        space: Space,
        targets: Targets,
        costs: MeasuredCosts,
        cost_model: CostModel,
        fitness: Callable[[ArchSpec], float],
        evaluations: int = 150,
        seed: int = 0,
    ) -> None:
        if evaluations < 2:
            raise ValueError(f"evaluations must be at least 2; got {evaluations}")
        self.space, self.targets, self.costs = space, targets, costs
        self.cost_model, self.fitness = cost_model, fitness
        self.evaluations, self.seed = evaluations, seed
        self.main_cost = next(iter(targets.limits))
        self.found: dict[ArchSpec, Found] = {}

    def check_feasible(self) -> None:
        """Refuse targets that no network keeps within.

        Raises:
            ValueError: says which network is the cheapest that was measured, and what it costs.
        """
        known = {**self.cost_model.measured}
        for arch in (self.space.smallest, self._cheapest()):
            known[arch] = self.costs.of(arch)
        excess = {arch: self.targets.violation(asdict(cost)) for arch, cost in known.items()}
        cheapest = min(excess, key=lambda arch: excess[arch])
        if excess[cheapest]:
            cost = asdict(known[cheapest])
            costs = ", ".join(f"{key} {shown(key, cost[key])}" for key in self.targets.limits)
            raise ValueError(
                f"no network of this supernet keeps within {self.targets}: the cheapest, "
                f"{cheapest.name}, has {costs}. Allow more, or train a supernet with smaller "
                "options"
            )

    def _cheapest(self) -> ArchSpec:
        """By predictions: an evolution towards the smallest excess over the targets."""
        limits = self.targets.limits
        evolution = Evolution(self.space, lambda archs: [0.0] * len(archs), self.seed)
        found: dict[ArchSpec, float] = {}
        for _ in range(_CHEAPEST_GENERATIONS):
            archs = evolution.ask()
            predicted = self.cost_model(archs)
            relative: Array = np.max([predicted[key] / limits[key] for key in limits], axis=0)
            excess = dict(zip(archs, relative.tolist(), strict=True))
            evolution.tell([Candidate(a, -cost, cost, 0.0, True) for a, cost in excess.items()])
            found |= excess
        return min(found, key=lambda arch: found[arch])

    def run(
        self,
        strategy: Strategy,
        generations: int = 20,
        told: Callable[[int, Search], object] = lambda *_: None,
    ) -> list[Found]:
        """Let a strategy look for networks.

        A third of the evaluations is for the first generation, so that there is something to
        predict from; the others are shared evenly.

        Args:
            strategy: proposes architectures.
            generations: how often it is asked.
            told: is given the number of each generation, after it.

        Returns:
            All that was measured, in that order.

        Raises:
            ValueError: see `check_feasible`.
        """
        self.check_feasible()
        first = max(1, self.evaluations // 3) if generations > 1 else self.evaluations
        for generation in range(generations):
            rest = (self.evaluations - first) * generation // max(1, generations - 1)
            archs = strategy.ask()
            self._measure(archs, first + rest - len(self.found))
            strategy.tell(self._scored(archs))
            told(generation, self)
        return list(self.found.values())

    @property
    def best(self) -> list[Found]:
        """What is within the targets, the highest mIoU first, of equal ones the cheaper."""
        within = [found for found in self.found.values() if found.miou is not None]
        return sorted(within, key=lambda f: (-(f.miou or 0.0), self._main(f)))

    @property
    def front(self) -> list[Found]:
        """Of `best` those that no cheaper one is as good as; the best one first."""
        kept: list[Found] = []
        for found in self.best:
            if not kept or self._main(found) < self._main(kept[-1]):
                kept.append(found)
        return kept

    def _main(self, found: Found) -> float:
        return float(getattr(found.cost, self.main_cost))

    def _measure(self, archs: Sequence[ArchSpec], number: int) -> None:
        """Measure the most promising new ones, within the targets as far as is predicted."""
        new = [arch for arch in dict.fromkeys(archs) if arch not in self.found]
        violations = self.cost_model.violation(self.targets, new)
        scores = self._predicted(new)
        order = sorted(range(len(new)), key=lambda i: (violations[i], -scores[i]))
        for i in order[: max(0, number)]:
            if violations[i] and self.found:
                break
            cost = self.costs.of(new[i])
            violation = self.targets.violation(asdict(cost))
            miou = None if violation else self.fitness(new[i])
            self.found[new[i]] = Found(new[i], cost, miou, violation)

    def _predicted(self, archs: Sequence[ArchSpec]) -> Array:
        """[A] mIoU, as learned from what was measured; 0 if that is nothing yet."""
        known = [(f.arch, f.miou) for f in self.found.values() if f.miou is not None]
        if len(known) < 2 or not archs:
            return np.zeros(len(archs))
        values = np.array([miou for _, miou in known])
        return Table.fitted(self.space)([arch for arch, _ in known], values)(archs)

    def _scored(self, archs: Sequence[ArchSpec]) -> list[Candidate]:
        scores = self._predicted(archs)
        predicted = self.cost_model(archs)
        violations = self.cost_model.violation(self.targets, archs)
        scored = []
        for row, arch in enumerate(archs):
            known = self.found.get(arch)
            if known is not None:
                miou = 0.0 if known.miou is None else known.miou
                scored.append(Candidate(arch, miou, self._main(known), known.violation, True))
                continue
            cost = float(predicted[self.main_cost][row])
            scored.append(Candidate(arch, float(scores[row]), cost, violations[row], False))
        return scored
