"""Small cases under compute-sanitizer, where it is installed: stray accesses and races."""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from cuda_ops.check.process import run_within
from cuda_ops.check.section import Section, Table

PROGRAM = "compute-sanitizer"
TOOLS = ("memcheck", "racecheck")
BINDING = "memcheck"
"""The tool that fails the section. racecheck looks at the kernels of CUB and Triton too, which hand
values over in ways that it takes for races: what it says is for a reader to judge."""
SUMMARY = re.compile(r"(?:ERROR|RACECHECK) SUMMARY: .*")
TITLE = "compute-sanitizer"


@dataclass(frozen=True)
class Verdict:
    """What one tool said.

    Attributes:
        tool: its name.
        summary: its last word, or why there is none.
        passed: it ended well, and so did the cases under it; None: it came to no verdict.
    """

    tool: str
    summary: str
    passed: bool | None

    @property
    def word(self) -> str:
        """What it means for the section."""
        if self.passed is None:
            return "no verdict"
        if self.passed:
            return "pass"
        return "**FAIL**" if self.tool == BINDING else "to be judged"


def find() -> str | None:
    """The program, on the path or in the CUDA toolkit; None if it is not here."""
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if name in os.environ]
    folders = [str(Path(home) / "bin") for home in (*homes, "/usr/local/cuda")]
    return shutil.which(PROGRAM) or shutil.which(PROGRAM, path=os.pathsep.join(folders))


def inspect(program: str, tool: str, command: list[str], seconds: float) -> Verdict:
    """Run a command under a tool.

    Args:
        program: of `find`.
        tool: `"memcheck"` or `"racecheck"`.
        command: what is run; a status other than 0 is a failure.
        seconds: after which it is given up.
    """
    # torch hands out parts of large blocks, in which an access beyond the end goes unseen.
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    arguments = [program, "--tool", tool, "--error-exitcode", "86", *command]
    try:
        done = run_within(seconds, arguments, environment)
    except OSError as error:
        return Verdict(tool, str(error), None)
    if done.status is None:
        return Verdict(tool, f"given up after {seconds:.0f} s", None)
    found = SUMMARY.findall(done.output)
    last = done.output.strip().splitlines()[-1:]
    summary = found[-1] if found else f"no summary; {' '.join(last)}"
    return Verdict(tool, f"{summary} (status {done.status})", done.status == 0)


def sanitizer_section(device: torch.device, seconds: float, wanted: bool = True) -> Section:
    """Both tools, one after another, within `seconds` each."""
    program = find()
    if device.type != "cuda" or program is None or not wanted:
        why = "not present" if program is None else "left out by --quick"
        why = why if device.type == "cuda" else "needs a GPU"
        return Section(TITLE, {"verdicts": None, "why": why}, notes=(f"Not run: {why}.",))
    command = [sys.executable, "-m", "cuda_ops.check", f"device={device}", "--small"]
    verdicts = [inspect(program, tool, command, seconds) for tool in TOOLS]
    table = Table("", ["tool", "verdict", ""], [[v.tool, v.summary, v.word] for v in verdicts])
    passed = not any(v.passed is False and v.tool == BINDING for v in verdicts)
    return Section(TITLE, {"verdicts": [asdict(v) for v in verdicts]}, passed, (table,))
