"""The bootstrap against plain loops, scipy, and what can be said without either."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from pc3d.metrics import scores
from pc3d.runs import bootstrap
from pc3d.runs.bootstrap import compare
from tests.runs.folders import miou_of


def problem(num_scenes: int, num_classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Matrices of two networks with the same labels, of scenes of very unequal size."""
    generator = np.random.default_rng(seed)
    points = generator.integers(0, 60, size=(num_scenes, num_classes))
    points[0] *= 20
    points[1:, -1] = 0  # a class of the first scene alone, which many resamples lack
    shares = generator.dirichlet(np.ones(num_classes), size=(2, num_scenes, num_classes))
    shares[0] = 0.6 * shares[0] + 0.4 * np.eye(num_classes)
    ours, theirs = (generator.multinomial(points, shares[i]) for i in range(2))
    return ours, theirs


def test_the_difference_is_that_of_the_published_scores():
    ours, theirs = problem(7)
    found = compare(ours, theirs, 50)
    for miou, ious, matrices in zip(found.mious, found.ious, (ours, theirs), strict=True):
        expected = scores(torch.from_numpy(matrices.sum(axis=0)))
        assert miou == pytest.approx(expected.miou) == pytest.approx(miou_of(matrices.sum(axis=0)))
        np.testing.assert_allclose(ious, expected.iou.numpy())
    assert found.miou.difference == pytest.approx(found.mious[0] - found.mious[1])
    for c, interval in enumerate(found.classes):
        assert interval.difference == pytest.approx(found.ious[0, c] - found.ious[1, c])
    for scene, value in enumerate(found.scenes):
        assert value == pytest.approx(miou_of(ours[scene]) - miou_of(theirs[scene]))


@pytest.mark.parametrize("num_scenes", [3, 12])
def test_against_plain_loops(num_scenes):
    """With the same draws, one confusion matrix per resample, summed scene by scene."""
    ours, theirs = problem(num_scenes)
    found = compare(ours, theirs, 300, seed=3)
    draws = np.random.default_rng(3).multinomial(num_scenes, [1 / num_scenes] * num_scenes, 300)
    gaps, of_classes = [], []
    for draw in draws:
        sums = [np.zeros_like(ours[0]), np.zeros_like(theirs[0])]
        for scene, times in enumerate(draw):
            for _ in range(times):
                sums[0] = sums[0] + ours[scene]
                sums[1] = sums[1] + theirs[scene]
        gaps.append(miou_of(sums[0]) - miou_of(sums[1]))
        both = [scores(torch.from_numpy(matrix)).iou for matrix in sums]
        of_classes.append((both[0] - both[1]).numpy())
    low, high = np.percentile(gaps, [2.5, 97.5])
    assert (found.miou.low, found.miou.high) == pytest.approx((low, high))
    assert found.above == np.mean([gap > 0 for gap in gaps])
    for interval, values in zip(found.classes, np.array(of_classes).T, strict=True):
        low, high = np.nanpercentile(values, [2.5, 97.5])
        assert (interval.low, interval.high) == pytest.approx((low, high))


def test_against_scipy():
    """With draws of its own; without the scene that is larger than all others together."""
    ours, theirs = (matrices[1:] for matrices in problem(16))

    def difference(i: np.ndarray) -> float:
        scenes = i.astype(int)
        return miou_of(ours[scenes].sum(axis=0)) - miou_of(theirs[scenes].sum(axis=0))

    expected = stats.bootstrap(
        (np.arange(15),),
        difference,
        n_resamples=20_000,
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(5),
    )
    found = compare(ours, theirs)
    low, high = expected.confidence_interval
    assert found.miou.low == pytest.approx(low, abs=0.15 * expected.standard_error)
    assert found.miou.high == pytest.approx(high, abs=0.15 * expected.standard_error)


def test_two_scenes_can_be_written_down():
    """Of two scenes a resample is one of them twice (a quarter each) or both."""
    ours = np.array([[[7, 3], [2, 3]], [[4, 0], [0, 9]]])
    theirs = np.array([[[8, 2], [0, 5]], [[1, 3], [6, 3]]])
    gaps = [
        miou_of(2 * ours[0]) - miou_of(2 * theirs[0]),
        miou_of(ours.sum(axis=0)) - miou_of(theirs.sum(axis=0)),
        miou_of(2 * ours[1]) - miou_of(2 * theirs[1]),
    ]
    assert gaps[0] < 0 < gaps[1] < gaps[2]
    found = compare(ours, theirs)
    assert found.above == pytest.approx(0.75, abs=0.02) and found.equal == 0
    assert (found.miou.low, found.miou.high) == pytest.approx((gaps[0], gaps[2]))
    assert found.num_scenes == 2


def test_equal_predictions_are_equal_everywhere():
    ours, _ = problem(5)
    found = compare(ours, ours)
    assert (found.above, found.equal) == (0, 1)
    assert (found.miou.difference, found.miou.low, found.miou.high) == (0, 0, 0)


def test_both_networks_have_the_same_scenes_in_a_resample():
    """B is A with one point less right in every scene: however scenes vary, A is above B."""
    ours, _ = problem(12)
    ours[:, 0, 0] += 20
    theirs = ours.copy()
    theirs[:, 0, 0] -= 1
    theirs[:, 0, 1] += 1
    found = compare(ours, theirs)
    assert found.above == 1 and 0 < found.miou.low < found.miou.high < 0.05


def test_it_repeats_and_chunks_change_nothing_but_the_draws(monkeypatch):
    ours, theirs = problem(9)
    found = compare(ours, theirs)
    again = compare(ours, theirs)
    assert found.miou == again.miou and found.classes[:3] == again.classes[:3]
    assert compare(ours, theirs, seed=1).miou != found.miou
    monkeypatch.setattr(bootstrap, "_MAX_CELLS", 9 * 37)
    chunked = compare(ours, theirs)
    assert chunked.miou.low == pytest.approx(found.miou.low, rel=1e-12)  # one stream of draws


def test_absent_classes_and_scenes_without_labels():
    """Class 2 is nowhere; scene 1 has no labels, and is not drawn."""
    ours = np.zeros((3, 3, 3), dtype=np.int64)
    theirs = ours.copy()
    ours[0, :2, :2] = [[4, 1], [0, 3]]
    theirs[0, :2, :2] = [[5, 0], [1, 2]]
    ours[2, 0, 0] = theirs[2, 0, 0] = 2
    found = compare(ours, theirs, 200)
    assert found.num_scenes == 2
    assert found.miou == compare(ours[[0, 2]], theirs[[0, 2]], 200).miou
    assert math.isnan(found.scenes[1]) and not np.isnan(found.scenes[[0, 2]]).any()
    assert math.isnan(found.classes[2].difference) and math.isnan(found.classes[2].low)
    assert not math.isnan(found.classes[1].low)
    assert not math.isnan(found.miou.low)


def test_what_cannot_be_weighed_is_refused():
    ours, theirs = problem(4)
    with pytest.raises(ValueError, match="not matrices of the same scenes"):
        compare(ours, theirs[:3])
    other = theirs.copy()
    other[2, 0] = 0
    other[3, 0] += theirs[2, 0]  # the sums are the same
    with pytest.raises(ValueError, match="other labels"):
        compare(ours, other)
    with pytest.raises(ValueError, match="no scene has labels"):
        compare(np.zeros_like(ours), np.zeros_like(ours))
