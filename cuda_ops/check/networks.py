"""Whole networks, which this package does not know: measured by `benchmarks.networks`."""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import cuda_ops
from cuda_ops.check.process import run_within
from cuda_ops.check.section import Section, Table

ROOT = Path(cuda_ops.__file__).resolve().parents[1]
TITLE = "Networks"
FAILED = "Failed"
"""How a note about a network that throws begins."""
NEEDED = {"hydra": "hydra-core", "omegaconf": "omegaconf"}
"""What networks are configured with: modules, and the packages that have them."""
HEADER = ["network", "voxels", "types", "phase", "ms", "quartiles", "host ms", "floor ms"]
HEADER += ["floor / ms", "peak MiB"]


def missing() -> str | None:
    """What has to be installed before networks can be built, in words; None: nothing."""
    names = [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]
    return f"networks: needs {' and '.join(names)} (carry the wheels)" if names else None


def network_rows(
    device: torch.device, points: int, quick: bool, seconds: float, root: Path = ROOT
) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of `benchmarks.networks`, and what is to be said about them.

    Args:
        device: where.
        points: the smaller size; the larger has four times as many.
        quick: the smaller size only.
        seconds: after which the program stops by itself.
        root: the folder that holds `benchmarks/`.

    Raises:
        RuntimeError: the program failed; the message ends with what it wrote.
    """
    if not (root / "benchmarks" / "networks.py").is_file():
        return [], ["Networks need a checkout: there is no benchmarks/ beside cuda_ops/."]
    lacking = missing()
    if lacking is not None:
        return [], [f"Not measured: {lacking}."]
    sizes = f"{points}" if quick else f"{points},{4 * points}"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "networks.json"
        arguments = [f"device={device}", f"points={sizes}", f"out={out}"]
        arguments += [f"seconds={max(1, round(seconds))}"]
        if quick:
            arguments += ["warmup=2", "runs=5"]
        # It stops by itself; the limit is for one that hangs.
        command = [sys.executable, "-m", "benchmarks.networks", *arguments]
        done = run_within(1.5 * seconds + 60.0, command, folder=root)
        if done.status:
            raise RuntimeError(f"benchmarks.networks failed: {done.output[-800:]}")
        if done.status is None:
            raise RuntimeError(f"benchmarks.networks came to no end: {done.output[-800:]}")
        report = json.loads(out.read_text(encoding="utf-8"))
    return report["rows"], report["notes"]


def network_section(rows: list[dict[str, Any]], notes: list[str]) -> Section:
    """A line for every row."""
    cells = [
        [
            *(row["network"], f"{row['voxels']:,}", row["precision"], row["phase"]),
            *(f"{row['ms']:.3g}", f"{row['low']:.3g} .. {row['high']:.3g}"),
            *(f"{row['host_ms']:.3g}", f"{row['floor_ms']:.3g}"),
            f"{100 * row['floor_ms'] / row['ms']:.0f} %",
            "-" if row["peak_mib"] is None else f"{row['peak_mib']:.0f}",
        ]
        for row in rows
    ]
    tables = (Table("", HEADER, cells),) if cells else ()
    passed = False if any(note.startswith(FAILED) for note in notes) else None
    return Section(TITLE, rows, passed, tables, tuple(notes))
