"""Scores that a reader can check by hand."""

from __future__ import annotations

import math

import pytest
import torch

from pc3d.metrics import ABSENT_POLICIES, scores


def close(tensor: torch.Tensor, expected: list[float]) -> bool:
    return torch.allclose(tensor, torch.tensor(expected, dtype=torch.float64), equal_nan=True)


def test_by_hand():
    result = scores(torch.tensor([[1, 0, 1], [1, 1, 0], [0, 0, 2]]))
    assert close(result.iou, [1 / 3, 1 / 2, 2 / 3])
    assert close(result.accuracy, [1 / 2, 1 / 2, 1.0])
    assert result.num_labels.tolist() == [2, 2, 2]
    assert result.miou == pytest.approx(0.5)
    assert result.macc == pytest.approx(2 / 3)
    assert result.oa == pytest.approx(4 / 6)


def test_absent_classes_do_not_count():
    """Class 1 is nowhere; class 2 is predicted once but never true: IoU 0, no accuracy."""
    result = scores(torch.tensor([[3, 0, 1], [0, 0, 0], [0, 0, 0]]))
    nan = float("nan")
    assert close(result.iou, [3 / 4, nan, 0.0])
    assert close(result.accuracy, [3 / 4, nan, nan])
    assert result.miou == pytest.approx(3 / 8)
    assert result.macc == pytest.approx(3 / 4)


def test_rows_and_columns_are_not_exchanged():
    result = scores(torch.tensor([[5, 3], [0, 2]]))
    assert close(result.accuracy, [5 / 8, 1.0])
    assert close(scores(torch.tensor([[5, 0], [3, 2]])).accuracy, [1.0, 2 / 5])


def test_perfect_and_empty():
    perfect = scores(torch.diag(torch.tensor([4, 1, 9])))
    assert (perfect.miou, perfect.macc, perfect.oa) == (1.0, 1.0, 1.0)
    empty = scores(torch.zeros(3, 3, dtype=torch.int64))
    assert all(math.isnan(value) for value in (empty.miou, empty.macc, empty.oa))


def test_counts_beyond_float32_are_exact():
    count = 2**24 + 1
    result = scores(torch.tensor([[count, 0], [1, count]]))
    assert result.oa == 2 * count / (2 * count + 1)
    assert result.num_labels.tolist() == [count, count + 1]


# Class 0 is there, 1 is nowhere, 2 is predicted once but never true, 3 is never predicted.
GAPS = torch.tensor([[3, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0], [2, 0, 0, 0]])


@pytest.mark.parametrize(
    ("absent", "iou", "miou"),
    [
        ("nan", [1 / 2, math.nan, 0, 0], (1 / 2) / 3),
        ("zero", [1 / 2, 0, 0, 0], (1 / 2) / 4),
        ("one", [1 / 2, 1, 1, 0], (1 / 2 + 1 + 1) / 4),
        ("labelled", [1 / 2, math.nan, math.nan, 0], (1 / 2) / 2),
    ],
)
def test_policies_of_absent_classes(absent, iou, miou):
    result = scores(GAPS, absent)
    assert close(result.iou, iou)
    assert result.miou == pytest.approx(miou)
    assert result.oa == pytest.approx(3 / 6)
    assert result.macc == pytest.approx((3 / 4 + 0) / (4 if absent == "zero" else 2))


def test_policies_agree_where_every_class_occurs():
    matrix = torch.tensor([[5, 3, 0], [1, 2, 2], [0, 4, 1]])
    mious = {scores(matrix, policy).miou for policy in ABSENT_POLICIES}
    assert len(mious) == 1


@pytest.mark.parametrize("absent", ABSENT_POLICIES)
def test_without_labels_there_are_no_scores(absent):
    result = scores(torch.zeros(3, 3, dtype=torch.int64), absent)
    assert math.isnan(result.miou) and result.iou.isnan().all()


def test_unknown_policy():
    with pytest.raises(ValueError, match=r"nan, zero, one, labelled; got 'mean'"):
        scores(GAPS, "mean")
