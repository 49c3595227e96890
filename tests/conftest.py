"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real scans that are not part of the project: `PC3D_SHARED_DATA`, or `../shared/data`."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("PC3D_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real scans at {folder}; set PC3D_SHARED_DATA to their folder")
    return folder
