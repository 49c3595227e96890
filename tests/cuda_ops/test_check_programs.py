"""What a report asks other programs: nvidia-smi, compute-sanitizer, the benchmarks."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
import torch

from cuda_ops.check import networks, sanitizer
from cuda_ops.check.facts import facts, from_nvidia_smi
from cuda_ops.check.process import run_within

CPU = torch.device("cpu")


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of programs that come first."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


@pytest.mark.parametrize("status, passed", [(0, True), (86, False)])
def test_the_sanitizer_is_believed(folder, status, passed):
    say = f"import sys; print('==== ERROR SUMMARY: {status} errors'); sys.exit({status})"
    program(folder, sanitizer.PROGRAM, say)
    verdict = sanitizer.inspect(sanitizer.find(), "memcheck", ["true"], 60)
    assert verdict.passed is passed and f"ERROR SUMMARY: {status} errors" in verdict.summary


def test_a_sanitizer_that_comes_to_no_end_is_no_failure(folder):
    program(folder, sanitizer.PROGRAM, "import time; time.sleep(60)")
    assert sanitizer.inspect(sanitizer.find(), "racecheck", ["true"], 1).passed is None


@pytest.mark.parametrize("tool, passed", [("memcheck", False), ("racecheck", True)])
def test_races_are_reported_and_only_stray_accesses_fail(folder, tool, passed):
    say = f"import sys; sys.exit(86 if {tool!r} in sys.argv else 0)"
    program(folder, sanitizer.PROGRAM, say)
    section = sanitizer.sanitizer_section(torch.device("cuda"), 60)
    assert section.passed is passed
    words = {row[0]: row[2] for row in section.tables[0].rows}
    other = "racecheck" if tool == "memcheck" else "memcheck"
    assert words == {tool: "to be judged" if passed else "**FAIL**", other: "pass"}


def test_what_a_program_started_ends_with_it():
    """Its own program holds the pipe, which would be waited for."""
    child = "import time; time.sleep(40)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    start = time.monotonic()
    assert run_within(2, [sys.executable, "-c", parent]).status is None
    assert time.monotonic() - start < 30


def test_the_sanitizer_runs_the_small_cases_of_this_check(folder):
    program(folder, sanitizer.PROGRAM, "import sys; print(sys.argv)")
    command = [sys.executable, "-m", "cuda_ops.check", "device=cpu", "--small"]
    assert "--tool" in sanitizer.inspect(sanitizer.find(), "memcheck", command, 60).summary
    assert "needs a GPU" in sanitizer.sanitizer_section(CPU, 1).notes[0]


def test_nvidia_smi_is_asked(folder):
    program(folder, "nvidia-smi", "print('570.1, 1980 MHz, 1980 MHz, 2619 MHz, 700 W, 33')")
    assert from_nvidia_smi(0)["driver"] == "570.1"
    program(folder, "nvidia-smi", "print('no devices')")
    assert from_nvidia_smi(0) == {}


def test_facts_name_machine_and_versions():
    found = facts(CPU)
    assert found["torch"] == torch.__version__ and found["device"]
    assert {"python", "date", "commit"} <= set(found)


def test_networks_need_a_checkout(tmp_path):
    rows, notes = networks.network_rows(CPU, 100, True, 10, tmp_path)
    assert rows == [] and "checkout" in notes[0]


def test_networks_without_hydra_are_not_measured_and_say_so(monkeypatch):
    assert networks.missing() is None
    monkeypatch.setitem(networks.NEEDED, "no_such_module", "hydra-core")
    rows, notes = networks.network_rows(CPU, 100, True, 10)
    assert rows == []
    assert notes == ["Not measured: networks: needs hydra-core (carry the wheels)."]
    assert networks.network_section(rows, notes).passed is None


def test_networks_that_fail_say_why(tmp_path):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").touch()
    (tmp_path / "benchmarks" / "networks.py").write_text("raise SystemExit('a planted error')")
    with pytest.raises(RuntimeError, match="a planted error"):
        networks.network_rows(CPU, 100, True, 10, tmp_path)


def test_networks_are_shown():
    about = {"voxels": 100, "precision": "float32", "low": 1.0, "high": 3.0, "host_ms": 2.0}
    row = {"network": "n", "phase": "p", "ms": 2.0, "floor_ms": 1.0, "peak_mib": None, **about}
    text = "\n".join(networks.network_section([row], ["a note"]).lines())
    assert "50 %" in text and "a note" in text
