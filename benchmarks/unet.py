"""How long a training step of MinkUNet14A takes, and how much memory, beside other engines.

`python -m benchmarks.unet [out=FILE.json,FILE.md] [device=cuda] [threads=1,2] ...`: a step is
kernel maps, forward, loss, backward and optimizer, on one cloud. All contestants start from the
same weights, and their losses are compared before anything is timed. Peak memory is that of a
process of its own for each, or of the GPU; `memory=no` skips it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from benchmarks.clouds import WORKLOADS, Workload
from benchmarks.measure import Case, Meter, using_threads
from benchmarks.options import parse
from benchmarks.peak_memory import gpu_memory, peak_memory
from benchmarks.peers import available
from benchmarks.report import Memory, Report, facts, wide_console
from benchmarks.steps import Problem, Step, build_network, training_gflop, training_step
from pc3d.models import MinkUNet

FURTHER = {"memory": "yes"}
"""Keys of this program beside those of `benchmarks.options`."""
TITLE = "Training step of MinkUNet14A"
NUM_COMPARED = 2
"""Steps whose losses are compared: the second one sees the first one's gradients."""
TOLERANCE = 1e-3


def measure_step(
    meter: Meter, workload: Workload, threads: Sequence[int], contestants: Sequence[str]
) -> None:
    """Compare the losses of the contestants, then time their steps."""
    problem, network = Problem.random(workload.coords.indices), build_network()
    gflop, size = training_gflop(network, problem), len(workload.coords)
    with using_threads(1):
        steps = {name: training_step(name, network, problem) for name in contestants}
        check_losses(steps)
    for number in threads:
        if number > 1 and "spconv" in contestants:
            meter.notes += compare_threads(network, problem, workload.name, number)
        name = f"{size:,} voxels"
        meter.measure(Case(TITLE, workload.name, name, number, gflop), steps)


def check_losses(steps: dict[str, Step]) -> None:
    """Run every contestant for two steps.

    Raises:
        RuntimeError: a loss differs from the first contestant's by more than 1e-3 of it.
    """
    losses = {name: [step() for _ in range(NUM_COMPARED)] for name, step in steps.items()}
    first, *others = losses
    for name in others:
        for index, (found, expected) in enumerate(zip(losses[name], losses[first], strict=True)):
            if not abs(found - expected) <= TOLERANCE * abs(expected):
                raise RuntimeError(
                    f"the loss of step {index} is {found:.6f} with {name} and {expected:.6f} with "
                    f"{first}: they do not compute the same, so their times do not compare"
                )


def compare_threads(network: MinkUNet, problem: Problem, name: str, threads: int) -> list[str]:
    """A note if spconv's loss on several threads is not that on one: its scatter has a race."""
    losses = []
    for number in (1, threads):
        with using_threads(number):
            step = training_step("spconv", network, problem)
            losses.append([step() for _ in range(NUM_COMPARED)][-1])
    if abs(losses[1] - losses[0]) <= TOLERANCE * abs(losses[0]):
        return []
    return [
        f"spconv's loss of step {NUM_COMPARED} on {name} is {losses[1]:.4f} with threads "
        f"{threads} and {losses[0]:.4f} with one; its times stand as they are"
    ]


def main(arguments: Sequence[str]) -> int:
    """Run from a command line of `key=value` arguments; returns the exit status."""
    console = wide_console()
    try:
        options, values = parse(arguments, FURTHER)
        if values["memory"] not in ("yes", "no"):
            raise ValueError(f"memory must be yes or no; got {values['memory']!r}")
    except ValueError as error:
        console.print(str(error))
        return 2
    options, notes = available(options)
    contestants = [name for name in options.contestants if name != "numba"]
    made = [WORKLOADS[name](options.points) for name in options.workloads]
    workloads = [workload.to(options.device) for workload in made]
    tell = partial(console.print, soft_wrap=True)
    meter = Meter(options.warmup, options.runs, tell, options.device)
    meter.notes += notes
    memory: list[Memory] = []
    for threads in options.threads:
        meter.copy(threads, options.copy_mib)
    for workload in workloads:
        measure_step(meter, workload, options.threads, contestants)
        if values["memory"] == "yes":
            weigh = gpu_memory if meter.on_gpu else peak_memory
            memory += [weigh(workload, name, options.threads[0]) for name in contestants]
    report = Report(facts(options, workloads), meter.ceilings(), meter.rows, memory, meter.notes)
    report.show(console)
    report.write(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
