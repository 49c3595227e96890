"""How fast codebook attention is, beside its reference and the convolutions that it competes with.

`python -m benchmarks.attention [out=FILE.json,FILE.md] [device=cuda] [channels=64,96,144] ...`:
three codes of dilations 2, 1 and 3, eight groups, freed memory kept as in training. In one process,
interleaved:

* forward and backward, beside the reference, three depthwise convolutions of ours, and one 3x3x3
  convolution from 64 to 64 channels, forward;
* routed: every voxel and group has chosen one code, uniformly, or the first one in 4 of 5, or with
  `run=FOLDER` as a trained network chooses on its validation scenes, all blocks together;
* a block from C to C channels, and a residual block with as many parameters, forward and backward;
* a training step of `voxel_tr` and of `minkunet_m`, which has as many parameters.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import cuda_ops
from benchmarks.clouds import WORKLOADS, Workload
from benchmarks.measure import Case, Meter, ours
from benchmarks.options import count, parse
from benchmarks.report import Report, facts, wide_console
from benchmarks.steps import Problem, build_model
from pc3d.cli.build import build_data, build_task
from pc3d.cli.config import compose_config
from pc3d.models.checkpoint import load_network, read_checkpoint
from pc3d.nn import BasicBlock, CodebookAttention
from pc3d.sparse import CoordSet, KernelSpec, SparseTensor
from pc3d.utils.allocator import keep_freed_memory
from pc3d.utils.run_folder import checkpoint_path, read_run

FURTHER = {"channels": "64,96,144", "run": "", "reference": "yes"}
DILATIONS = (2, 1, 3)
GROUPS = 8
BLOCK_CHANNELS = 48
"""Of the block that is timed: its values have twice as many."""
ROUTED = "Routed codebook attention"


class Layer(NamedTuple):
    """What codebook attention is called with: values, choice, codes, tables."""

    v: Tensor
    choice: Tensor
    codes: Tensor
    tables: list[Tensor]

    @classmethod
    def random(cls, coords: CoordSet, channels: int, seed: int = 0) -> Layer:
        """Normally distributed values and codes, soft choices."""
        generator = torch.Generator().manual_seed(seed)
        tables = [coords.neighbors(KernelSpec(3, dilation=d)).table for d in DILATIONS]
        logits = torch.randn(len(coords), len(tables), GROUPS, generator=generator)
        v = torch.randn(len(coords), channels, generator=generator)
        codes = torch.randn(sum(map(len, tables)), channels, generator=generator)
        v, choice, codes = (t.to(coords.device) for t in (v, logits.softmax(dim=1), codes))
        return cls(v, choice, codes, tables)

    def forward(self) -> Tensor:
        return cuda_ops.codebook_attention(*self)

    def routed(self, chosen: Tensor) -> Tensor:
        return cuda_ops.routed_codebook_attention(self.v, chosen, self.codes, self.tables)

    def depthwise(self) -> None:
        """A depthwise convolution for every code."""
        for code, table in zip(self.codes.split([27] * 3), self.tables, strict=True):
            cuda_ops.codebook_attention(self.v, None, code, [table])

    def backward(self) -> Any:
        """Runs the backward pass of one forward pass, as often as it is called."""
        inputs = [tensor.clone().requires_grad_() for tensor in self[:3]]
        y = cuda_ops.codebook_attention(*inputs, self.tables)
        grad = torch.ones_like(y)
        return lambda: torch.autograd.grad(y, inputs, grad, retain_graph=True)


def measure_op(
    meter: Meter, workload: Workload, channels: int, threads: int, reference: bool
) -> None:
    """Forward, backward and routed."""
    coords = workload.coords
    layer = Layer.random(coords, channels)
    shapes = (len(coords), 64), (27, 64, 64)
    x, weight = (torch.randn(shape, device=coords.device) for shape in shapes)
    conv = partial(cuda_ops.sparse_conv, x, weight, layer.tables[1])
    name = f"E={channels}"
    runs: dict[str, Any] = {"codebook": layer.forward, "3 depthwise": layer.depthwise}
    runs["conv 64 -> 64"] = conv
    if reference:
        runs["reference"] = ours("reference", layer.forward)
    meter.measure(Case("Codebook attention: forward", workload.name, name, threads), runs)
    runs = {"codebook": layer.backward(), "conv 64 -> 64, forward": conv}
    meter.measure(Case("Codebook attention: backward", workload.name, name, threads), runs)
    uniform = torch.randint(3, (len(coords), GROUPS), dtype=torch.int32, device=coords.device)
    skewed = torch.where(torch.rand(uniform.shape, device=coords.device) < 0.8, 0, uniform)
    for what, chosen in (("uniform", uniform), ("4 of 5 the same", skewed)):
        runs = {"soft": layer.forward, "routed": partial(layer.routed, chosen)}
        meter.measure(Case(ROUTED, workload.name, f"{name}, {what}", threads), runs)


def layers_of_run(folder: Path, device: torch.device) -> list[Layer]:
    """What every block of a run's network is called with, on its validation scenes."""
    config, _ = read_run(folder)
    data = build_data(config)
    task = build_task(config, data, training=False)
    path = checkpoint_path(folder, "best")
    load_network(task.network, read_checkpoint(path), str(path))
    found: list[Layer] = []

    def record(module: CodebookAttention, args: tuple[SparseTensor, SparseTensor], y: Any) -> None:
        x, v = args
        codes, tables = module.codebook.codes(), module.codebook.tables(x.coords)
        assert module.choice is not None
        weights = module.choice(module.logits(x, codes, tables), module.codebook.share)
        found.append(Layer(v.feats, weights, codes, tables))

    for module in task.network.modules():
        if isinstance(module, CodebookAttention) and module.choice is not None:
            module.register_forward_hook(record)
    network = task.network.eval().to(device)
    with torch.no_grad():
        for batch in data.val_dataloader():
            network(batch.to(device))
    return found


def measure_run(meter: Meter, folder: Path, threads: int) -> None:
    """Routed attention with the codes that a trained network prefers."""
    layers = layers_of_run(folder, meter.watch.device)
    chosen = [layer.choice.argmax(dim=1).int() for layer in layers]
    most = sum(float(c.flatten().bincount().max()) for c in chosen) / sum(c.numel() for c in chosen)

    def soft() -> None:
        for layer in layers:
            layer.forward()

    def routed() -> None:
        for layer, codes in zip(layers, chosen, strict=True):
            layer.routed(codes)

    with torch.no_grad():
        what = f"{len(layers)} trained layers"
        case = Case(ROUTED, "validation scenes", what, threads)
        meter.measure(case, {"soft": soft, "routed": routed})
    meter.notes.append(f"{folder.name}: {most:.0%} of the choices fall on their layer's first code")


def measure_block(meter: Meter, workload: Workload, threads: int) -> None:
    """A block of codebook attention beside a residual block with as many parameters."""
    factory = instantiate(compose_config("config", ["model=voxel_tr"]).model.block)
    block = factory(BLOCK_CHANNELS, BLOCK_CHANNELS)
    size = num_parameters(block)
    width = min(range(8, 257, 4), key=lambda c: abs(num_parameters(BasicBlock(c, c)) - size))
    rival = BasicBlock(width, width)
    runs = {
        f"voxel transformer {BLOCK_CHANNELS}": both(block, workload.coords, BLOCK_CHANNELS),
        f"residual {width}": both(rival, workload.coords, width),
    }
    name = f"{size:,} and {num_parameters(rival):,} parameters"
    case = Case("Block: forward + backward", workload.name, name, threads)
    meter.measure(case, runs)


def both(block: nn.Module, coords: CoordSet, channels: int) -> Any:
    """Runs a block forward and backward; maps are built before."""
    block = block.to(coords.device)
    x = torch.randn(len(coords), channels, device=coords.device, requires_grad=True)

    def run() -> None:
        block(SparseTensor(coords, x)).feats.sum().backward()

    return run


def measure_step(meter: Meter, workload: Workload, threads: int) -> None:
    """A training step of the two networks of equal size, with kernel maps."""
    problem = Problem.random(workload.coords.indices)
    runs = {name: step_of(name, problem) for name in ("voxel_tr", "minkunet_m")}
    meter.measure(Case("Training step", workload.name, "6.7 M parameters", threads), runs)


def step_of(model: str, problem: Problem) -> Any:
    """Runs a training step of a network by its name."""
    network = build_model(model).train().to(problem.indices.device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)

    def step() -> None:
        output = network(problem.batch())
        optimizer.zero_grad()
        cross_entropy(output.logits, problem.labels).backward()
        optimizer.step()

    return step


def num_parameters(module: nn.Module) -> int:
    """Learned numbers of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def ratios(meter: Meter) -> Iterator[str]:
    """Each case's first contestant in parts of the others."""
    cases: dict[Case, dict[str, float]] = {}
    for row in meter.rows:
        cases.setdefault(row.case, {})[row.contestant] = row.milliseconds
    for case, times in cases.items():
        lead, *others = times
        parts = [f"{times[lead] / times[other]:.2f} of {other}" for other in others]
        if parts and case.table != "Stream copy":
            yield f"{case.table}, {case.name}, threads {case.threads}: {lead} {', '.join(parts)}"


def main(arguments: Sequence[str]) -> int:
    """Run from a command line of `key=value` arguments; returns the exit status."""
    console = wide_console()
    try:
        options, values = parse(["workloads=indoor", "threads=1", *arguments], FURTHER)
        channels = [count("channels", number) for number in values["channels"].split(",")]
    except ValueError as error:
        console.print(str(error))
        return 2
    tell = partial(console.print, soft_wrap=True)
    meter = Meter(options.warmup, options.runs, tell, options.device)
    if not keep_freed_memory():
        meter.notes.append("freed memory is not kept here: large outputs are paid for page by page")
    made = [WORKLOADS[name](options.points) for name in options.workloads]
    workloads = [workload.to(options.device) for workload in made]
    for threads in options.threads:
        meter.copy(threads, options.copy_mib)
        for workload in workloads:
            for number in channels:
                measure_op(meter, workload, number, threads, values["reference"] == "yes")
            measure_block(meter, workload, threads)
            measure_step(meter, workload, threads)
        if values["run"]:
            measure_run(meter, Path(values["run"]), threads)
    meter.notes += ratios(meter)
    report = Report(facts(options, workloads), meter.ceilings(), meter.rows, (), meter.notes)
    report.show(console)
    report.write(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
