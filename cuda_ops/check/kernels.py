"""The ops that matter, on rooms and a street: what is timed, and how much work that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import cuda_ops
from cuda_ops.check.floors import Work
from cuda_ops.check.precision import FLOAT32, Precision
from cuda_ops.check.rooms import Cloud, Place, offsets
from cuda_ops.check.timing import Run

DILATIONS = (2, 1, 3)
"""Of the codes of CodedVTR."""
GROUPS = 8
LEVELS = 4
"""Halvings of a U-Net."""
FORWARD, BACKWARD = "forward", "backward"
INPUT, WEIGHT = "input gradient", "weight gradient"
CONV, ATTENTION = "sparse_conv", "codebook_attention D=3"
MAPS = "all maps of a U-Net"
KNOWN_MAPS = f"{MAPS}, sizes known"


@dataclass(frozen=True)
class Kernel:
    """A thing to time, with nothing allocated yet.

    Attributes:
        op: what is done.
        place: on which clouds.
        channels: 0 where there are none.
        precision: types.
        maker: for one cloud, the work and the call.
    """

    op: str
    place: Place
    channels: int
    precision: Precision
    maker: Maker

    def __str__(self) -> str:
        about = f", C={self.channels}, {self.precision.name}" if self.channels else ""
        return f"{self.op} on {self.place.name}{about}"

    def runs(self) -> tuple[Work, list[Run]]:
        """The work of the first cloud, and the calls for every cloud."""
        made = [self.maker(cloud) for cloud in self.place.clouds]
        return made[0][0], [run for _, run in made]


Maker = Callable[[Cloud], tuple[Work, Run]]


def normal(precision: Precision, like: Tensor, *shape: int) -> Tensor:
    """Normally distributed features, on the device of a tensor."""
    return torch.randn(*shape, device=like.device).to(precision.feats)


def pairs(table: Tensor) -> int:
    """Neighbours that exist."""
    return int((table >= 0).sum())


def unet_sizes(keys: Tensor) -> list[int]:
    """The number of voxels at every level."""
    return [int(size) for size in cuda_ops.level_sizes(keys, LEVELS + 1).tolist()]


def unet_maps(keys: Tensor, taps: Tensor, sizes: Sequence[int] = ()) -> list[Tensor]:
    """The 3x3x3 table of every level, and the keys and tables of the steps between them.

    Args:
        keys: of the finest level.
        taps: on the device already, since a copy waits for a GPU.
        sizes: of `unet_sizes`; where a `CoordSet` counted them before it left the CPU, no GPU is
            waited for. Else it is once, instead of at every level.
    """
    found = [keys]
    sizes = sizes or unet_sizes(keys)
    for level in range(LEVELS + 1):
        found.append(cuda_ops.neighbor_table(keys, taps))
        if level < LEVELS:
            keys, down, up = cuda_ops.down_table(keys, sizes[level + 1])
            found += [keys, down, up]
    return found


def map_kernels(place: Place) -> Iterator[Kernel]:
    """Neighbour tables, the coarser set, all maps of a U-Net, voxels of points."""

    def table(reach: int, dilation: int) -> Maker:
        def maker(cloud: Cloud) -> tuple[Work, Run]:
            keys, taps = cloud.keys, offsets(cloud.keys, dilation, reach)
            work = Work(0.0, keys.nbytes + 4 * len(taps) * len(keys))
            return work, lambda: cuda_ops.neighbor_table(keys, taps)

        return maker

    def down(cloud: Cloud) -> tuple[Work, Run]:
        keys = cloud.keys
        return Work.touching(keys, *cloud.down), lambda: cuda_ops.down_table(keys)

    def maps(known: bool) -> Maker:
        def maker(cloud: Cloud) -> tuple[Work, Run]:
            keys, taps = cloud.keys, offsets(cloud.keys)
            sizes = unet_sizes(keys) if known else ()
            return Work.touching(*unet_maps(keys, taps)), lambda: unet_maps(keys, taps, sizes)

        return maker

    def voxelize(cloud: Cloud) -> tuple[Work, Run]:
        keys = cloud.point_keys
        return Work.touching(keys, *cuda_ops.voxelize(keys)), lambda: cuda_ops.voxelize(keys)

    makers = {
        KNOWN_MAPS: maps(known=True),
        MAPS: maps(known=False),
        **{f"neighbor_table 3^3, dilation {d}": table(1, d) for d in (1, 2, 3)},
        "neighbor_table 5^3": table(2, 1),
        "down_table": down,
        "voxelize": voxelize,
    }
    for op, maker in makers.items():
        yield Kernel(op, place, 0, FLOAT32, maker)


def gradient(
    apply: Callable[..., Tensor], grad: Tensor, leaves: Sequence[Tensor], *others: object
) -> Run:
    """A call of the backward pass of `apply(*leaves, *others)` alone; the first also runs forward.

    Args:
        apply: the op.
        grad: gradient of its result.
        leaves: what has a gradient, and nothing else has.
        others: further arguments.
    """
    graph: list[Tensor] = []
    tracked = [leaf.detach().requires_grad_() for leaf in leaves]

    def run() -> object:
        if not graph:
            graph.append(apply(*tracked, *others))
        return torch.autograd.grad(graph[0], tracked, grad, retain_graph=True)

    return run


def conv_kernels(place: Place, channels: int, precision: Precision) -> Iterator[Kernel]:
    """A 3x3x3 convolution: forward, and each gradient alone."""

    def maker(phase: str) -> Maker:
        def make_one(cloud: Cloud) -> tuple[Work, Run]:
            return _convolution(phase, cloud.table(), None, channels, precision)

        return make_one

    for phase in (FORWARD, INPUT, WEIGHT):
        yield Kernel(f"{CONV} {phase}", place, channels, precision, maker(phase))


def stride_kernels(place: Place, channels: int, precision: Precision) -> Iterator[Kernel]:
    """2x2x2 convolutions with stride 2, down and up, from C to C channels, forward."""

    def maker(is_up: bool) -> Maker:
        def make_one(cloud: Cloud) -> tuple[Work, Run]:
            _, down, up = cloud.down
            table, table_t = (up, down) if is_up else (down, up)
            return _convolution(FORWARD, table, table_t, channels, precision)

        return make_one

    for name, is_up in (("down", False), ("up", True)):
        yield Kernel(f"{CONV} 2^3 {name}", place, channels, precision, maker(is_up))


def _convolution(
    phase: str, table: Tensor, table_t: Tensor | None, channels: int, precision: Precision
) -> tuple[Work, Run]:
    num_in = (table if table_t is None else table_t).shape[1]
    x = normal(precision, table, num_in, channels)
    grad = normal(precision, table, table.shape[1], channels)
    weight = normal(precision, table, len(table), channels, channels)
    flop = 2.0 * pairs(table) * channels**2
    # Whichever phase: two of features, gradient and result are read, or one read and one written.
    work = Work.touching(x, grad, weight, table, flop=flop, rate=precision.rate)
    if phase == INPUT:
        return work, gradient(cuda_ops.sparse_conv, grad, [x], weight, table, table_t)
    if phase == WEIGHT:
        return work, gradient(lambda w: cuda_ops.sparse_conv(x, w, table, table_t), grad, [weight])
    return work, lambda: cuda_ops.sparse_conv(x, weight, table, table_t)


def attention_kernels(place: Place, channels: int, precision: Precision) -> Iterator[Kernel]:
    """Codebook attention with three codes, forward and backward."""

    def maker(is_forward: bool) -> Maker:
        def make_one(cloud: Cloud) -> tuple[Work, Run]:
            tables = [cloud.table(dilation) for dilation in DILATIONS]
            v, grad = (normal(precision, tables[0], len(cloud), channels) for _ in range(2))
            logits = normal(FLOAT32, v, len(cloud), len(tables), GROUPS)
            choice = logits.softmax(dim=1).to(precision.params)
            codes = normal(precision, v, 81, channels)
            # One multiplication for each number that is read: no use for tensor cores.
            flop = 2.0 * channels * (sum(map(pairs, tables)) + len(tables) * len(cloud))
            if is_forward:
                work = Work.touching(v, grad, choice, codes, *tables, flop=flop)
                return work, lambda: cuda_ops.codebook_attention(v, choice, codes, tables)
            read_and_written = (v, v, grad, choice, choice, codes, codes, *tables)
            work = Work.touching(*read_and_written, flop=3 * flop)
            return work, gradient(cuda_ops.codebook_attention, grad, [v, choice, codes], tables)

        return make_one

    for phase, is_forward in ((FORWARD, True), (BACKWARD, False)):
        yield Kernel(f"{ATTENTION} {phase}", place, channels, precision, maker(is_forward))


def devoxelize_kernels(place: Place, channels: int, precision: Precision) -> Iterator[Kernel]:
    """Trilinear interpolation at as many points as there are voxels, forward and backward."""

    def maker(is_forward: bool) -> Maker:
        def make_one(cloud: Cloud) -> tuple[Work, Run]:
            index, share = cloud.corners
            x = normal(precision, index, len(cloud), channels)
            grad = normal(precision, index, index.shape[1], channels)
            flop = 2.0 * pairs(index) * channels
            work = Work.touching(x, grad, index, share, flop=flop)
            if is_forward:
                return work, lambda: cuda_ops.devoxelize(x, index, share)
            return work, gradient(cuda_ops.devoxelize, grad, [x], index, share)

        return make_one

    for phase, is_forward in ((FORWARD, True), (BACKWARD, False)):
        yield Kernel(f"devoxelize trilinear {phase}", place, channels, precision, maker(is_forward))
