"""`docs/custom_data.md`, command by command, on small files that look like its example."""

from __future__ import annotations

import sys
from pathlib import Path

import laspy
import numpy as np
import pytest

from data_prep import custom, verify
from pc3d.cli import evaluate, export, predict
from pc3d.cli import test as test_program
from pc3d.cli import train as train_program
from tests.cli.test_config import compose
from tests.guide import commands_of

FILES = (
    *("bat", "crop_1", "crop_2"),
    *(f"test_data_{place}_LA93_IGN69" for place in ("77050_627755", "77050_627760")),
    *(f"test_data_{place}_LA93_IGN69" for place in ("77055_627755", "77055_627760")),
)
IDS = (2, 3, 4, 5, 6, 1)
SHORT = ("trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "num_workers=0")
PROGRAMS = {
    ("python", "train.py"): train_program.main,
    ("python", "test.py"): test_program.main,
    ("pc3d", "predict"): predict.main,
    ("pc3d", "eval"): evaluate.main,
    ("pc3d", "export"): export.main,
}


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    """Slopes of 30 m with trees on them, ids by height."""
    folder = tmp_path_factory.mktemp("guide")
    (folder / "ign_als").mkdir()
    for i, name in enumerate(FILES):
        rng = np.random.default_rng(i)
        xyz = rng.random((3000, 3)) * (30, 30, 12)
        las = laspy.LasData(laspy.LasHeader(version="1.4", point_format=6))
        las.header.scales, las.header.offsets = [0.01] * 3, [770_500 + 50 * i, 6_277_550, 100]
        las.xyz = xyz + las.header.offsets
        las.classification = np.array(IDS, np.uint8)[(xyz[:, 2] / 2.01).astype(int)]
        las.number_of_returns = rng.integers(1, 4, 3000)
        las.return_number = np.minimum(las.number_of_returns, 2)
        las.write(folder / "ign_als" / f"{name}.laz")
    return folder


@pytest.fixture
def execute(scans, monkeypatch):
    """Run a command of the page in the folder with the files, quickly."""

    def run(words: list[str]) -> None:
        words = [word.replace("logs/train/runs/<run>", "run") for word in words]
        monkeypatch.chdir(scans)
        monkeypatch.setenv("PC3D_RUN_DIR", str(scans / "run"))
        if words[:2] == ["python", "-m"]:
            program = {"data_prep.custom": custom, "data_prep.verify": verify}[words[2]]
            assert program.run_program(words[3:]) == 0
            return
        is_training = words[1] == "train.py"
        monkeypatch.setattr(sys, "argv", [*words, *SHORT * is_training])
        monkeypatch.setattr(sys, "argv", sys.argv[1:])
        PROGRAMS[words[0], words[1]]()

    return run


def test_the_page_from_the_first_command_to_the_last(scans, execute, capsys):
    wanted = [words for words in commands_of("custom_data.md") if "dataset=custom" not in words]
    names = [words[1] if words[0] == "pc3d" else words[-1] for words in wanted]
    assert len(wanted) == 8 and {"predict", "eval", "export", "data/ign"} <= {*names}
    shown = {}
    for words in wanted:
        execute(words)
        shown[" ".join(words[:3])] = capsys.readouterr().out
    labelled = laspy.read(scans / "labelled" / f"{FILES[-1]}.laz")
    truth = laspy.read(scans / "ign_als" / f"{FILES[-1]}.laz")
    np.testing.assert_array_equal(labelled.xyz, truth.xyz)
    np.testing.assert_array_equal(labelled.return_number, truth.return_number)
    assert set(np.unique(labelled.classification)) <= {2, 3, 4, 5, 6}
    assert 0 < labelled.confidence.min() <= labelled.confidence.max() <= 1
    scored = next(text for key, text in shown.items() if key.startswith("pc3d eval"))
    assert "low vegetation" in scored and "building" in scored
    assert (scans / "my.safetensors").stat().st_size < 5e6


def test_the_experiment_is_short_for_what_the_page_says():
    short, long = (words for words in commands_of("custom_data.md", "Train") if "train.py" in words)
    assert short[2:] == ["experiment=als", "dataset.reader.root=ign_als"]
    assert compose(*short[2:]) == compose(*long[2:])
