"""Engines for GPUs beside ours, where they are installed: fed with the same, in turn with ours."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

import cuda_ops
from cuda_ops.check.kernels import normal
from cuda_ops.check.precision import Precision, allowing_tf32
from cuda_ops.check.rooms import Cloud, Place, offsets
from cuda_ops.check.section import in_one_line
from cuda_ops.check.timing import Run, Stopwatch, Times

MODULES = {"spconv-triton": "spconv_triton", "spconv": "spconv", "torchsparse": "torchsparse"}
OURS = "ours"
FORWARD, BOTH, MAP = "sparse_conv forward", "sparse_conv forward + backward", "map 3^3"
TOLERANCE = 2e-2
"""Of the largest value: some multiply in tf32 or in half precision."""


class Layer(NamedTuple):
    """A 3x3x3 submanifold convolution of an engine, its map built.

    Attributes:
        apply: features [N, C_in] to [N, C_out].
        weight: the leaf that has a gradient.
        build_map: builds the map anew; None where the engine has no call for it.
    """

    apply: Callable[[Tensor], Tensor]
    weight: Tensor
    build_map: Run | None


@dataclass(frozen=True)
class Duel:
    """Times of one thing by all engines, in turn.

    Attributes:
        op: what was done.
        place: on which clouds.
        channels: 0 for a map.
        precision: name of the types.
        times: by engine, ours first.
    """

    op: str
    place: str
    channels: int
    precision: str
    times: dict[str, Times] = field(default_factory=dict)

    def ratios(self) -> dict[str, float]:
        """How many times as long as ours each rival takes: above 1 it loses."""
        ours = self.times[OURS].median
        return {name: t.median / ours for name, t in self.times.items() if name != OURS}


def installed() -> dict[str, str]:
    """The modules of those rivals that can be imported, by name."""
    return {n: m for n, m in MODULES.items() if importlib.util.find_spec(m) is not None}


def our_layer(cloud: Cloud, weight: Tensor) -> Layer:
    """Ours."""
    table, taps = cloud.table(), offsets(cloud.keys)
    leaf = weight.clone().requires_grad_()
    return Layer(
        lambda x: cuda_ops.sparse_conv(x, leaf, table),
        leaf,
        lambda: cuda_ops.neighbor_table(cloud.keys, taps),
    )


def spconv_layer(module: str, cloud: Cloud, weight: Tensor, tf32: bool) -> Layer:
    """That of spconv, or of an engine with its interface, with its default algorithm.

    Args:
        module: its name.
        cloud: the voxels.
        weight: [27, C_in, C_out], taps x slowest.
        tf32: float32 may be multiplied in tf32.
    """
    spconv: Any = importlib.import_module(f"{module}.pytorch")
    ops: Any = importlib.import_module(f"{module}.pytorch.ops")
    constants: Any = importlib.import_module(f"{module}.constants")
    constants.SPCONV_ALLOW_TF32 = tf32  # read at every call
    indices = cuda_ops.morton_decode(cloud.keys)
    indices[:, 1:] -= indices[:, 1:].amin(dim=0)  # it needs coordinates from 0
    shape = (indices[:, 1:].amax(dim=0) + 1).tolist()
    num_in, num_out = weight.shape[1:]
    conv = spconv.SubMConv3d(num_in, num_out, 3, bias=False, indice_key="map")
    conv = conv.to(device=weight.device, dtype=weight.dtype)
    with torch.no_grad():  # its layout is [C_out, x, y, z, C_in]
        conv.weight.copy_(weight.permute(2, 0, 1).reshape(num_out, 3, 3, 3, num_in))
        empty = spconv.SparseConvTensor(weight.new_zeros(len(indices), num_in), indices, shape, 1)
        # A call leaves the map with its result; a tensor that has it does not build it again.
        maps = conv(empty).indice_dict

    def apply(x: Tensor) -> Tensor:
        tensor = spconv.SparseConvTensor(x, indices, shape, 1)
        tensor.indice_dict = maps
        result: Tensor = conv(tensor).features
        return result

    def build_map() -> object:
        arguments = ([3] * 3, [1] * 3, [1] * 3, [1] * 3, [0] * 3)
        return ops.get_indice_pairs_implicit_gemm(
            *(indices, 1, shape, conv.algo), *arguments, subm=True, is_train=True
        )

    return Layer(apply, conv.weight, build_map)


def torchsparse_layer(cloud: Cloud, weight: Tensor) -> Layer:
    """That of torchsparse, whose taps run with x fastest."""
    engine: Any = importlib.import_module("torchsparse")
    layers: Any = importlib.import_module("torchsparse.nn")
    num_in, num_out = weight.shape[1:]
    conv = layers.Conv3d(num_in, num_out, 3, bias=False).to(weight.device, weight.dtype)
    with torch.no_grad():
        taps = weight.reshape(3, 3, 3, num_in, num_out).permute(2, 1, 0, 3, 4)
        conv.kernel.copy_(taps.reshape(conv.kernel.shape))
    indices = cuda_ops.morton_decode(cloud.keys)
    indices[:, 1:] -= indices[:, 1:].amin(dim=0)
    first = engine.SparseTensor(weight.new_zeros(len(indices), num_in), indices)
    conv(first)  # leaves its map in the tensor's caches

    def apply(x: Tensor) -> Tensor:
        tensor = engine.SparseTensor(x, indices)
        tensor._caches = first._caches
        result: Tensor = conv(tensor).feats
        return result

    return Layer(apply, conv.kernel, None)


def layer(name: str, cloud: Cloud, weight: Tensor, precision: Precision) -> Layer:
    """A layer of an engine by its name."""
    if name == OURS:
        return our_layer(cloud, weight)
    if name == "torchsparse":
        return torchsparse_layer(cloud, weight)
    return spconv_layer(MODULES[name], cloud, weight, precision.tf32)


def runs_of(found: Layer, x: Tensor, grad: Tensor) -> dict[str, Run]:
    """What is timed of a layer."""
    leaf = x.detach().requires_grad_()

    def forward() -> Tensor:
        with torch.no_grad():
            return found.apply(x)

    def both() -> object:
        return torch.autograd.grad(found.apply(leaf), (leaf, found.weight), grad)

    runs: dict[str, Run] = {FORWARD: forward, BOTH: both}
    return runs if found.build_map is None else {**runs, MAP: found.build_map}


def duel(
    place: Place,
    channels: int,
    precision: Precision,
    watch: Stopwatch,
    names: Mapping[str, str],
    ops: Sequence[str] = (FORWARD, BOTH, MAP),
) -> tuple[list[Duel], list[str]]:
    """Time a convolution and its map by all engines, and say why one is left out.

    Args:
        place: the clouds.
        channels: C, of inputs and outputs.
        precision: types.
        watch: times.
        names: rivals that are installed.
        ops: what is timed.
    """
    runs: dict[str, list[dict[str, Run]]] = {}
    notes = []
    given = []
    for cloud in place.clouds:
        x, grad = (normal(precision, cloud.keys, len(cloud), channels) for _ in range(2))
        given.append((cloud, x, normal(precision, cloud.keys, 27, channels, channels), grad))
    with allowing_tf32(precision.tf32):
        for name in (OURS, *names):
            try:
                runs[name] = [
                    runs_of(checked(name, cloud, x, weight, precision), x, grad)
                    for cloud, x, weight, grad in given
                ]
            except Exception as error:
                if name == OURS:
                    raise
                where = f"{place.name}, C={channels}, {precision.name}"
                notes.append(f"{name} is left out of {where}: {in_one_line(error)}")
        found = []
        for op in ops:
            those = {n: [run[op] for run in r] for n, r in runs.items() if all(op in o for o in r)}
            if len(those) > 1:
                about = (0, "int32") if op == MAP else (channels, precision.name)
                found.append(Duel(op, place.name, *about, watch.together(those)))
    return found, notes


def checked(name: str, cloud: Cloud, x: Tensor, weight: Tensor, precision: Precision) -> Layer:
    """A layer whose values are ours.

    Raises:
        ValueError: they are not.
    """
    found = layer(name, cloud, weight, precision)
    if name != OURS:
        with torch.no_grad():
            theirs, ours = found.apply(x).float(), our_layer(cloud, weight).apply(x).float()
        error = float((theirs - ours).abs().max() / ours.abs().max())
        if not error < TOLERANCE:
            raise ValueError(f"its values differ from ours by {error:.1e}")
    return found
