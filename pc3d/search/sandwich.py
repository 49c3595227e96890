"""Which architectures a training step runs: the sandwich rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pc3d.search.arch import ArchSpec
from pc3d.search.space import Space


@dataclass(frozen=True)
class Sandwich:
    """The largest, the smallest and some random architectures in every step.

    After Yu & Huang 2019 (arXiv 1903.05134) and BigNAS (Yu et al. 2020, arXiv 2003.11142).

    Args:
        num_random: random architectures beside the largest and the smallest.
        warmup: fraction of the training in which the largest is trained alone.
        per_rank: every process draws its own random architectures; else all draw the same.
        seed: of the draws.
        temperature: of the distillation.

    Raises:
        ValueError: a negative number, a fraction outside [0, 1), a temperature of 0 or less.
    """

    num_random: int = 2
    warmup: float = 0.0
    per_rank: bool = False
    seed: int = 0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.num_random < 0 or self.seed < 0:
            raise ValueError(
                "sandwich.num_random and sandwich.seed must not be negative; got "
                f"{self.num_random} and {self.seed}"
            )
        if not 0 <= self.warmup < 1:
            raise ValueError(f"sandwich.warmup must be in [0, 1); got {self.warmup}")
        if not self.temperature > 0:
            raise ValueError(f"sandwich.temperature must be above 0; got {self.temperature}")

    def draw(self, space: Space, step: int, progress: float, rank: int) -> list[ArchSpec]:
        """The architectures of a step, the largest first: a function of seed and step alone.

        Args:
            space: what they are drawn from.
            step: of the training.
            progress: part of the training that is done.
            rank: of the process.
        """
        if progress < self.warmup:
            return [space.largest]
        key = [self.seed, step, *([rank] if self.per_rank else [])]
        rng = np.random.default_rng(key)
        drawn = [space.sample(rng) for _ in range(self.num_random)]
        return [space.largest, space.smallest, *drawn]
