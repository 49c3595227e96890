"""What is installed here, which kernel serves each op, and why: `pc3d doctor`."""

from __future__ import annotations

import importlib.util
import os
import shutil

import torch
from rich.console import Console
from rich.table import Table

import cuda_ops
from pc3d.utils.environment import environment

OPTIONAL = {
    "open3d": "a viewer window; never needed",
    "MinkowskiEngine": "another engine; never needed",
    "torchsparse": "another engine; never needed",
    "spconv": "another engine; never needed",
}


def main() -> None:
    """Print the report."""
    console = Console()
    facts = environment()
    machine = Table("machine", "", show_header=False, title="machine")
    for key in ("python", "platform", "processor"):
        machine.add_row(key, str(facts[key]))
    machine.add_row("CPU threads", f"{facts['num_threads']} of {os.cpu_count()} processors")
    machine.add_row("GPU", ", ".join(facts["gpus"]) or _why_no_gpu())
    for name, version in facts["packages"].items():
        machine.add_row(name, version or "not installed as a package")
    for name, purpose in OPTIONAL.items():
        found = importlib.util.find_spec(name) is not None
        machine.add_row(name, "found" if found else f"not installed ({purpose})")
    console.print(machine)

    ops = Table("op", "on", "served by", "why", title="sparse operators")
    for row in cuda_ops.info():
        ops.add_row(row.name, row.device, row.kernel, row.reason)
    console.print(ops)

    memory = shutil.disk_usage("/dev/shm").free / 2**30 if os.path.isdir("/dev/shm") else None
    if memory is not None and memory < 1:
        console.print(
            f"/dev/shm has {memory:.2f} GiB free: data workers may die with a bus error. Use "
            "num_workers=0 or give the container more shared memory (--shm-size)."
        )


def _why_no_gpu() -> str:
    if torch.version.cuda is None:
        return "none: this torch is a CPU build (everything works, slower)"
    return f"none found by torch (built for CUDA {torch.version.cuda}); is a driver installed?"


if __name__ == "__main__":
    main()
