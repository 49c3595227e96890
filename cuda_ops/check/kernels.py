"""The ops that matter, on rooms and a street: what is timed, beside which reference and floor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

import cuda_ops
from cuda_ops.check.floors import Work
from cuda_ops.check.precision import FLOAT32, Precision
from cuda_ops.check.rooms import Cloud, Place, offsets
from cuda_ops.check.timing import Run
from cuda_ops.codebook_attention.op import (
    reference_codebook_attention,
    reference_grad_codes,
    reference_grad_v,
)
from cuda_ops.devoxelize.op import reference_devoxelize, reference_devoxelize_grad
from cuda_ops.neighbor_table.op import reference_down_table, reference_neighbor_table
from cuda_ops.sparse_conv.op import reference_sparse_conv, reference_weight_grad

DILATIONS = (2, 1, 3)
"""Of the codes of CodedVTR."""
GROUPS = 8
LEVELS = 4
"""Halvings of a U-Net."""
FORWARD, BACKWARD = "forward", "backward"
INPUT, WEIGHT = "input gradient", "weight gradient"
CONV, ATTENTION = "sparse_conv", "codebook_attention D=3"
MAPS = "all maps of a U-Net"


@dataclass(frozen=True)
class Kernel:
    """A thing to time, with nothing allocated yet.

    Attributes:
        op: what is done.
        place: on which clouds.
        channels: 0 where there are none.
        precision: types.
        maker: for one cloud: the work, the call, and the same in plain PyTorch if there is that.
    """

    op: str
    place: Place
    channels: int
    precision: Precision
    maker: Maker

    def __str__(self) -> str:
        about = f", C={self.channels}, {self.precision.name}" if self.channels else ""
        return f"{self.op} on {self.place.name}{about}"

    def runs(self) -> tuple[Work, list[Run], list[Run]]:
        """The work of the first cloud, the calls for every cloud, and their references."""
        made = [self.maker(cloud) for cloud in self.place.clouds]
        references = [reference for _, _, reference in made if reference is not None]
        return made[0][0], [run for _, run, _ in made], references


Maker = Callable[[Cloud], tuple[Work, Run, "Run | None"]]


def normal(precision: Precision, like: Tensor, *shape: int) -> Tensor:
    """Normally distributed features, on the device of a tensor."""
    return torch.randn(*shape, device=like.device).to(precision.feats)


def pairs(table: Tensor) -> int:
    """Neighbours that exist."""
    return int((table >= 0).sum())


def unet_maps(keys: Tensor) -> None:
    """The 3x3x3 map of every level, and those between the levels."""
    taps = offsets(keys)
    for level in range(LEVELS + 1):
        cuda_ops.neighbor_table(keys, taps)
        if level < LEVELS:
            keys = cuda_ops.down_table(keys)[0]


def _unet_bytes(keys: Tensor) -> float:
    """Keys read once, tables and coarser keys written once."""
    total = 0.0
    for level in range(LEVELS + 1):
        total += keys.nbytes + 27 * 4 * len(keys)
        if level < LEVELS:
            coarse, down, up = cuda_ops.down_table(keys)
            total += down.nbytes + up.nbytes
            keys = coarse
    return total


def map_kernels(place: Place) -> Iterator[Kernel]:
    """Neighbour tables, the coarser set, all maps of a U-Net, voxels of points."""

    def table(reach: int, dilation: int) -> Maker:
        def maker(cloud: Cloud) -> tuple[Work, Run, Run]:
            keys, taps = cloud.keys, offsets(cloud.keys, dilation, reach)
            work = Work(0.0, keys.nbytes + 4 * len(taps) * len(keys))
            return (
                work,
                lambda: cuda_ops.neighbor_table(keys, taps),
                lambda: reference_neighbor_table(keys, taps),
            )

        return maker

    def down(cloud: Cloud) -> tuple[Work, Run, Run]:
        keys = cloud.keys
        work = Work.touching(keys, *cloud.down)
        return work, lambda: cuda_ops.down_table(keys), lambda: reference_down_table(keys)

    def maps(cloud: Cloud) -> tuple[Work, Run, None]:
        keys = cloud.keys
        return Work(0.0, _unet_bytes(keys)), lambda: unet_maps(keys), None

    def voxelize(cloud: Cloud) -> tuple[Work, Run, Run]:
        keys = cloud.point_keys
        work = Work.touching(keys, *cuda_ops.voxelize(keys))
        return (
            work,
            lambda: cuda_ops.voxelize(keys),
            lambda: torch.unique(keys, return_inverse=True, return_counts=True),
        )

    makers = {
        MAPS: maps,
        **{f"neighbor_table 3^3, dilation {d}": table(1, d) for d in (1, 2, 3)},
        "neighbor_table 5^3": table(2, 1),
        "down_table": down,
        "voxelize": voxelize,
    }
    for op, maker in makers.items():
        yield Kernel(op, place, 0, FLOAT32, maker)


def conv_kernels(place: Place, channels: int, precision: Precision) -> Iterator[Kernel]:
    """A 3x3x3 convolution: forward, and each gradient alone."""

    def maker(phase: str) -> Maker:
        def make_one(cloud: Cloud) -> tuple[Work, Run, Run]:
            table = cloud.table()
            x, grad = (normal(precision, table, len(cloud), channels) for _ in range(2))
            weight = normal(precision, table, 27, channels, channels)
            flop = 2.0 * pairs(table) * channels**2
            work = Work.touching(x, grad, weight, table, flop=flop, rate=precision.rate)
            return work, *phases(x, weight, grad, table, None)[phase]

        return make_one

    for phase in (FORWARD, INPUT, WEIGHT):
        yield Kernel(f"{CONV} {phase}", place, channels, precision, maker(phase))


def stride_kernels(place: Place, channels: int, precision: Precision) -> Iterator[Kernel]:
    """2x2x2 convolutions with stride 2, down and up, from C to C channels, forward."""

    def maker(is_up: bool) -> Maker:
        def make_one(cloud: Cloud) -> tuple[Work, Run, Run]:
            _, down, up = cloud.down
            table, table_t = (up, down) if is_up else (down, up)
            x = normal(precision, table, table_t.shape[1], channels)
            grad = normal(precision, table, table.shape[1], channels)
            weight = normal(precision, table, 8, channels, channels)
            flop = 2.0 * pairs(table) * channels**2
            work = Work.touching(x, grad, weight, table, flop=flop, rate=precision.rate)
            return work, *phases(x, weight, grad, table, table_t)[FORWARD]

        return make_one

    for name, is_up in (("down", False), ("up", True)):
        yield Kernel(f"{CONV} 2^3 {name}", place, channels, precision, maker(is_up))


def phases(
    x: Tensor, weight: Tensor, grad: Tensor, table: Tensor, table_t: Tensor | None
) -> dict[str, tuple[Run, Run]]:
    """Every phase of a convolution, and its reference."""

    def gradient(leaf: Tensor, apply: Callable[[Tensor], Tensor]) -> Run:
        # A graph in which only one input has a gradient: its backward is that gradient alone.
        graph: list[tuple[Tensor, Tensor]] = []

        def run() -> object:
            if not graph:
                tracked = leaf.detach().requires_grad_()
                graph.append((apply(tracked), tracked))
            y, tracked = graph[0]
            return torch.autograd.grad(y, tracked, grad, retain_graph=True)

        return run

    back = table.flip(0) if table_t is None else table_t
    return {
        FORWARD: (
            lambda: cuda_ops.sparse_conv(x, weight, table, table_t),
            lambda: reference_sparse_conv(x, weight, table, table_t),
        ),
        INPUT: (
            gradient(x, lambda leaf: cuda_ops.sparse_conv(leaf, weight, table, table_t)),
            lambda: reference_sparse_conv(grad, weight.transpose(1, 2), back, None),
        ),
        WEIGHT: (
            gradient(weight, lambda leaf: cuda_ops.sparse_conv(x, leaf, table, table_t)),
            lambda: reference_weight_grad(x, grad, table),
        ),
    }


def attention_kernels(place: Place, channels: int, precision: Precision) -> Iterator[Kernel]:
    """Codebook attention with three codes, forward and backward."""

    def inputs(cloud: Cloud) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
        tables = [cloud.table(dilation) for dilation in DILATIONS]
        v, grad = (normal(precision, tables[0], len(cloud), channels) for _ in range(2))
        logits = normal(FLOAT32, v, len(cloud), len(tables), GROUPS)
        choice = logits.softmax(dim=1).to(precision.params)
        return v, choice, normal(precision, v, 81, channels), grad, tables

    def flop(cloud: Cloud, tables: list[Tensor]) -> float:
        return 2.0 * channels * (sum(map(pairs, tables)) + len(tables) * len(cloud))

    def forward(cloud: Cloud) -> tuple[Work, Run, Run]:
        v, choice, codes, grad, tables = inputs(cloud)
        # One multiplication for each number that is read: no use for tensor cores.
        work = Work.touching(v, grad, choice, codes, *tables, flop=flop(cloud, tables))
        return (
            work,
            lambda: cuda_ops.codebook_attention(v, choice, codes, tables),
            lambda: reference_codebook_attention(v, choice, codes, tables),
        )

    def backward(cloud: Cloud) -> tuple[Work, Run, Run]:
        v, choice, codes, grad, tables = inputs(cloud)
        read_and_written = (v, v, grad, choice, choice, codes, codes, *tables)
        work = Work.touching(*read_and_written, flop=3 * flop(cloud, tables))
        leaves = tuple(tensor.detach().requires_grad_() for tensor in (v, choice, codes))
        graph: list[Tensor] = []

        def run() -> object:
            if not graph:
                tracked_v, tracked_choice, tracked_codes = leaves
                y = cuda_ops.codebook_attention(tracked_v, tracked_choice, tracked_codes, tables)
                graph.append(y)
            return torch.autograd.grad(graph[0], leaves, grad, retain_graph=True)

        def reference() -> object:
            return (
                reference_grad_v(grad, choice, codes, tables),
                reference_grad_codes(v, choice, codes, tables, grad),
            )

        return work, run, reference

    yield Kernel(f"{ATTENTION} {FORWARD}", place, channels, precision, forward)
    yield Kernel(f"{ATTENTION} {BACKWARD}", place, channels, precision, backward)


def devoxelize_kernels(place: Place, channels: int, precision: Precision) -> Iterator[Kernel]:
    """Trilinear interpolation at as many points as there are voxels, forward and backward."""

    def maker(is_forward: bool) -> Maker:
        def make_one(cloud: Cloud) -> tuple[Work, Run, Run]:
            index, share = cloud.corners
            x = normal(precision, index, len(cloud), channels)
            grad = normal(precision, index, index.shape[1], channels)
            flop = 2.0 * pairs(index) * channels
            work = Work.touching(x, grad, index, share, flop=flop)
            if is_forward:
                return (
                    work,
                    lambda: cuda_ops.devoxelize(x, index, share),
                    lambda: reference_devoxelize(x, index, share),
                )
            leaf = x.requires_grad_()
            y = cuda_ops.devoxelize(leaf, index, share)
            return (
                work,
                lambda: torch.autograd.grad(y, leaf, grad, retain_graph=True),
                lambda: reference_devoxelize_grad(grad, index, share, len(leaf)),
            )

        return make_one

    for phase, is_forward in ((FORWARD, True), (BACKWARD, False)):
        yield Kernel(f"devoxelize trilinear {phase}", place, channels, precision, maker(is_forward))
