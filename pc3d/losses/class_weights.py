"""From how often classes occur to their weights in a loss.

All take the number of labelled points of each class, and return one weight per class: of mean 1
over the classes that occur, 0 for a class that does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def inverse_frequency(counts: Sequence[int], power: float = 1.0) -> list[float]:
    """Weights in proportion to `frequency^-power`: 1 inverse, 0.5 its square root, 0 all equal."""
    return _of_mean_one(_counts(counts) ** -power)


def effective_number(counts: Sequence[int], beta: float) -> list[float]:
    """Class-balanced weights (Cui et al. 2019, arXiv 1901.05555): `(1 - beta) / (1 - beta^count)`.

    Args:
        counts: labelled points of each class.
        beta: `1 - 1 / N`, where N is the number of samples beyond which more of a class say nothing
            new. Classes with many more than N points get equal weights, those with far fewer get
            weights in inverse proportion to their frequency. Points of a scan are many: with the
            paper's 0.9999, for 10^4 images, nearly all classes would weigh the same.

    Raises:
        ValueError: `beta` outside [0, 1).
    """
    if not 0.0 <= beta < 1.0:
        raise ValueError(f"effective_number: beta must lie in [0, 1); got {beta}")
    return _of_mean_one((1.0 - beta) / (1.0 - beta ** _counts(counts)))


def log_frequency(counts: Sequence[int]) -> list[float]:
    """Weights in proportion to `-log(frequency)`: what SphereFormer, Pointcept and Volt print.

    The lists in their SemanticKITTI configurations are `-log` of the share of each class in all
    points, the 2 % of unlabelled ones included.

    Raises:
        ValueError: only one class occurs, so that its weight would be 0.
    """
    values = _counts(counts)
    frequency = values / values.nansum()
    if (frequency == 1).any():
        raise ValueError(f"log_frequency needs at least two classes that occur; got {counts}")
    return _of_mean_one(-frequency.log())


def _counts(counts: Sequence[int]) -> Tensor:
    """[C] float64, NaN for classes that do not occur."""
    values = torch.tensor(counts, dtype=torch.float64)
    if values.ndim != 1 or not (values >= 0).all() or not values.any():
        raise ValueError(
            f"class weights need the labelled points of each class, of at least one; got {counts}"
        )
    return values.where(values > 0, torch.nan)


def _of_mean_one(weights: Tensor) -> list[float]:
    return (weights / weights.nanmean()).nan_to_num(0.0).tolist()
