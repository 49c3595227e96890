"""Costs and scores of architectures that were not measured, from those of others that were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from pc3d.search.arch import GENES, ArchSpec
from pc3d.search.space import SearchSpace

Array = NDArray[np.float64]
FOLDS = 5
"""Parts of the measured architectures, each of which is once held out."""


class Predictor(Protocol):
    """Predicts one number of architectures; made of architectures and their numbers."""

    def __call__(self, archs: Sequence[ArchSpec]) -> Array: ...


Fit = Callable[[Sequence[ArchSpec], Array], Predictor]


@dataclass(frozen=True)
class WorkModel:
    """A sum of kinds of work, each at a price of 0 or more (non-negative least squares).

    The kinds are those that arithmetic and memory traffic grow with: products of widths and widths
    alone, times the voxels of a stage, for every kind of block and for transitions; and a constant
    per block. Errors count relative to the measured number.

    Args:
        space: of the architectures.
        voxels: mean number per level, stride 1 first.
        archs, values: that were measured.
    """

    space: SearchSpace
    voxels: Sequence[float]
    prices: Array

    @classmethod
    def fitted(cls, space: SearchSpace, voxels: Sequence[float]) -> Fit:
        """Fits such a model."""

        def fit(archs: Sequence[ArchSpec], values: Array) -> WorkModel:
            work = work_of(space, voxels, archs)
            scale = np.maximum(work.max(axis=0), 1e-30)
            prices, _ = nnls(work / scale / values[:, None], np.ones(len(values)), maxiter=10_000)
            return cls(space, voxels, prices / scale)

        return fit

    def __call__(self, archs: Sequence[ArchSpec]) -> Array:
        """[A] predicted numbers."""
        predicted: Array = work_of(self.space, self.voxels, archs) @ self.prices
        return predicted


@dataclass(frozen=True)
class Table:
    """A number for every option of every gene, which add up: ridge regression on options.

    Args:
        space: of the architectures.
    """

    space: SearchSpace
    constant: float
    table: Array

    @classmethod
    def fitted(cls, space: SearchSpace, strength: float = 1.0) -> Fit:
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


def work_of(space: SearchSpace, voxels: Sequence[float], archs: Sequence[ArchSpec]) -> Array:
    """[A, K] amounts of every kind of work; the first is 1."""
    kinds = sorted({kind for options in space.stages for kind in options.block})
    return np.array([_work(space, kinds, voxels, arch) for arch in archs])


def _work(
    space: SearchSpace, kinds: Sequence[str], voxels: Sequence[float], arch: ArchSpec
) -> list[float]:
    num_levels = len(arch.stages) // 2
    per_kind = {kind: np.zeros(7) for kind in kinds}
    moved = np.zeros(3)
    channels = space.stem_channels
    skips: list[int] = []
    for number, stage in enumerate(arch.stages):
        down = number < num_levels
        level = number + 1 if down else 2 * num_levels - 1 - number
        count = voxels[level]
        if down:
            skips.append(channels)
        entering = stage.transition + (0 if down else skips.pop())
        fine = voxels[level - 1] if down else count
        moved += fine * channels * stage.transition, count * stage.transition, 1
        expansion, codes = stage.expansion or 1, stage.codes or 1
        width, more = stage.width, stage.depth - 1
        products = entering * width + more * width**2
        widths = entering + width + 2 * more * width
        wide = stage.depth * width * expansion
        per_kind[stage.block] += (
            count * products,
            count * products * expansion,
            count * widths,
            count * wide,
            count * wide * codes,
            count * stage.depth * (stage.groups or 1) * codes,
            stage.depth,
        )
        channels = width
    return [1.0, *moved, *np.concatenate(list(per_kind.values()))]


def options_of(space: SearchSpace, archs: Sequence[ArchSpec]) -> Array:
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
