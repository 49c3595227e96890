"""Weights from counts: formulas, published lists, classes that do not occur."""

from __future__ import annotations

from functools import partial
from math import log, sqrt

import numpy as np
import pytest

from pc3d.losses import effective_number, inverse_frequency, log_frequency

COUNTS = [8_000_000, 40, 0, 1_000_000, 2]
EVERY = {
    "inverse": inverse_frequency,
    "square root": partial(inverse_frequency, power=0.5),
    "effective number": partial(effective_number, beta=0.999999),
    "log": log_frequency,
}

# The share of each class in all points of SemanticKITTI (its own statistics of training sequences),
# and the weights that SphereFormer, Pointcept and Volt have in their configurations.
SHARES = [
    0.042608, 0.00016610, 0.00039839, 0.0021649, 0.0018071, 0.00033758, 0.00012711, 3.7461e-05,
    0.19880, 0.014717, 0.14392, 0.0039049, 0.13269, 0.072359, 0.26682, 0.0060350, 0.078142,
    0.0028555, 0.00061560,
]  # fmt: skip
PUBLISHED = [
    3.1557, 8.7029, 7.8281, 6.1354, 6.3161, 7.9937, 8.9704, 10.1922, 1.6155, 4.2187, 1.9385, 5.5455,
    2.0198, 2.6261, 1.3212, 5.1102, 2.5492, 5.8585, 7.3929,
]  # fmt: skip


@pytest.mark.parametrize("weigh", EVERY.values(), ids=EVERY)
def test_rare_classes_weigh_more_and_absent_ones_nothing(weigh):
    weights = weigh(COUNTS)
    assert weights[2] == 0.0
    assert weights[4] > weights[1] > weights[3] > weights[0] > 0
    assert sum(weights) / 4 == pytest.approx(1.0)
    assert weigh(COUNTS[::-1]) == pytest.approx(weights[::-1])


@pytest.mark.parametrize("weigh", EVERY.values(), ids=EVERY)
def test_equal_counts_give_equal_weights(weigh):
    assert weigh([70, 70, 70]) == pytest.approx([1.0] * 3)


@pytest.mark.parametrize("weigh", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize("counts", [[], [0, 0], [3, -1], [[1, 2]]])
def test_senseless_counts_are_refused(weigh, counts):
    with pytest.raises(ValueError, match="class weights need"):
        weigh(counts)


def test_inverse_frequency_by_hand():
    assert inverse_frequency([1, 3]) == pytest.approx([1.5, 0.5])
    root = inverse_frequency([1, 4, 16], power=0.5)
    assert root == pytest.approx([x * 3 / 1.75 for x in (1, 0.5, 0.25)])
    assert inverse_frequency([1, 4, 16], power=0.0) == [1.0] * 3


def test_effective_number_by_hand():
    """beta 0.5: 1 sample counts 1, 2 count 1.5, 3 count 1.75."""
    weights = np.array([1, 1 / 1.5, 1 / 1.75])
    assert effective_number([1, 2, 3], beta=0.5) == pytest.approx(
        (weights / weights.mean()).tolist()
    )
    assert effective_number([1, 2, 300], beta=0.0) == pytest.approx([1.0] * 3)


def test_effective_number_saturates_at_its_number_of_samples():
    """Far above 1 / (1 - beta) = 10^6 classes weigh the same, far below in inverse proportion."""
    weights = effective_number([10, 1000, 10**9, 10**10], beta=0.999999)
    assert weights[0] / weights[1] == pytest.approx(100, rel=1e-2)
    assert weights[2] == pytest.approx(weights[3])


def test_log_frequency_by_hand():
    weights = log_frequency([1, 3])
    assert weights[0] / weights[1] == pytest.approx(log(4) / log(4 / 3))
    assert sqrt(weights[0] * weights[1]) < 1


def test_log_frequency_is_what_recipes_print():
    """To the last digit if unlabelled points are a class of their own, to 1 % without them."""
    unlabelled = 1 - sum(SHARES)
    weights = np.array(log_frequency([round(s * 10**10) for s in (*SHARES, unlabelled)])[:-1])
    np.testing.assert_allclose(weights / weights[0] * PUBLISHED[0], PUBLISHED, rtol=2e-4)
    labelled = np.array(log_frequency([round(s * 10**10) for s in SHARES]))
    ratio = labelled / np.array(PUBLISHED)
    np.testing.assert_allclose(ratio / ratio.mean(), 1.0, atol=0.03)


def test_one_class_has_no_log_weight():
    with pytest.raises(ValueError, match="at least two classes"):
        log_frequency([0, 5, 0])


@pytest.mark.parametrize("beta", [-0.1, 1.0, 2.0])
def test_a_senseless_beta_is_refused(beta):
    with pytest.raises(ValueError, match=r"beta must lie in \[0, 1\)"):
        effective_number([1, 2], beta=beta)
