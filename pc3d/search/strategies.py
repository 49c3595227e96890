"""Which architectures a search looks at next: constrained evolution, and NSGA-II of Optuna."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pc3d.search.arch import ArchSpec
from pc3d.search.space import Space


@dataclass(frozen=True)
class Candidate:
    """An architecture and what is known or predicted of it.

    Attributes:
        arch: the architecture.
        score: mIoU.
        cost: what is to be small beside it, such as the latency.
        violation: of the targets, 0 if none.
        is_measured: not predicted.
    """

    arch: ArchSpec
    score: float
    cost: float
    violation: float
    is_measured: bool


class Strategy(Protocol):
    """Proposes generations of architectures, and learns how good they are."""

    def ask(self) -> list[ArchSpec]:
        """The next generation."""
        ...

    def tell(self, generation: Sequence[Candidate]) -> None:
        """What came of it, in its order."""
        ...


class Evolution:
    """Constrained evolution (Once-for-All, Cai et al. 2020, arXiv 1908.09791).

    Of all architectures so far the best are parents; half of a generation are mutations of one,
    half crossovers of two. What would not keep within the targets is not proposed.

    Args:
        space: of the architectures.
        violation: of the targets, predicted, for several architectures.
        seed: of all choices.
        population: architectures of a generation.
        parents: fraction of the population that is kept.
        mutation: probability of each gene to be drawn anew.

    Raises:
        ValueError: a population without parents, or a probability outside (0, 1].
    """

    MAX_TRIES = 100
    """Proposals per architecture of a generation, after which the least violating are taken."""

    def __init__(
        self,
        space: Space,
        violation: Callable[[Sequence[ArchSpec]], Sequence[float]],
        seed: int,
        population: int = 50,
        parents: float = 0.25,
        mutation: float = 0.1,
    ) -> None:
        if population < 2 or not 0 < parents <= 1 or not 0 < mutation <= 1:
            raise ValueError(
                "expected a population of at least 2, and parents and mutation in (0, 1]; got "
                f"{population}, {parents} and {mutation}"
            )
        self.space, self.violation = space, violation
        self.population, self.mutation = population, mutation
        self.num_parents = max(2, round(parents * population))
        self._rng = np.random.default_rng(seed)
        self._parents: list[Candidate] = []
        self._measured: dict[ArchSpec, Candidate] = {}

    def ask(self) -> list[ArchSpec]:
        """Different architectures, within the targets where enough of them could be found."""
        make = self._child if self._parents else lambda: spread(self.space, self._rng)
        kept: list[ArchSpec] = []
        spare: dict[ArchSpec, float] = {}
        seen = {candidate.arch for candidate in self._parents}
        for _ in range(self.MAX_TRIES):
            batch = [arch for arch in (make() for _ in range(self.population)) if arch not in seen]
            seen.update(batch)
            batch = list(dict.fromkeys(batch))
            for arch, excess in zip(batch, self.violation(batch), strict=True):
                if excess:
                    spare[arch] = excess
                else:
                    kept.append(arch)
            if len(kept) >= self.population:
                break
        closest = sorted(spare, key=lambda arch: spare[arch])
        return (kept + closest)[: self.population]

    def tell(self, generation: Sequence[Candidate]) -> None:
        """The best of these and of all that were measured are the next parents.

        What was predicted is not kept for longer, as predictions become better.
        """
        self._measured |= {c.arch: c for c in generation if c.is_measured}
        known = {candidate.arch: candidate for candidate in generation} | self._measured
        ranked = sorted(known.values(), key=lambda c: (c.violation, -c.score, c.cost))
        self._parents = ranked[: self.num_parents]

    def _child(self) -> ArchSpec:
        first, second = (
            self._parents[int(i)].arch for i in self._rng.integers(len(self._parents), size=2)
        )
        if self._rng.random() < 0.5:
            return self.space.mutate(first, self.mutation, self._rng)
        return self.space.crossover(first, second, self._rng)


class Nsga2:
    """NSGA-II of Optuna (Deb et al. 2002): mIoU and cost together, several processes on one study.

    Args:
        space: of the architectures.
        storage: file of the study, which other processes may share; made if it is not there.
        seed: of all choices; processes that share a study need different ones.
        population: architectures of a generation.

    Raises:
        ImportError: Optuna is not installed.
    """

    def __init__(self, space: Space, storage: Path, seed: int, population: int = 50) -> None:
        try:
            import optuna
            from optuna.storages.journal import JournalFileBackend, JournalStorage
        except ImportError as error:
            raise ImportError(
                "search.strategy=nsga2 needs Optuna: pip install 'pc3d[search]', or take "
                "strategy=evolution"
            ) from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage.parent.mkdir(parents=True, exist_ok=True)
        self.space, self.population = space, population
        kept = JournalStorage(JournalFileBackend(str(storage)))
        self._study = optuna.create_study(
            study_name="search",
            storage=kept,
            load_if_exists=True,
            directions=["maximize", "minimize"],
        )
        self._study.sampler = optuna.samplers.NSGAIISampler(
            population_size=population,
            seed=seed + len(self._study.trials),  # a study that goes on draws anew
        )
        self._asked: list[Any] = []

    @property
    def num_finished(self) -> int:
        """Architectures that the study knows the results of."""
        return sum(trial.state.is_finished() for trial in self._study.trials)

    def ask(self) -> list[ArchSpec]:
        """As the study suggests; an architecture may come again."""
        self._asked = [self._study.ask() for _ in range(self.population)]
        return [self.space.suggest(trial.suggest_categorical) for trial in self._asked]

    def tell(self, generation: Sequence[Candidate]) -> None:
        """Give the study the results of the architectures that were asked for last."""
        for trial, candidate in zip(self._asked, generation, strict=True):
            trial.set_constraint("targets", candidate.violation)
            trial.set_user_attr("arch", candidate.arch.name)
            self._study.tell(trial, [candidate.score, candidate.cost])
        self._asked = []


def spread(space: Space, rng: np.random.Generator) -> ArchSpec:
    """An architecture at random; from the smallest to the largest all sizes are about as frequent.

    Where every gene is drawn uniformly, nearly all are of middling size. Here every architecture
    has a size of its own, and about half of its genes follow it.
    """
    size = rng.random()

    def pick(_: str, options: Sequence[Any]) -> Any:
        anywhere, place = rng.random(2)
        if anywhere < 0.5 or isinstance(options[0], str):
            return options[int(place * len(options))]
        return sorted(options)[min(len(options) - 1, int(size * len(options)))]

    return space.suggest(pick)
