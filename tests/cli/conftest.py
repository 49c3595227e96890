"""Programs are run on a handful of generated rooms at coarse voxels: seconds, not minutes."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
Start = Callable[..., subprocess.Popen]


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    """Handlers that Hydra leaves behind write to the output of a test that has ended."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before


@pytest.fixture
def start(data_dir: Path, tmp_path: Path) -> Start:
    """Start a program of the repository in `tmp_path`; output goes to a pipe."""

    def run(*command: str, run_dir: Path | None = None) -> subprocess.Popen:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PC3D")}
        environment = inherited | {"PC3D_DATA": str(data_dir), "OMP_NUM_THREADS": "1"}
        if run_dir is not None:
            environment["PC3D_RUN_DIR"] = str(run_dir)
        return subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=_accept_interrupts,
        )

    return run


def _accept_interrupts() -> None:
    # A shell that runs the tests in the background has them ignore Ctrl-C; children inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finish(process: subprocess.Popen, timeout: float = 300) -> str:
    """The output of a program that must succeed."""
    output, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, output
    return output


def program(name: str) -> tuple[str, str]:
    """Command for a program at the top level."""
    return sys.executable, str(REPOSITORY / name)


@pytest.fixture
def call(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[], object], list[str]], None]:
    """Call the `main` of a program in this process, as from a shell in `tmp_path`."""

    def run(main: Callable[[], object], arguments: list[str], run_dir: Path | None = None) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PC3D_DATA", str(data_dir))
        monkeypatch.setenv("PC3D_RUN_DIR", str(run_dir or tmp_path / "run"))
        monkeypatch.setattr(sys, "argv", ["program", *arguments])
        main()

    return run
