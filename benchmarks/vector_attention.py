"""How fast vector attention is, and what it holds, beside [N, K, C] tensors in plain PyTorch.

`python -m benchmarks.vector_attention [out=FILE.json,FILE.md] [device=cuda] [points=20000] ...`: a
cloud of random points in the order of their Morton keys, each with its K nearest neighbours. In one
process, interleaved, freed memory kept as in training:

* inference of a layer of Point Transformer from q, k, v on, batch norms folded;
* the weighted sum of values and positions, forward and backward.

On a CPU also the peak memory of each, in a process of its own:
`python -m benchmarks.vector_attention peak CONTESTANT POINTS K C G` writes two numbers of MiB.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear, relu

import cuda_ops
from benchmarks.measure import Case, Meter, using_threads
from benchmarks.options import count, parse
from benchmarks.report import REPOSITORY, Memory, Report, facts, wide_console
from pc3d.utils.allocator import keep_freed_memory
from pc3d.utils.peak_memory import peak_mib

SIZES = ((16, 64, 8), (8, 32, 4))
"""Neighbours, channels and groups: of Point Transformer's second and first stage."""
HIDDEN = 3
CELLS = 64
"""Along an edge of the cloud, whose keys order the points."""
RESET = Path("/proc/self/clear_refs")


class Layer(NamedTuple):
    """What a layer computes with.

    Attributes:
        q: [N, C] queries; k and v likewise.
        hidden: [K, N, 3] hidden layer of the positions' MLP, with lift [3, C] and bias [C].
        weight: [C, G] and mix [G, G], of the weights' MLP.
        share: [N, K, G] weights that sum to 1.
        table: [K, N] int32 neighbours.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    hidden: Tensor
    lift: Tensor
    bias: Tensor
    weight: Tensor
    mix: Tensor
    share: Tensor
    table: Tensor

    def fused(self) -> Tensor:
        """Inference without [N, K, C] tensors."""
        position = (self.hidden, self.lift, self.bias)
        logits = cuda_ops.relation_logits(self.q, self.k, *position, self.weight, self.table)
        return self.summed(linear(relu(logits), self.mix).softmax(dim=1), self.v)

    def summed(self, share: Tensor, v: Tensor) -> Tensor:
        return cuda_ops.vector_sum(share, v, self.hidden, self.lift, self.table)

    def composed(self) -> Tensor:
        """The same in plain PyTorch."""
        near = self.table.T.flatten()
        delta = self.hidden.transpose(0, 1) @ self.lift
        keys = self.k.index_select(0, near).view_as(delta)
        relation = relu(keys - self.q.unsqueeze(1) + (delta + self.bias))
        share = linear(relu(relation @ self.weight), self.mix).softmax(dim=1)
        return self._composed_sum(share, self.v, delta)

    def composed_sum(self, share: Tensor, v: Tensor) -> Tensor:
        return self._composed_sum(share, v, self.hidden.transpose(0, 1) @ self.lift)

    def _composed_sum(self, share: Tensor, v: Tensor, delta: Tensor) -> Tensor:
        values = v.index_select(0, self.table.T.flatten()).view_as(delta) + delta
        grouped = values.unflatten(2, (share.shape[2], -1))
        return (grouped * share.unsqueeze(3)).sum(dim=1).flatten(1)

    def trained(self, total: Callable[[Layer, Tensor, Tensor], Tensor]) -> Callable[[], None]:
        """Runs a sum forward and backward, with all its gradients."""
        leaves = {name: getattr(self, name) for name in ("share", "v", "hidden", "lift")}
        leaves = {name: leaf.clone().requires_grad_() for name, leaf in leaves.items()}
        layer, grad = self._replace(**leaves), torch.ones_like(self.v)

        def run() -> None:
            torch.autograd.grad(total(layer, layer.share, layer.v), list(leaves.values()), grad)

        return run

    def contestants(self) -> Mapping[str, Callable[[], object]]:
        """All that is measured, by its name."""
        return {
            "inference, fused": torch.no_grad()(self.fused),
            "inference, plain PyTorch": torch.no_grad()(self.composed),
            "sum, fused": self.trained(Layer.summed),
            "sum, plain PyTorch": self.trained(Layer.composed_sum),
        }


def random_layer(points: int, taps: int, channels: int, groups: int) -> Layer:
    """Normally distributed features on a random cloud, the same every time."""
    generator = torch.Generator().manual_seed(0)
    random = partial(torch.randn, generator=generator)
    cloud = torch.rand(points, 3, generator=generator)
    cells = torch.cat([torch.zeros(points, 1), cloud * CELLS], dim=1).to(torch.int32)
    cloud = cloud[cuda_ops.morton_encode(cells).argsort()]
    table = torch.empty(points, taps, dtype=torch.int32)
    for rows, near in zip(cloud.split(50), table.split(50), strict=True):
        near.copy_(torch.cdist(rows, cloud).topk(taps, largest=False).indices)
    q, k, v = (random(points, channels) for _ in range(3))
    return Layer(
        *(q, k, v),
        relu(random(taps, points, HIDDEN)),
        random(HIDDEN, channels),
        random(channels),
        *(random(channels, groups), random(groups, groups)),
        random(points, taps, groups).softmax(dim=1),
        table.T.contiguous(),
    )


def measure(meter: Meter, layer: Layer, name: str, threads: int) -> None:
    """Time both contestants of both tasks; what they compute is compared first."""
    runs = layer.contestants()
    torch.testing.assert_close(layer.fused(), layer.composed(), rtol=1e-3, atol=1e-3)
    for task, title in (("inference", "inference"), ("sum", "weighted sum, forward + backward")):
        found = {who.removeprefix(f"{task}, "): run for who, run in runs.items() if task in who}
        case = Case(f"Vector attention: {title}", "random points", name, threads)
        meter.measure(case, found)


def peak(contestant: str, points: int, size: tuple[int, int, int]) -> Memory:
    """Three runs in a new process.

    Raises:
        RuntimeError: the process fails; the message holds what it wrote.
    """
    numbers = [str(number) for number in (points, *size)]
    command = [sys.executable, "-m", "benchmarks.vector_attention", "peak", contestant, *numbers]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{contestant} could not run:\n{done.stderr}")
    before, most = (float(number) for number in done.stdout.split()[-2:])
    return Memory(name_of(points, size), contestant, before, most)


def show_peak(contestant: str, *numbers: str) -> int:
    """Run one contestant and write its peak memory before and after."""
    points, taps, channels, groups = map(int, numbers)
    with using_threads(1):
        # A small one first, so that what every process loads is there before.
        random_layer(50, taps, channels, groups).contestants()[contestant]()
        run = random_layer(points, taps, channels, groups).contestants()[contestant]
        if RESET.exists():
            RESET.write_text("5", encoding="utf-8")  # the peak starts at what is held now
        before = peak_mib()
        for _ in range(3):
            run()
    sys.stdout.write(f"{before} {peak_mib()}\n")
    return 0


def name_of(points: int, size: tuple[int, int, int]) -> str:
    """What a layer is called in a table."""
    return "N={:,} K={} C={} G={}".format(points, *size)


def main(arguments: Sequence[str]) -> int:
    """Run from a command line of `key=value` arguments; returns the exit status."""
    if arguments and arguments[0] == "peak":
        return show_peak(*arguments[1:])
    console = wide_console()
    try:
        options, _ = parse(["points=20000", "threads=1", *arguments], {})
        points = count("points", str(options.points))
    except ValueError as error:
        console.print(str(error))
        return 2
    meter = Meter(
        options.warmup, options.runs, partial(console.print, soft_wrap=True), options.device
    )
    if not keep_freed_memory():
        meter.notes.append("freed memory is not kept here: large outputs are paid for page by page")
    memory = []
    for size in SIZES:
        made = random_layer(points, *size)
        layer = Layer(*(tensor.to(options.device) for tensor in made))
        for threads in options.threads:
            measure(meter, layer, name_of(points, size), threads)
        if not meter.on_gpu:
            memory += [peak(who, points, size) for who in layer.contestants()]
    for threads in options.threads:
        meter.copy(threads, options.copy_mib)
    report = Report(facts(options, ()), meter.ceilings(), meter.rows, memory, meter.notes)
    report.show(console)
    report.write(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
