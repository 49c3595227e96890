"""The official rules by hand, and that our evaluator agrees where the protocols coincide."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pc3d.data.specs import SCANNET20, SEMANTICKITTI19
from pc3d.metrics import count_pairs, scores
from pc3d.metrics.official import nuscenes, scannet, semantic_kitti

VALID = (1, 2, 39)
LEARNING_MAP = {0: 0, 52: 0, 10: 1, 252: 1, 40: 2, 81: 3}
# nuScenes: raw ids of the label files to the coarse classes, 0 is void
COARSE = {0: 0, 9: 1, 14: 2, 15: 3, 16: 3, 31: 0}


def ids(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def test_scannet_by_hand():
    """40 is no class: as truth it does not count, as prediction it is a miss and no more."""
    truth = ids(1, 1, 1, 1, 2, 2, 40, 0)
    prediction = ids(1, 2, 40, 1, 2, 0, 1, 2)
    result = scannet(prediction, truth, VALID)
    # wall: 2 hits, 2 misses (one UNKNOWN); the wall on the point of truth 40 is no false positive
    # floor: 1 hit, 1 miss (UNKNOWN), 1 false positive of a wall; class 39 is nowhere
    np.testing.assert_allclose(result.iou, [2 / 4, 1 / 3, math.nan])
    assert result.miou == pytest.approx((2 / 4 + 1 / 3) / 2)


def test_scannet_counts_a_class_that_is_only_predicted():
    result = scannet(ids(1, 39), ids(1, 1), VALID)
    np.testing.assert_allclose(result.iou, [1 / 2, math.nan, 0])
    assert result.miou == pytest.approx(1 / 4)


def test_scannet_of_nothing():
    assert math.isnan(scannet(ids(), ids(), VALID).miou)


def test_semantic_kitti_by_hand():
    """52 is ignored: as truth it does not count, as prediction it is a miss."""
    truth = ids(10, 252, 10, 40, 40, 52, 0)
    prediction = ids(10, 10, 52, 40, 252, 40, 10)
    result = semantic_kitti(prediction, truth, LEARNING_MAP)
    # car: 2 hits, 1 miss (predicted as ignored), 1 false positive; road: 1 hit, 1 miss; no sign
    np.testing.assert_allclose(result.iou, [2 / 4, 1 / 2, 0])
    assert result.miou == pytest.approx((2 / 4 + 1 / 2 + 0) / 3)
    assert result.further["accuracy"] == pytest.approx(3 / (3 + 1))


def test_semantic_kitti_ignores_ids_that_the_map_does_not_know():
    result = semantic_kitti(ids(10, 77), ids(77, 10), LEARNING_MAP)
    np.testing.assert_allclose(result.iou, [0, 0, 0])


def test_nuscenes_by_hand():
    truth = ids(9, 9, 9, 15, 31, 0)
    prediction = ids(1, 1, 3, 3, 1, 2)
    result = nuscenes(prediction, truth, COARSE)
    # barrier: 2 of 3; bus: 1 hit, 1 false positive; bicycle is predicted on void only: absent
    np.testing.assert_allclose(result.iou, [2 / 3, math.nan, 1 / 2])
    assert result.miou == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert result.further["fwiou"] == pytest.approx((3 * 2 / 3 + 1 * 1 / 2) / 4)


@pytest.mark.parametrize("wrong", [0, 4])
def test_nuscenes_refuses_predictions_that_are_no_class(wrong):
    with pytest.raises(ValueError, match=r"classes 1\.\.3; got"):
        nuscenes(ids(1, wrong), ids(9, 9), COARSE)


def test_nuscenes_of_void_only():
    result = nuscenes(ids(1, 2), ids(0, 31), COARSE)
    assert math.isnan(result.miou) and math.isnan(result.further["fwiou"])


@pytest.mark.parametrize(
    ("rule", "table"), [(scannet, VALID), (semantic_kitti, LEARNING_MAP), (nuscenes, COARSE)]
)
def test_every_point_needs_a_prediction_and_a_label(rule, table):
    with pytest.raises(ValueError, match="one prediction and one label"):
        rule(ids(1, 1), ids(1, 1, 1), table)


AGREEMENTS = {
    "ScanNet": (SCANNET20, "nan", lambda p, t: scannet(p, t, SCANNET20.raw_ids)),
    "semantic-kitti-api": (
        SEMANTICKITTI19,
        "zero",
        lambda p, t: semantic_kitti(p, t, one_based(SEMANTICKITTI19)),
    ),
    "nuscenes-devkit": (
        SEMANTICKITTI19,
        "nan",
        lambda p, t: nuscenes(SEMANTICKITTI19.to_class(p, "") + 1, t, one_based(SEMANTICKITTI19)),
    ),
}


@pytest.mark.parametrize("num_points", [15, 4000])
@pytest.mark.parametrize("name", AGREEMENTS)
def test_our_evaluator_agrees(name, num_points):
    """Predictions that are classes; of 15 points some classes are in neither."""
    spec, absent, rule = AGREEMENTS[name]
    rng = np.random.default_rng(num_points)
    raw = rng.choice(sorted(spec.raw_to_class), num_points)
    truth = spec.to_class(raw, "")
    right = (rng.random(num_points) < 0.6) & (truth >= 0)
    classes = np.where(right, truth, rng.integers(0, spec.num_classes, num_points))
    official = rule(spec.to_raw(classes), raw)
    matrix = count_pairs(torch.from_numpy(classes), torch.from_numpy(truth), spec.num_classes)
    ours = scores(matrix, absent)
    np.testing.assert_allclose(official.iou, ours.iou, rtol=1e-12)
    assert official.miou == pytest.approx(ours.miou, rel=1e-12)
    if "accuracy" in official.further:
        assert official.further["accuracy"] == pytest.approx(ours.oa, rel=1e-12)
    assert (num_points == 15) == (scores(matrix, "nan").miou != scores(matrix, "zero").miou)


def one_based(spec) -> dict[int, int]:
    """A learning map as the official tools have it: 0 is ignored."""
    return {raw: index + 1 for raw, index in spec.raw_to_class.items()}


def test_pooled_folds_are_the_scenes_together():
    """Three scenes in two folds: the sum of the matrices is what the official rule counts."""
    folds = [(ids(1, 2, 2, 1), ids(1, 1, 2, 2)), (ids(2, 2, 39), ids(2, 2, 39))]
    matrix = torch.zeros(3, 3, dtype=torch.int64)
    mious = []
    for prediction, truth in folds:
        classes = (torch.from_numpy(np.searchsorted(VALID, x)) for x in (prediction, truth))
        matrix += (counted := count_pairs(*classes, 3))
        mious.append(scores(counted).miou)
    pooled = scannet(*(np.concatenate(side) for side in zip(*folds, strict=True)), VALID)
    # wall 1 hit, 1 miss, 1 false positive; floor 3 hits, 1 miss, 1 false positive; 39 all right
    assert pooled.miou == pytest.approx((1 / 3 + 3 / 5 + 1) / 3)
    assert scores(matrix).miou == pytest.approx(pooled.miou)
    assert np.mean(mious) == pytest.approx((1 / 3 + 1) / 2)  # another number
