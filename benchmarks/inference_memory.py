"""Peak memory of networks that label a scene on the CPU, each in a process of its own.

`python -m benchmarks.inference_memory [networks=ptv1,minkunet34c] [voxels=20000] [out=FILE.json]`:
networks of `conf/model` with 4 features and 20 classes, one pass without gradients over a room of
about so many voxels. `before` is what the program holds when the pass begins, libraries and weights
included; `pass` is what it needs besides, at most.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.table import Table

import cuda_ops
from benchmarks.networks import KNOWN
from benchmarks.options import count, parse_names, values_of
from benchmarks.report import REPOSITORY, machine_facts, wide_console
from benchmarks.steps import Problem, build_model
from cuda_ops.check.rooms import Place
from pc3d.utils.files import write_json
from pc3d.utils.peak_memory import peak_mib

KEYS = {"networks": "ptv1,minkunet34c", "voxels": "20000", "out": ""}
CHILD = "child"


def measure(network: str, voxels: int) -> dict[str, object]:
    """Memory before and during a pass, in a new process.

    Raises:
        RuntimeError: the process fails; the message holds what it wrote.
    """
    command = [sys.executable, "-m", "benchmarks.inference_memory", CHILD, network, str(voxels)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{network} could not label a room:\n{done.stderr}")
    size, before, peak = done.stdout.split()[-3:]
    grown = float(peak) - float(before)
    return {"network": network, "voxels": int(size), "before": float(before), "pass": grown}


def child(network: str, voxels: int) -> None:
    """One pass, on one thread; writes voxels, and MiB before and at most."""
    torch.set_num_threads(1)
    model = build_model(network).eval()
    cloud = Place.make("room", voxels, torch.device("cpu")).clouds[0]
    problem = Problem.random(cuda_ops.morton_decode(cloud.keys))
    small = Problem.random(problem.indices[:200])
    with torch.inference_mode():
        model(small.batch())  # libraries are loaded by first use
        before = peak_mib()
        model(problem.batch())
    sys.stdout.write(f"{len(cloud)} {before} {peak_mib()}\n")


def main(arguments: Sequence[str]) -> int:
    """Run from a command line of `key=value` arguments; returns the exit status."""
    if arguments[:1] == [CHILD]:
        child(arguments[1], int(arguments[2]))
        return 0
    console = wide_console()
    try:
        values = values_of(arguments, KEYS)
        names = parse_names("networks", values["networks"], KNOWN)
        voxels = count("voxels", values["voxels"])
    except ValueError as error:
        console.print(str(error))
        return 2
    rows = [measure(name, voxels) for name in names]
    table = Table("network", "voxels", "before, MiB", "pass, MiB")
    for row in rows:
        table.add_row(
            str(row["network"]), str(row["voxels"]), f"{row['before']:.0f}", f"{row['pass']:.0f}"
        )
    console.print(table)
    if values["out"]:
        facts = machine_facts("one pass in a process of its own, one thread")
        write_json(Path(values["out"]), {"facts": facts, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
