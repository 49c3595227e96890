"""How long whole networks take: inference and training, beside the sum of their floors.

`python -m benchmarks.networks [device=cuda] [points=100000,400000] [networks=minkunet18a,...]
[out=FILE.json]`: networks of `conf/model` on rooms of about so many voxels, in float32 and, on a
GPU, under autocast in bfloat16. `inference` has its kernel maps, `inference with maps` builds them,
`training step` is maps, forward, loss, backward and optimizer. A floor is the sum, over all calls
of operators, of the larger of useful work / measured matrix rate and least bytes / measured copy
rate. On a GPU the MinkUNets are also built in spconv-triton, where it is installed.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import cuda_ops
from benchmarks.options import count, parse_names, values_of
from benchmarks.report import machine_facts
from benchmarks.spconv_unet import SpconvMinkUNet
from benchmarks.steps import CONF, LEARNING_RATE, MOMENTUM, Problem, build_model
from benchmarks.work import work_of
from cuda_ops.check.devices import device_of
from cuda_ops.check.facts import gpu
from cuda_ops.check.floors import Ceilings, measure_ceilings
from cuda_ops.check.networks import FAILED, missing
from cuda_ops.check.rooms import Place
from cuda_ops.check.section import in_one_line
from cuda_ops.check.timing import Run, Stopwatch
from pc3d.models import MinkUNet
from pc3d.utils.allocator import keep_freed_memory
from pc3d.utils.files import write_json

NETWORKS = ("minkunet18a", "minkunet_m", "voxel_tr_a")
KNOWN = tuple(sorted(path.stem for path in CONF.parent.glob("*.yaml")))
"""What `networks=` can name."""
PRECISIONS = {"cpu": ("float32",), "cuda": ("bfloat16", "float32")}
INFERENCE, WITH_MAPS, STEP = "inference", "inference with maps", "training step"
RIVAL = "spconv-triton"
KEYS = {
    "device": "cpu",
    "points": "100000,400000",
    "networks": ",".join(NETWORKS),
    "warmup": "5",
    "runs": "20",
    "seconds": "100000",
    "out": "",
}


@dataclass(frozen=True)
class Options:
    """What is asked for.

    Attributes:
        device: where.
        points: sizes of the rooms, about their numbers of voxels.
        networks: names from `conf/model`.
        warmup: runs before the clock starts.
        runs: timed runs.
        seconds: after which nothing new is started.
        out: the JSON file; None: the rows are only shown.
    """

    device: torch.device
    points: tuple[int, ...]
    networks: tuple[str, ...]
    warmup: int
    runs: int
    seconds: int
    out: Path | None

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Options:
        """Those of a command line; ValueError with one clear line."""
        values = values_of(arguments, KEYS)
        numbers = {key: count(key, values[key]) for key in ("warmup", "runs", "seconds")}
        out = Path(values["out"]) if values["out"] else None
        if out is not None and out.suffix != ".json":
            raise ValueError(f"out must name a .json file; got {out}")
        return cls(
            device=device_of(values["device"]),
            points=tuple(count("points", number) for number in values["points"].split(",")),
            networks=parse_names("networks", values["networks"], KNOWN),
            out=out,
            **numbers,
        )


@dataclass(frozen=True)
class Contestant:
    """A network and how it is called.

    Attributes:
        name: in the rows.
        network: has the weights.
        fresh: logits of a problem, maps built anew.
        ready: of each problem, a call that gives its logits with maps that are there already; none
            where the engine builds them in passing.
    """

    name: str
    network: nn.Module
    fresh: Callable[[Problem], Tensor]
    ready: Callable[[Problem], Callable[[], Tensor]] | None


def our_network(name: str, device: torch.device) -> Contestant:
    """A network of `conf/model`."""
    network = build_model(name).to(device)

    def ready(problem: Problem) -> Callable[[], Tensor]:
        batch = problem.batch()
        return lambda: network(batch).logits

    return Contestant(name, network, lambda problem: network(problem.batch()).logits, ready)


def rival_network(name: str, device: torch.device) -> Contestant | None:
    """The same in spconv-triton, if it is one of those networks that it has the layers for."""
    network = our_network(name, device).network
    if not isinstance(network, MinkUNet):
        return None
    theirs = SpconvMinkUNet(network).to(device)
    return Contestant(f"{name}, {RIVAL}", theirs, lambda p: theirs(p.feats, p.indices), None)


def has_rival(device: torch.device) -> bool:
    """Whether spconv-triton can run: it needs a GPU."""
    return device.type == "cuda" and importlib.util.find_spec("spconv_triton") is not None


def phases(
    contestant: Contestant, problems: Sequence[Problem], precision: str
) -> Iterator[tuple[str, list[Run]]]:
    """What is timed, a call for each problem."""
    network, device = contestant.network, problems[0].feats.device
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)

    def typed() -> Any:
        return (
            nullcontext() if precision == "float32" else torch.autocast(device.type, torch.bfloat16)
        )

    def inference(logits: Callable[[], Tensor]) -> Run:
        def run() -> object:
            with torch.inference_mode(), typed():
                return logits()

        return run

    def step(problem: Problem) -> None:
        optimizer.zero_grad()
        with typed():
            loss = cross_entropy(contestant.fresh(problem).float(), problem.labels)
        loss.backward()
        optimizer.step()

    network.eval()
    yield WITH_MAPS, [inference(lambda p=p: contestant.fresh(p)) for p in problems]
    if contestant.ready is not None:
        yield INFERENCE, [inference(contestant.ready(problem)) for problem in problems]
    network.train()
    yield STEP, [lambda p=p: step(p) for p in problems]


def measure(options: Options, ceilings: Ceilings) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows, and what was left out or failed, and why. Rivals come when all of ours is done."""
    deadline = time.monotonic() + options.seconds
    watch = Stopwatch(options.device, options.warmup, options.runs)
    problems = {size: rooms(size, options.device) for size in options.points}
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    makers = [our_network, rival_network] if has_rival(options.device) else [our_network]
    order = makers, PRECISIONS[options.device.type], options.points, options.networks
    for make, precision, size, name in product(*order):
        about = f"{name}, {size:,}, {precision}"
        if time.monotonic() > deadline:
            notes.append(f"Out of time: {make.__name__} of {about} and all after it.")
            break
        try:
            contestant = make(name, options.device)
            if contestant is not None:
                voxels = len(problems[size][0].feats)
                named = {"network": contestant.name, "size": size, "voxels": voxels}
                for phase, runs in phases(contestant, problems[size], precision):
                    row = row_of(phase, runs, watch, ceilings)
                    rows.append({**named, "precision": precision, **row})
                    sys.stdout.write(
                        f"{contestant.name}, {size:,}, {precision}, {phase}: {row['ms']:.2f} ms\n"
                    )
        except Exception as error:  # noqa: BLE001  one that throws is named, the others go on
            failed = FAILED if make is our_network else f"{RIVAL} is left out"
            notes.append(f"{failed}: {about}: {in_one_line(error)}")
    return rows, notes


def rooms(size: int, device: torch.device) -> list[Problem]:
    """Random features and labels on rooms of different seeds."""
    clouds = Place.make("room", size, device).clouds
    return [Problem.random(cuda_ops.morton_decode(c.keys), seed) for seed, c in enumerate(clouds)]


def row_of(phase: str, runs: list[Run], watch: Stopwatch, ceilings: Ceilings) -> dict[str, Any]:
    """Times, floor and memory of a phase."""
    times = watch.measure(runs)
    return {
        "phase": phase,
        "ms": times.median,
        "low": times.low,
        "high": times.high,
        "host_ms": times.host,
        "floor_ms": work_of(runs[0]).floor_ms(ceilings),
        "peak_mib": watch.peak_mib(runs[0]),
    }


def main(arguments: Sequence[str]) -> int:
    """Run from a command line of `key=value` arguments; returns the exit status."""
    try:
        options = Options.parse(arguments)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    lacking = missing()
    if lacking is not None:
        sys.stderr.write(f"{lacking}\n")
        return 2
    keep_freed_memory()  # as training does
    rows, notes = measure(options, measure_ceilings(options.device, quick=True))
    sys.stdout.writelines(f"{note}\n" for note in notes)
    if options.out is not None:
        facts = machine_facts(f"median of {options.runs} after {options.warmup}, three clouds")
        if options.device.type == "cuda":
            facts["gpu"] = gpu(options.device)
        write_json(options.out, {"facts": facts, "rows": rows, "notes": notes})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
