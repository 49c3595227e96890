"""Dry runs: what point files hold, what they are taken for, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_prep import custom
from data_prep.survey import suggest_voxel_size
from tests.data_prep.test_custom import YAML, points, raw

__all__ = ["raw"]  # a fixture


def dry_run(raw: Path, capsys, *options: str) -> tuple[int, str]:
    before = {path: path.stat().st_mtime_ns for path in raw.parent.rglob("*")}
    status = custom.run_program([f"raw={raw}", "dry_run=true", "num_workers=0", *options])
    captured = capsys.readouterr()
    assert {path: path.stat().st_mtime_ns for path in raw.parent.rglob("*")} == before
    return status, captured.out + captured.err


def test_a_dry_run_says_what_is_there(raw, capsys):
    status, text = dry_run(raw, capsys)
    assert status == 0, text
    for words in (
        "4,000",
        "60 x 35 x 5",
        "0..0.998",
        "train/a.npy: labels tree 60.0 %, ignored 20.0 %, ground 20.0 %",
        "red, green, blue",
        "train/a.npy, train/deep/b.npy, val/c.npy: colours beyond 255 are taken for 16 bits",
        "features that all files have: color, intensity, xyz, height, relative_xyz",
        "suggested: dataset.voxel_size=2",
        "no problems found",
    ):
        assert words in text, words
    assert "tile=" not in text


def test_a_dry_run_names_what_is_wrong(raw, capsys):
    table = points(500)
    np.save(raw / "train" / "a.npy", np.where(table == 3, 9, table))
    np.save(raw / "train" / "deep" / "b.npy", table[:0])
    table[3, 6] = np.nan  # which the other file does not read
    np.save(raw / "train" / "d.npy", table)
    np.savez(raw / "val" / "c.npz", xyz=table[:, :3] * 1e-7, time=table[:, 6])
    (raw / "val" / "c.npy").unlink()
    status, text = dry_run(raw, capsys)
    assert status == 1
    for words in (
        "a.npy: ids that",
        "does not know: 9 (200 points). Add them",
        "9 unknown 40.0 %",
        "b.npy: no points",
        "c.npz: no labels, and only the test split does without. Its columns are time; say which",
        "d.npy: 1 of 500 points have a NaN or infinite intensity",
        "4 problems",
        "val/c.npz: extends over",
        "features that all files have: xyz, height, relative_xyz",
    ):
        assert words in text, words
    (raw / "val").rename(raw / "test")
    status, text = dry_run(raw, capsys)
    assert "c.npz: no labels" not in text
    assert f"there is no splits.val, and no folder {raw}/val, so there is no val split" in text


def test_a_dry_run_of_splits_that_name_nothing(raw, capsys):
    (raw / "dataset.yaml").write_text(YAML + "splits: {train: [x.npy], val: [val/c.npy]}\n")
    status, text = dry_run(raw, capsys)
    assert status == 1 and "splits.train: 'x.npy' names no file" in text and "900" in text
    text = YAML + "splits: {train: [val/c.npy], val: [val/c.npy], test: [val/c.npy]}\n"
    (raw / "dataset.yaml").write_text(text)
    status, text = dry_run(raw, capsys)
    assert status == 2 and "val/c.npy is in the splits train and val" in text


def test_large_files_call_for_tiles(raw, capsys, monkeypatch):
    monkeypatch.setattr("data_prep.survey._MANY_POINTS", 3999)
    assert "4,000 points: cut them with tile=..." in dry_run(raw, capsys)[1]
    assert "cut them" not in dry_run(raw, capsys, "tile=25")[1]


@pytest.mark.parametrize(
    ("densities", "size"),
    [
        ([20], 0.5),
        ([100], 0.2),
        ([101, 99, 7], 0.5),
        ([99, 100, 1e6], 0.2),
        ([1e6], 0.005),
        ([0.1], 2),
    ],
)
def test_voxels_are_twice_the_distance_between_points(densities, size):
    assert suggest_voxel_size(densities) == size


def test_density_counts_ground_with_points_only(tmp_path, capsys):
    """Four points per square metre in two corners of a large empty square."""
    raw = tmp_path / "raw"
    for name in ("train", "val"):
        (raw / name).mkdir(parents=True)
        corner = np.stack(np.meshgrid(*2 * [np.arange(0, 10, 0.5)], [1.0]), axis=-1).reshape(-1, 3)
        xyz = np.concatenate([corner, corner + np.array([90, 90, 0])])
        np.savez(raw / name / f"{name}.npz", xyz=xyz, label=np.resize([2, 3], len(xyz)))
    (raw / "dataset.yaml").write_text(YAML)
    status, text = dry_run(raw, capsys)
    assert status == 0 and "4.0" in text and "dataset.voxel_size=1" in text
