"""What marks the code: its content, and nothing beside it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@b.c")


def version_in(root: Path) -> str:
    code = (
        "import importlib.util as u, sys; s = u.spec_from_file_location('e', sys.argv[1]);"
        "m = u.module_from_spec(s); s.loader.exec_module(m); sys.stdout.write(m.code_version())"
    )
    path = root / "pc3d" / "utils" / "environment.py"
    return subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_code_is_marked_by_its_content(tmp_path):
    def commit() -> None:
        for command in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "x")):
            subprocess.run([*GIT, "-C", str(tmp_path), *command], check=True)

    utils = tmp_path / "pc3d" / "utils"
    utils.mkdir(parents=True)
    shutil.copy(REPOSITORY / "pc3d" / "utils" / "environment.py", utils)
    (tmp_path / "cuda_ops").mkdir()
    op = tmp_path / "cuda_ops" / "op.py"
    op.write_text("1")
    installed = version_in(tmp_path)  # outside git
    commit()
    first = version_in(tmp_path)
    assert first != installed and len(first) == 16
    (tmp_path / "README.md").write_text("words")
    assert version_in(tmp_path) == first
    commit()
    assert version_in(tmp_path) == first
    op.write_text("2")
    changed = version_in(tmp_path)
    assert changed != first
    commit()
    assert version_in(tmp_path) not in (first, changed)
    op.write_text("1")
    commit()
    assert version_in(tmp_path) == first
