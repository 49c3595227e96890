"""Peak memory of a contestant that trains: in a process of its own, or on a GPU.

`python -m benchmarks.peak_memory CONTESTANT INDICES.npy THREADS` writes two numbers of MiB, before
and after three steps.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.clouds import Workload
from benchmarks.measure import using_threads
from benchmarks.report import REPOSITORY, Memory
from benchmarks.steps import Problem, build_network, training_step
from cuda_ops.check.timing import Stopwatch
from pc3d.utils.peak_memory import peak_mib

STEPS = 3


def peak_memory(workload: Workload, contestant: str, threads: int) -> Memory:
    """Train three steps in a new process.

    Raises:
        RuntimeError: the process fails; the message holds what it wrote.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "indices.npy"
        np.save(path, workload.coords.indices.numpy())
        command = [
            sys.executable,
            "-m",
            "benchmarks.peak_memory",
            contestant,
            str(path),
            str(threads),
        ]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{contestant} could not train on {workload.name}:\n{done.stderr}")
    before, peak = (float(number) for number in done.stdout.split()[-2:])
    return Memory(workload.name, contestant, before, peak)


def gpu_memory(workload: Workload, contestant: str, threads: int) -> Memory:
    """Train three steps in this process; what the GPU holds before and at most.

    Args:
        workload: on the GPU.
        contestant: by its name.
        threads: 1, as everywhere on a GPU.
    """
    device = workload.coords.device
    problem = Problem.random(workload.coords.indices)
    step = training_step(contestant, build_network(), problem)
    before = torch.cuda.memory_allocated(device) / 2**20
    grown = Stopwatch(device, 0, 1).peak_mib(lambda: [step() for _ in range(STEPS)])
    assert grown is not None and threads == 1
    return Memory(workload.name, contestant, before, before + grown)


def main(arguments: Sequence[str]) -> int:
    """Train and write the two numbers; returns the exit status."""
    contestant, path, threads = arguments
    with using_threads(int(threads)):
        problem = Problem.random(torch.from_numpy(np.load(path)))
        step = training_step(contestant, build_network(), problem)
        before = peak_mib()
        for _ in range(STEPS):
            step()
    sys.stdout.write(f"{before} {peak_mib()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
