"""Files of SemanticKITTI: bit layout, paths, and what the benchmark's server refuses."""

from __future__ import annotations

import pytest

from pc3d.io.semantickitti import (
    label_path,
    num_scan_points,
    prediction_path,
    read_labels,
    read_scan,
    scan_path,
)


def test_paths_of_numbered_and_named_sequences(tmp_path):
    assert scan_path(tmp_path, "08/000123") == tmp_path / "sequences/08/velodyne/000123.bin"
    assert label_path(tmp_path, "08/000123") == tmp_path / "sequences/08/labels/000123.label"
    assert scan_path(tmp_path, "extra/000964") == tmp_path / "extra/velodyne/000964.bin"
    assert label_path(tmp_path, "a/b/000964") == tmp_path / "a/b/labels/000964.label"
    assert prediction_path("11/000000") == "sequences/11/predictions/000000.label"
    assert prediction_path("extra/000964") == "extra/predictions/000964.label"


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


@pytest.mark.parametrize("num_bytes", [8, 16, 13])
def test_label_count_must_fit(tmp_path, num_bytes):
    path = tmp_path / "a.label"
    path.write_bytes(b"\0" * num_bytes)
    with pytest.raises(ValueError, match=rf"a\.label: {num_bytes // 4} labels.*3 points"):
        read_labels(path, 3)
