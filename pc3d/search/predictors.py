"""Costs and scores of architectures that were not measured, from those of others that were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from pc3d.search.arch import GENES, ArchSpec
from pc3d.search.space import Space

Array = NDArray[np.float64]
FOLDS = 5
"""Parts of the measured architectures, each of which is once held out."""


class Level(NamedTuple):
    """Sizes at one stride, means of the scans.

    Attributes:
        voxels: number of them.
        pairs: of voxels that are neighbours, each one with itself included.
    """

    voxels: float
    pairs: float


class Predictor(Protocol):
    """Predicts one number of architectures; made of architectures and their numbers."""

    def __call__(self, archs: Sequence[ArchSpec]) -> Array: ...


Fit = Callable[[Sequence[ArchSpec], Array], Predictor]


@dataclass(frozen=True)
class WorkModel:
    """A sum of kinds of work, each at a price of 0 or more (non-negative least squares).

    The kinds are those that arithmetic and memory traffic grow with: products of widths and widths
    alone, times the voxels of a stage or its pairs of neighbours, for every kind of block and for
    transitions; and a constant per block. Errors count relative to the measured number.

    Args:
        space: of the architectures.
        levels: of the scans, stride 1 first.
        archs, values: that were measured.
    """

    space: Space
    levels: Sequence[Level]
    prices: Array

    @classmethod
    def fitted(cls, space: Space, levels: Sequence[Level]) -> Fit:
        """Fits such a model."""

        def fit(archs: Sequence[ArchSpec], values: Array) -> WorkModel:
            work = work_of(space, levels, archs)
            scale = np.maximum(work.max(axis=0), 1e-30)
            prices, _ = nnls(work / scale / values[:, None], np.ones(len(values)), maxiter=10_000)
            return cls(space, levels, prices / scale)

        return fit

    def __call__(self, archs: Sequence[ArchSpec]) -> Array:
        """[A] predicted numbers."""
        predicted: Array = work_of(self.space, self.levels, archs) @ self.prices
        return predicted


@dataclass(frozen=True)
class Table:
    """A number for every option of every gene, which add up: ridge regression on options.

    Args:
        space: of the architectures.
    """

    space: Space
    constant: float
    table: Array

    @classmethod
    def fitted(cls, space: Space, strength: float = 1.0) -> Fit:
        """Fits such a table; `strength` is that of the ridge."""

        def fit(archs: Sequence[ArchSpec], values: Array) -> Table:
            chosen = options_of(space, archs)
            constant = float(values.mean())
            centre = chosen.mean(axis=0)
            inner = chosen - centre
            matrix = inner.T @ inner + strength * np.eye(inner.shape[1])
            table = np.linalg.solve(matrix, inner.T @ (values - constant))
            return cls(space, constant - float(centre @ table), table)

        return fit

    def __call__(self, archs: Sequence[ArchSpec]) -> Array:
        """[A] predicted numbers."""
        predicted: Array = self.constant + options_of(self.space, archs) @ self.table
        return predicted


def held_out(fit: Fit, archs: Sequence[ArchSpec], values: Array) -> Array:
    """[A] every number as predicted without it: cross-validation in `FOLDS` parts."""
    part = np.arange(len(archs)) % FOLDS
    found = np.zeros(len(archs))
    for fold in range(FOLDS):
        inside = [arch for arch, p in zip(archs, part, strict=True) if p != fold]
        outside = [arch for arch, p in zip(archs, part, strict=True) if p == fold]
        if outside:
            found[part == fold] = fit(inside, values[part != fold])(outside)
    return found


def relative_error(predicted: Array, values: Array) -> float:
    """Mean of |predicted - value| / value."""
    return float(np.mean(np.abs(predicted - values) / np.abs(values)))


def work_of(space: Space, levels: Sequence[Level], archs: Sequence[ArchSpec]) -> Array:
    """[A, K] amounts of every kind of work; the first is 1."""
    kinds = sorted({kind for options in space.stages for kind in options.block})
    return np.array([_work(space, kinds, levels, arch) for arch in archs])


def _work(
    space: Space, kinds: Sequence[str], levels: Sequence[Level], arch: ArchSpec
) -> list[float]:
    num_levels = len(arch.stages) // 2
    per_kind = {kind: np.zeros(9) for kind in kinds}
    transitions, held = np.zeros(3), []
    channels, skips = space.stem_channels(arch), []
    for number, stage in enumerate(arch.stages):
        down = number < num_levels
        level = number + 1 if down else 2 * num_levels - 1 - number
        voxels, pairs = levels[level]
        if down:
            skips.append(channels)
        entering = stage.transition + (0 if down else skips.pop())
        finer = levels[level - 1].voxels if down else voxels
        transitions += finer * channels * stage.transition, voxels * stage.transition, 1
        expansion, codes, groups = stage.expansion or 1, stage.codes or 1, stage.groups or 1
        width, more = stage.width, stage.depth - 1
        inputs = entering + more * width
        wide = stage.depth * width * expansion
        per_kind[stage.block] += (
            voxels * inputs * width,
            voxels * inputs * width * expansion,
            voxels * stage.depth * width**2 * expansion,
            pairs * inputs * width + pairs * stage.depth * width**2,
            voxels * inputs,
            voxels * wide,
            pairs * wide * codes,
            voxels * inputs * groups * codes,
            stage.depth,
        )
        held.append(voxels * (entering + width * expansion))
        channels = width
    return [1.0, *transitions, *held, *np.concatenate(list(per_kind.values()))]


def options_of(space: Space, archs: Sequence[ArchSpec]) -> Array:
    """[A, K] of 0 and 1: whether an architecture has an option of a gene in a stage."""
    columns: dict[tuple[int, str, object], int] = {}
    for number, options in enumerate(space.stages):
        transitions = {t for w in options.width for t in space.transitions(number, w)}
        for gene in GENES:
            values = sorted(transitions) if gene == "transition" else getattr(options, gene)
            for value in values:
                columns[number, gene, value] = len(columns)
    found = np.zeros((len(archs), len(columns)))
    for row, arch in enumerate(archs):
        for number, stage in enumerate(arch.stages):
            for gene in GENES:
                value = getattr(stage, gene)
                if value is not None:
                    found[row, columns[number, gene, value]] = 1.0
    return found
