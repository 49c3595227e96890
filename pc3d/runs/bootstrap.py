"""What the difference of two networks would be on other scenes: a paired bootstrap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
CONFIDENCE = 0.95
_MAX_CELLS = 2_000_000
"""Numbers of scenes in resamples that exist at a time."""
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A difference and the percentile interval of its resamples.

    Attributes:
        difference: on the scenes as they are.
        low, high: ends of the interval.
    """

    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Network A minus network B.

    Attributes:
        mious: of A and B.
        miou: their difference.
        above, equal: the shares of resamples in which the mIoU of A is above that of B, and the
            same.
        ious: [2, C], of A and B, NaN where a class is absent.
        classes: their differences; NaN where one of both is absent, or in every resample.
        scenes: [S] mIoU of A minus that of B in every scene, NaN where a scene has no labels.
        num_scenes: scenes with labels, which are resampled.
    """

    mious: tuple[float, float]
    miou: Interval
    above: float
    equal: float
    ious: Numbers
    classes: tuple[Interval, ...]
    scenes: Numbers
    num_scenes: int


def compare(
    ours: NDArray[np.int64],
    theirs: NDArray[np.int64],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Weigh two networks on the same scenes.

    A resample draws as many scenes as there are, with replacement (Efron & Tibshirani, An
    Introduction to the Bootstrap, 1993, chapter 13: percentile intervals). Both networks are scored
    on the same scenes, by one confusion matrix that is the sum over the draws. mIoU is the mean
    over classes that occur in labels or predictions (`pc3d.metrics.scores`), in a resample those of
    the resample.

    Args:
        ours: [S, C, C] confusion matrices of the scenes, row = true class; of A.
        theirs: the same of B.
        resamples: how many.
        seed: of the draws.

    Raises:
        ValueError: other shapes, no labels at all, or another number of points of a class in a
            scene: the networks were not scored against the same labels.
    """
    if ours.shape != theirs.shape:
        raise ValueError(f"{ours.shape} and {theirs.shape} are not matrices of the same scenes")
    labels = ours.sum(axis=2)
    if not np.array_equal(labels, theirs.sum(axis=2)):
        raise ValueError("a scene has other labels in one of both")
    labelled = labels.any(axis=1)
    if not labelled.any():
        raise ValueError("no scene has labels")
    counts = np.concatenate([_margins(ours), _margins(theirs)], axis=1)  # [S, 2 * 3 * C]
    point = _ious(counts.sum(axis=0, keepdims=True))
    drawn = [_ious(sums) for sums in _resampled(counts[labelled], resamples, seed)]
    ious = np.concatenate(drawn)  # [R, 2, C]
    miou, mious = _mean(point)[0], _mean(ious)
    gaps = mious[:, 0] - mious[:, 1]
    ours_by_scene, theirs_by_scene = _mean(_ious(counts)).T
    return Comparison(
        mious=(float(miou[0]), float(miou[1])),
        miou=_interval(float(miou[0] - miou[1]), gaps),
        above=float((gaps > 0).mean()),
        equal=float((gaps == 0).mean()),
        ious=point[0],
        classes=tuple(
            _interval(float(difference), values)
            for difference, values in zip(
                point[0, 0] - point[0, 1], (ious[:, 0] - ious[:, 1]).T, strict=True
            )
        ),
        scenes=np.where(labelled, ours_by_scene - theirs_by_scene, np.nan),
        num_scenes=int(labelled.sum()),
    )


def _margins(matrices: NDArray[np.int64]) -> Numbers:
    """[S, 3 * C]: all that an IoU needs of [S, C, C] matrices. Exact: counts stay below 2^53."""
    hits = matrices.diagonal(axis1=1, axis2=2)
    return np.concatenate([hits, matrices.sum(axis=2), matrices.sum(axis=1)], axis=1).astype(float)


def _ious(sums: Numbers) -> Numbers:
    """[R, 2, C] IoU from [R, 2 * 3 * C] sums, NaN where a class is absent."""
    parts = sums.reshape(len(sums), 2, 3, -1)
    hits, labels, predictions = parts[:, :, 0], parts[:, :, 1], parts[:, :, 2]
    union = labels + predictions - hits
    return np.divide(hits, union, out=np.full_like(hits, np.nan), where=union > 0)


def _mean(ious: Numbers) -> Numbers:
    """The mean over classes, NaN where none occurs."""
    occurs = ~np.isnan(ious)
    count = occurs.sum(axis=-1)
    total = np.where(occurs, ious, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def _resampled(counts: Numbers, resamples: int, seed: int) -> Iterator[Numbers]:
    """Sums over drawn scenes, [r, K] at a time: how often each was drawn times its counts."""
    generator = np.random.default_rng(seed)
    num_scenes = len(counts)
    chunk = max(1, _MAX_CELLS // num_scenes)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        draws = generator.multinomial(num_scenes, np.full(num_scenes, 1 / num_scenes), size=size)
        yield draws.astype(float) @ counts


def _interval(difference: float, values: Numbers) -> Interval:
    values = values[~np.isnan(values)]
    if np.isnan(difference) or not len(values):
        return Interval(difference, float("nan"), float("nan"))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, (tail, 1 - tail))
    return Interval(difference, float(low), float(high))
