"""The confusion matrix, counted by hand."""

from __future__ import annotations

import pytest
import torch

from pc3d.metrics import ConfusionMatrix

PREDICTION = torch.tensor([0, 0, 1, 2, 2, 2, 1, 0])
TARGET = torch.tensor([0, 1, 1, 2, 0, 2, -1, -1])
EXPECTED = [[1, 0, 1], [1, 1, 0], [0, 0, 2]]


def test_rows_are_true_classes_and_columns_predictions():
    metric = ConfusionMatrix(3)
    metric.update(PREDICTION, TARGET)
    assert metric.compute().tolist() == EXPECTED
    assert metric.compute().dtype == torch.int64


def test_updates_add_up_over_scenes():
    metric = ConfusionMatrix(3)
    for scene in (slice(0, 3), slice(3, 3), slice(3, 8)):
        metric.update(PREDICTION[scene], TARGET[scene])
    assert metric.compute().tolist() == EXPECTED
    metric.reset()
    assert metric.matrix.sum() == 0


def test_two_shards_sum_to_one_process():
    """What a reduction over ranks does: states are declared as sums."""
    shards = [ConfusionMatrix(3), ConfusionMatrix(3)]
    shards[0].update(PREDICTION[:5], TARGET[:5])
    shards[1].update(PREDICTION[5:], TARGET[5:])
    total = sum(shard.compute() for shard in shards)
    assert total.tolist() == EXPECTED
    assert shards[0]._reductions["matrix"] is not None
    stacked = torch.stack([shard.compute() for shard in shards])
    assert shards[0]._reductions["matrix"](stacked).tolist() == EXPECTED


def test_update_does_not_modify_its_inputs():
    prediction, target = PREDICTION.clone(), TARGET.clone()
    ConfusionMatrix(3).update(prediction, target)
    assert torch.equal(prediction, PREDICTION) and torch.equal(target, TARGET)


def test_another_ignore_index_and_narrow_integers():
    metric = ConfusionMatrix(3, ignore_index=255)
    target = TARGET.masked_fill(TARGET == -1, 255)
    metric.update(PREDICTION.to(torch.int16), target.to(torch.uint8))
    assert metric.compute().tolist() == EXPECTED


def test_many_points_do_not_overflow_narrow_predictions():
    """200 * 200 + 199 does not fit int16: cells are counted in int64."""
    metric = ConfusionMatrix(201)
    prediction = torch.full((9,), 199, dtype=torch.int16)
    metric.update(prediction, prediction + 1)
    assert metric.compute()[200, 199] == 9


@pytest.mark.parametrize("num_predictions", [7, 9])
def test_refuses_another_number_of_predictions(num_predictions):
    metric = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=rf"one prediction and one label.*{num_predictions}"):
        metric.update(torch.zeros(num_predictions, dtype=torch.int64), TARGET)


def test_all_points_ignored():
    metric = ConfusionMatrix(3)
    metric.update(PREDICTION, torch.full_like(TARGET, -1))
    assert metric.compute().sum() == 0
