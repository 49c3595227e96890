"""Real SemanticKITTI scans, where they are found: train, test, submission files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pc3d.data.datasets import SemanticKITTI
from pc3d.data.specs import SEMANTICKITTI19

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).resolve().parents[2]


def run(program: str, *arguments: str, **environment: str) -> None:
    command = [sys.executable, str(REPOSITORY / program), *arguments]
    subprocess.run(command, check=True, env=os.environ | environment)


def train_and_test(experiment: str, shared_data: Path, folder: Path) -> dict:
    """Scores of an experiment; the data folder is read only, so caches go elsewhere."""
    places = [f"paths.data_dir={shared_data}", f"paths.cache_dir={folder / 'cache'}"]
    run("train.py", f"experiment={experiment}", *places, PC3D_RUN_DIR=str(folder / "run"))
    run("test.py", f"run={folder / 'run'}", "ckpt=last")
    (path,) = (folder / "run" / "test").glob("*.json")
    return json.loads(path.read_text())


def test_one_real_scan_can_be_fitted(shared_data, tmp_path):
    result = train_and_test("kitti_one_scan", shared_data, tmp_path)
    assert result["miou"] >= 0.95
    expected = labelled_by_distance(shared_data / "semantickitti" / "sequences" / "00", "000000")
    assert [part["num_labelled"] for part in result["by_distance"]] == expected
    assert expected[0] > expected[-2] > expected[-1] == 0  # labels end at 50 m


def labelled_by_distance(sequence: Path, frame: str) -> list[int]:
    """Points with a class in each 10 m from the sensor, the last from 50 m on."""
    points = np.fromfile(sequence / "velodyne" / f"{frame}.bin", dtype=np.float32).reshape(-1, 4)
    raw = np.fromfile(sequence / "labels" / f"{frame}.label", dtype=np.uint32) & 0xFFFF
    has_class = np.isin(raw, [i for i, c in SEMANTICKITTI19.raw_to_class.items() if c >= 0])
    bins = np.digitize(np.linalg.norm(points[has_class, :3], axis=1), [10, 20, 30, 40, 50])
    return np.bincount(bins, minlength=6).tolist()


def test_a_few_scans_carry_over_to_another_street(shared_data, tmp_path):
    result = train_and_test("kitti_few_scans", shared_data, tmp_path)
    reader = SemanticKITTI(shared_data / "semantickitti")
    seen = [reader.read(f"00/{frame:06d}", "train") for frame in (0, 1, *range(3, 12))]
    street = reader.read("extra/000964", "test")
    shared = np.intersect1d(np.concatenate([s.segment for s in seen]), street.segment)
    shared = shared[shared >= 0]
    assert len(shared) == 10
    ours = np.mean([result["classes"][c]["iou"] for c in shared])
    look_up = np.mean(height_look_up(seen, street)[shared])
    assert ours >= 0.25 and ours > look_up, (ours, look_up)

    predictions = tmp_path / "run" / "predictions" / result["checkpoint_hash"] / "test"
    (labels,) = predictions.glob("*/submission/**/*.label")
    written = np.fromfile(labels, dtype=np.uint32)
    assert len(written) == len(street)
    assert set(np.unique(written)) <= set(SEMANTICKITTI19.raw_ids)


def height_look_up(seen: list, street) -> np.ndarray:
    """[19] IoU of the best guess from height alone: the commonest class of each 10 cm layer."""
    edges = np.arange(-4, 4, 0.1)
    counts = np.zeros((len(edges) + 1, 19))
    for sample in seen:
        labelled = sample.segment >= 0
        layer = np.digitize(sample.xyz[labelled, 2], edges)
        np.add.at(counts, (layer, sample.segment[labelled]), 1)
    truth = street.segment
    guess = counts.argmax(axis=1)[np.digitize(street.xyz[:, 2], edges)]
    iou = np.zeros(19)
    for index in range(19):
        hits = ((guess == index) & (truth == index)).sum()
        union = (((guess == index) | (truth == index)) & (truth >= 0)).sum()
        iou[index] = hits / union if union else np.nan
    return iou
