"""`docs/custom_data.md`, command by command, on the airborne scans that it is about."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import laspy
import numpy as np
import pytest

from tests.guide import commands_of

REPOSITORY = Path(__file__).resolve().parents[2]
TILE = "test_data_77055_627760_LA93_IGN69.laz"
MIOU, SECONDS = 0.70, 600
"""What training reaches on the tile, and in which time on two cores."""


def program(words: list[str]) -> list[str]:
    """The command with the programs of this repository."""
    if words[0] == "pc3d":
        return [sys.executable, "-m", "pc3d.cli", *words[1:]]
    if words[1] == "-m":
        return [sys.executable, *words[1:]]
    return [sys.executable, str(REPOSITORY / words[1]), *words[2:]]


@pytest.mark.slow
def test_airborne_scans_from_files_to_labelled_files(shared_data, tmp_path):
    (tmp_path / "ign_als").symlink_to(shared_data / "ign_als")
    environment = {
        **os.environ,
        "PC3D_RUN_DIR": str(tmp_path / "run"),
        "PYTHONPATH": str(REPOSITORY),
    }
    for words in commands_of("custom_data.md"):
        if "dataset=custom" in words:
            continue  # the same training, see tests/cli/test_custom_data.py
        words = [word.replace("logs/train/runs/<run>", str(tmp_path / "run")) for word in words]
        start = time.perf_counter()
        subprocess.run(program(words), cwd=tmp_path, env=environment, check=True)
        assert words[1] != "train.py" or time.perf_counter() - start < SECONDS
    (path,) = (tmp_path / "run" / "test").glob("val-*.json")
    result = json.loads(path.read_text())
    assert result["miou"] >= MIOU
    assert all(part["iou"] is not None for part in result["classes"])
    labelled, truth = (
        laspy.read(folder / TILE) for folder in (tmp_path / "labelled", shared_data / "ign_als")
    )
    np.testing.assert_array_equal(labelled.xyz, truth.xyz)
    scored = truth.classification != 1
    assert (labelled.classification == truth.classification)[scored].mean() > 0.85
