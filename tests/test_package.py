"""The wheel works without the repository."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock

from cuda_ops.runtime import compiler
from visualize.scene import SCRIPTS

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("cuda_ops", "pc3d", "data_prep", "visualize")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Built once, whichever of the processes needs it first."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "wheel"
    with FileLock(f"{folder}.lock"):
        found = list(folder.glob("*.whl"))  # a build that failed leaves its folder
        if not found:
            build(folder)
            found = list(folder.glob("*.whl"))
    return found[0]


def build(folder: Path) -> None:
    # From a copy: what an earlier build left behind must not get into this one.
    source = folder / "source"
    shutil.rmtree(folder, ignore_errors=True)
    source.mkdir(parents=True)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    for name in (*PACKAGES, "conf"):
        shutil.copytree(REPOSITORY / name, source / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder]
    subprocess.run([*command, source], check=True, capture_output=True)


def test_the_wheel_holds_configuration_and_pages(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (REPOSITORY / "conf").rglob("*.yaml"):
        assert f"pc3d/conf/{path.relative_to(REPOSITORY / 'conf').as_posix()}" in names
    for package in PACKAGES:
        for path in (REPOSITORY / package).rglob("*.py"):
            assert path.relative_to(REPOSITORY).as_posix() in names
    pages = ("scene.html", "augmentations.html", "gallery.html", "scene.css", *SCRIPTS)
    assert {f"visualize/{name}" for name in pages} <= names
    for path in (
        *(REPOSITORY / "pc3d" / "weights").iterdir(),
        *(REPOSITORY / "pc3d" / "data" / "descriptions").iterdir(),
    ):
        assert path.relative_to(REPOSITORY).as_posix() in names
    for path in (
        *(REPOSITORY / "cuda_ops").rglob("*.cpp"),
        *(REPOSITORY / "cuda_ops").rglob("*.h"),
        *(REPOSITORY / "cuda_ops").rglob("*.cu"),
        *(REPOSITORY / "cuda_ops").rglob("*.cuh"),
    ):
        assert path.relative_to(REPOSITORY).as_posix() in names


@pytest.mark.skipif(compiler.find_compiler() is None, reason="no C++ compiler")
def test_the_wheel_carries_kernels_for_every_instruction_set(wheel, tmp_path):
    assert "-py3-none-" in wheel.name and not wheel.name.endswith("-any.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    assert len(list((site / "cuda_ops" / "prebuilt").glob("*.so"))) == len(
        compiler.instruction_sets()
    )
    code = (
        "from cuda_ops.runtime import served; now = served(); print(now);"
        "assert 'site' in __import__('cuda_ops').__file__;"
        "assert now.library is not None and 'prebuilt' in now.reason"
    )
    environment = {"PYTHONPATH": str(site), "PATH": ""}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)


def test_the_installed_wheel_composes_without_the_repository(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "import pc3d, pc3d.cli.config as c; assert c.conf_dir().name == 'conf';"
        "assert 'site' in str(c.conf_dir());"
        "c.compose_config('config', ['dataset=scannet', 'paths.data_dir=x', 'paths.run_dir=x'])"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=tmp_path, env={"PYTHONPATH": str(site)}
    )
