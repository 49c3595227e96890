"""The wheel in an empty environment: no compiler, no make, a home that cannot be written to."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = ("cuda_ops", "pc3d", "data_prep", "visualize", "conf")
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")
SECONDS = 60
"""What `pc3d demo` may take on two cores."""


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """The interpreter of a new environment that the wheel was installed into."""
    folder = tmp_path_factory.mktemp("stranger")
    source = folder / "source"
    source.mkdir()
    for name in FILES:
        shutil.copy(REPOSITORY / name, source)
    for name in SOURCES:
        shutil.copytree(REPOSITORY / name, source / name)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source]
    subprocess.run(build, check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    found = folder / "env" / "bin" / "python"
    torch = f"torch=={importlib.metadata.version('torch').split('+')[0]}"
    (wheel,) = folder.glob("*.whl")
    for package in (torch, wheel):
        subprocess.run([found, "-m", "pip", "install", "-q", package], check=True)
    return found


def run(python: Path, folder: Path, *command: str | Path) -> str:
    """Run a program of the environment in `folder`, with nothing else in reach."""
    environment = {"PATH": str(python.parent), "HOME": os.devnull, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_first_minute(python, tmp_path):
    start = time.perf_counter()
    shown = run(python, tmp_path, python.parent / "pc3d", "demo")
    assert time.perf_counter() - start < SECONDS
    assert "mIoU" in shown and "pc3d predict ckpt=rooms-s" in shown
    for name in ("room.laz", "room.png", "room.html"):
        assert (tmp_path / "pc3d_demo" / name).stat().st_size > 10_000


@pytest.mark.slow
def test_numbers_in_numbers_out(python, tmp_path):
    """In a plain script, as in a notebook."""
    script = tmp_path / "label.py"
    script.write_text(
        "import numpy as np, pc3d\n"
        "xyz = np.random.default_rng(0).random((5000, 3)) * (5, 4, 3)\n"
        "found = pc3d.load('rooms-s').predict(xyz, np.full((5000, 3), 128))\n"
        "assert found.classes.shape == found.confidence.shape == (5000,)\n"
        "assert 0 <= found.classes.min() <= found.classes.max() < 20\n"
    )
    run(python, tmp_path, python, script)
