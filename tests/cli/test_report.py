"""What a result says of itself, in JSON, CSV and on the console."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from rich.console import Console

from pc3d.cli.report import distance_summary, policy_lines, print_result, summary, write_result

NAMES = ("car", "road", "sign")
# sign is predicted once but never true; its IoU is 0
MATRIX = torch.tensor([[6, 1, 1], [0, 2, 0], [0, 0, 0]])


def result_of(matrix: torch.Tensor = MATRIX, **changes) -> dict:
    return {
        "metric": "val/miou_point_tta4",
        "protocol": "4 views, every point",
        "label_space": "streets3",
        **summary(matrix, NAMES),
        "num_points": 1234,
        "scenes": ["08/000000", "08/000001"],
        **changes,
    }


def printed(result: dict, width: int = 100) -> str:
    console = Console(record=True, width=width)
    with console.capture() as capture:
        print_result(result, console)
    return capture.get()


def test_scores_are_plain_values():
    found = json.loads(json.dumps(summary(MATRIX, NAMES), allow_nan=False))
    assert found["mious"] == {
        "nan": pytest.approx((6 / 8 + 2 / 3) / 3),
        "zero": pytest.approx((6 / 8 + 2 / 3) / 3),
        "one": pytest.approx((6 / 8 + 2 / 3 + 1) / 3),
        "labelled": pytest.approx((6 / 8 + 2 / 3) / 2),
    }
    assert found["classes"][2] == {"name": "sign", "iou": 0.0, "accuracy": None, "points": 0}
    assert found["num_labelled"] == 10 and found["confusion"] == MATRIX.tolist()


def test_policies_stand_side_by_side_only_where_they_differ():
    lines = policy_lines(result_of())
    assert lines == [
        "  absent as 1 if no ground truth (spvnas): 80.56 %",
        "  only classes with ground truth (ScanNet200): 70.83 %",
    ]
    assert policy_lines(result_of(torch.full((3, 3), 2))) == []


def test_the_console_states_the_protocol():
    text = printed(result_of())
    for stated in (
        "val/miou_point_tta4",
        "4 views, every point",
        "mean over the classes that occur in labels or predictions",
        "2 scenes, 1,234 points, 10 of them labelled",
        "mIoU 47.22 %",
        "absent as 1 if no ground truth (spvnas): 80.56 %",
    ):
        assert stated in text
    assert "distance" not in text


def test_distances_have_a_table_of_their_own():
    by_distance = torch.stack([MATRIX, torch.zeros_like(MATRIX), *[MATRIX * 2] * 4])
    bins = distance_summary(by_distance, NAMES)
    assert [(part["from"], part["to"]) for part in bins[-2:]] == [(40, 50), (50, None)]
    assert [part["num_labelled"] for part in bins] == [10, 0, 20, 20, 20, 20]
    assert bins[0]["iou"] == pytest.approx({"car": 6 / 8, "road": 2 / 3, "sign": 0})
    assert bins[1]["miou"] is None and bins[1]["iou"]["car"] is None
    json.dumps(bins, allow_nan=False)
    text = printed(result_of(by_distance=bins))
    assert all(header in text for header in ("0-10 m", "40-50 m", "50- m", "absent"))


def test_a_split_without_labels_has_no_scores():
    result = result_of(torch.zeros(3, 3, dtype=torch.int64))
    json.dumps(result, allow_nan=False)
    text = printed(result)
    assert "no labels" in text and "mIoU nan" not in text and "2 scenes, 1,234 points" in text


def test_every_row_of_the_csv_says_what_it_is(tmp_path):
    write_result(result_of(), tmp_path / "val-0.5")
    with (tmp_path / "val-0.5.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == list(NAMES)
    assert {row["metric"] for row in rows} == {"val/miou_point_tta4"}
    assert {row["protocol"] for row in rows} == {"4 views, every point"}
    assert rows[1]["iou"] == str(2 / 3) and rows[2]["accuracy"] == ""
    assert json.loads((tmp_path / "val-0.5.json").read_text())["num_points"] == 1234
