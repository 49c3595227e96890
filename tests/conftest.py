"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data_prep.synthetic import generate

COUNTS = {"num_train": 3, "num_val": 3, "num_test": 2}
TINY = (
    *(f"dataset.prepare.{name}={count}" for name, count in COUNTS.items()),
    "dataset.voxel_size=0.25",
    "dataset.max_voxels=2500",
    "num_workers=0",
    "trainer.max_epochs=3",
    "trainer.check_val_every_n_epoch=1",
    "callbacks.progress.refresh_rate=0",
)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real scans that are not part of the project: `PC3D_SHARED_DATA`, or `../shared/data`."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("PC3D_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real scans at {folder}; set PC3D_SHARED_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose `synthetic` is complete, so that no program generates it again."""
    folder = tmp_path_factory.mktemp("data")
    generate(folder / "synthetic", **COUNTS, num_workers=1)
    return folder
