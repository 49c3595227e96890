"""`python -m cuda_ops.check [device=cpu|cuda] [out=FOLDER] [points=N]`."""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import cuda_ops
from cuda_ops.check.parity import Parity, check_parity
from cuda_ops.check.timing import Timing, ceilings, timings

DEFAULTS = {"device": "", "out": "", "points": "100000"}


def main(arguments: list[str]) -> int:
    """Check the device, print the report, write it if `out` is given.

    Returns:
        0 if every op agrees with float64 and repeats itself, else 1.
    """
    options = dict(DEFAULTS)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in DEFAULTS:
            sys.stderr.write(f"unknown argument {argument!r}; known: {', '.join(DEFAULTS)}\n")
            return 2
        options[key] = value
    name = options["device"] or ("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    rows = check_parity(device)
    top = ceilings(device)
    times = timings(device, int(options["points"]))
    text = markdown(device, rows, top, times)
    sys.stdout.write(text)
    if options["out"]:
        folder = Path(options["out"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"check_{device.type}.md").write_text(text, encoding="utf-8")
        report = {
            "machine": machine(device),
            "parity": [asdict(row) | {"passed": row.passed} for row in rows],
            "ceilings": [asdict(row) for row in top],
            "timings": [asdict(row) for row in times],
        }
        (folder / f"check_{device.type}.json").write_text(json.dumps(report, indent=2) + "\n")
    return 0 if all(row.passed for row in rows) else 1


def machine(device: torch.device) -> dict[str, Any]:
    """What the numbers were measured on."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "device": gpu or processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def processor() -> str:
    """The name of the CPU."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def markdown(
    device: torch.device, rows: list[Parity], top: list[Timing], times: list[Timing]
) -> str:
    """The report."""
    facts = machine(device)
    lines = ["# Operators on " + str(facts["device"]), ""]
    lines.append(", ".join(f"{key} {value}" for key, value in facts.items() if key != "device"))
    lines += ["", "| op | error to float64 | bound | repeatable | |", "|---|---|---|---|---|"]
    for row in rows:
        verdict = "pass" if row.passed else "**FAIL**"
        repeatable = "yes" if row.repeatable else "**no**"
        lines.append(
            f"| {row.name} | {row.error:.1e} | {row.tolerance:.1e} | {repeatable} | {verdict} |"
        )
    lines += ["", "Medians of 9 runs after 3.", "", "| what | ms | rate | spconv-triton ms |"]
    lines.append("|---|---|---|---|")
    for timing in (*top, *times):
        rival = "" if timing.rival is None else f"{timing.rival:.3f}"
        rate = f"{timing.rate:.4g} {timing.unit}"
        lines.append(f"| {timing.name} | {timing.milliseconds:.3f} | {rate} | {rival} |")
    served = {row.kernel for row in cuda_ops.info()}
    lines += ["", f"Served by: {', '.join(sorted(served))}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
