"""Files of SemanticKITTI: bit layout, paths, and what the benchmark's server refuses."""

from __future__ import annotations

import numpy as np
import pytest

from pc3d.io.semantickitti import (
    label_path,
    num_scan_points,
    prediction_path,
    read_labels,
    read_scan,
    scan_path,
    validate_predictions,
    write_labels,
)

LEGAL = (10, 40, 81)


def test_paths_of_numbered_and_named_sequences(tmp_path):
    assert scan_path(tmp_path, "08/000123") == tmp_path / "sequences/08/velodyne/000123.bin"
    assert label_path(tmp_path, "08/000123") == tmp_path / "sequences/08/labels/000123.label"
    assert scan_path(tmp_path, "extra/000964") == tmp_path / "extra/velodyne/000964.bin"
    assert label_path(tmp_path, "a/b/000964") == tmp_path / "a/b/labels/000964.label"
    assert (
        prediction_path(tmp_path, "11/000000") == tmp_path / "sequences/11/predictions/000000.label"
    )


def test_scan_is_four_little_endian_floats_a_point(tmp_path):
    path = tmp_path / "scan.bin"
    path.write_bytes(bytes.fromhex("0000803f 00000040 000040c0 0000003f".replace(" ", "")) * 2)
    assert read_scan(path).tolist() == [[1.0, 2.0, -3.0, 0.5]] * 2
    assert num_scan_points(path) == 2


def test_labels_hold_the_class_in_their_low_half(tmp_path):
    path = tmp_path / "a.label"
    path.write_bytes(bytes.fromhex("0a000300 fc00ffff 28000000".replace(" ", "")))
    labels = read_labels(path, 3)
    assert labels.semantic.tolist() == [10, 252, 40]
    assert labels.instance.tolist() == [3, 65535, 0]


def test_written_labels_read_back(tmp_path):
    path = tmp_path / "new" / "a.label"
    write_labels(path, np.array([10, 81, 259]))
    assert path.stat().st_size == 12
    assert read_labels(path, 3).semantic.tolist() == [10, 81, 259]
    assert [p.name for p in path.parent.iterdir()] == ["a.label"]


@pytest.mark.parametrize("num_bytes", [8, 16, 13])
def test_label_count_must_fit(tmp_path, num_bytes):
    path = tmp_path / "a.label"
    path.write_bytes(b"\0" * num_bytes)
    with pytest.raises(ValueError, match=rf"a\.label: {num_bytes // 4} labels.*3 points"):
        read_labels(path, 3)


def test_validation_lists_every_problem(tmp_path):
    expected = {"11/000000": 5, "11/000001": 5, "12/000000": 4, "13/000000": 3}
    for scan, num in expected.items():
        write_labels(prediction_path(tmp_path, scan), np.full(num, 40))
    (tmp_path / "description.txt").write_text("not looked at")
    assert validate_predictions(tmp_path, expected, LEGAL) == 4

    write_labels(prediction_path(tmp_path, "11/000000"), np.full(4, 40))
    write_labels(prediction_path(tmp_path, "11/000001"), np.array([40, 40, 252, 0, 10]))
    prediction_path(tmp_path, "12/000000").unlink()
    write_labels(prediction_path(tmp_path, "14/000000"), np.full(3, 40))
    with pytest.raises(ValueError) as error:
        validate_predictions(tmp_path, expected, LEGAL)
    message = str(error.value)
    assert "4 problems" in message
    assert "11/predictions/000000.label: 16 bytes, expected 4 x 5 points = 20" in message
    assert "11/predictions/000001.label: ids [0, 252] are not legal" in message
    assert "12/predictions/000000.label: missing" in message
    assert "14/predictions/000000.label: not a scene of this split" in message


def test_validation_of_many_problems_shows_the_first_ones(tmp_path):
    with pytest.raises(ValueError, match="30 problems") as error:
        validate_predictions(tmp_path, {f"11/{i:06d}": 1 for i in range(30)}, LEGAL)
    assert str(error.value).count("missing") == 20
