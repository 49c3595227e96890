"""What the README promises of `make demo`, for three seeds."""

from __future__ import annotations

import csv
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_demo_reaches_its_miou_on_unseen_rooms(tmp_path):
    """Mean over three seeds of val mIoU (rooms that training never saw) is at least 0.70."""
    environment = os.environ | {"PC3D_DATA": str(tmp_path / "data")}
    best = []
    for seed in range(3):
        folder = tmp_path / f"seed_{seed}"
        subprocess.run(
            [sys.executable, str(REPOSITORY / "train.py"), "experiment=demo", f"seed={seed}"],
            check=True,
            env=environment | {"PC3D_RUN_DIR": str(folder)},
        )
        with next(folder.rglob("metrics.csv")).open() as file:
            best.append(max(float(row["val/miou_point"] or 0) for row in csv.DictReader(file)))
    assert statistics.mean(best) >= 0.70, best
