"""Every op with inputs to check it on: what goes in, and what comes out with all gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

import cuda_ops
from cuda_ops.check.clouds import street
from cuda_ops.check.precision import Precision

OFFSETS = tuple((x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1))
CELL = 0.2  # metres
GROUPS = 8
Data = dict[str, Tensor]
Case = Callable[[Data], list[Tensor]]
PARAMETERS = {"weight", "weight_down", "weight_up", "choice", "codes", "code", "lift", "mix"}
PARAMETERS |= {"shares"}
"""Data that may have a type of their own, beside that of the features."""
CONV_WEIGHTS = {"weight", "weight_down", "weight_up"}
"""Parameters that kernels may round to the type of the features."""
EXACT = {"position"}
"""Data that stay in float32 whatever type the features have."""
ROWS = {
    "x": "fine",
    "y": "coarse",
    "values": "fine",
    "choice": "fine",
    "chosen": "fine",
    "weights": "fine",
    "grad_fine": "fine",
    "grad_up": "fine",
    "grad_dots": "fine",
    "grad_coarse": "coarse",
    "queries": "point",
    "shares": "point",
    "hidden": "point",
    "feats": "point",
    "grad_point": "point",
    "point2voxel": "point",
    "counts": "fine",
}
"""What the rows of data stand for; their order is free."""
TABLES = {
    **dict.fromkeys(("table", "table2", "table3"), ("fine", "fine")),
    "down": ("coarse", "fine"),
    "up": ("fine", "coarse"),
    "index": ("point", "fine"),
}
"""What the columns of a table stand for, and the rows that it names."""


@dataclass(frozen=True)
class Scene:
    """Voxels and channels to check on.

    Attributes:
        name: in the report.
        sizes: points of each cloud in the batch.
        channels: of the inputs and outputs of layers; the latter a multiple of 8.
        empty_tap: no voxel has a neighbour at one pair of opposite taps, or one tap of 2x2x2.
        permuted: rows stand in another order than that of the keys.
    """

    name: str
    sizes: tuple[int, ...]
    channels: tuple[int, int]
    empty_tap: bool = False
    permuted: bool = False


SCENES = (
    Scene("two clouds", (5000, 2500), (13, 24)),
    Scene("two clouds", (5000, 2500), (32, 64)),
    Scene("an empty tap", (3000, 0, 500), (32, 64), empty_tap=True),
    Scene("rows permuted", (3000, 1000), (13, 24), permuted=True),
    Scene("rows permuted", (3000, 1000), (64, 32), permuted=True),
    Scene("one voxel", (1,), (13, 24)),
    Scene("no voxel", (0,), (13, 24)),
)
SMALL_SCENES = (
    Scene("two clouds", (300, 100), (13, 24)),
    Scene("two clouds", (300, 100), (32, 64)),
    Scene("no voxel", (0,), (13, 24)),
)
"""For tools under which everything takes a hundred times as long."""


def make_data(scene: Scene) -> Data:
    """Inputs of every case in float64 on the CPU, rows in key order, no tap emptied."""
    generator = torch.Generator().manual_seed(sum(scene.sizes))
    clouds = [street(size, seed) - 5.0 * seed for seed, size in enumerate(scene.sizes)]
    position = torch.cat(clouds) / CELL
    batch = torch.repeat_interleave(torch.arange(len(clouds)), torch.tensor(scene.sizes))
    indices = torch.cat([batch.unsqueeze(1), position.floor().long()], dim=1).to(torch.int32)
    keys = cuda_ops.morton_encode(indices)
    unique, point2voxel, counts = cuda_ops.voxelize(keys)
    offsets = torch.tensor(OFFSETS, dtype=torch.int32)
    tables = [cuda_ops.neighbor_table(unique, offsets * dilation) for dilation in (1, 2, 3)]
    coarse, down, up = cuda_ops.down_table(unique)
    index, share = cuda_ops.trilinear(unique, batch, position + 0.3)
    num_points, fine, (a, b) = len(indices), len(unique), scene.channels

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "bounds": torch.tensor([0, *accumulate(scene.sizes)]),
        **{"indices": indices, "keys": keys, "unique": unique, "batch": batch},
        **{"point2voxel": point2voxel, "counts": counts, "offsets": offsets},
        **{"table": tables[0], "table2": tables[1], "table3": tables[2], "down": down, "up": up},
        # To multiples of 2^-10, so that float32 gives the same corners.
        "position": (position * 1024).round() / 1024 + 0.25,
        **{"index": index, "share": share},
        **{"feats": random(num_points, a), "grad_point": random(num_points, a)},
        **{"x": random(fine, a), "y": random(len(coarse), b), "values": random(fine, b)},
        **{"grad_fine": random(fine, b), "grad_up": random(fine, a)},
        **{"grad_coarse": random(len(coarse), b), "grad_dots": random(fine, 27 * GROUPS)},
        **{"weight": random(27, a, b), "weight_down": random(8, a, b)},
        **{"weight_up": random(8, b, a), "codes": random(81, b), "code": random(27, b)},
        "choice": random(fine, 3, GROUPS),
        "chosen": torch.randint(3, (fine, GROUPS), generator=generator, dtype=torch.int32),
        "weights": random(fine, 27, GROUPS),
        **{"queries": random(num_points, b), "shares": random(num_points, 8, GROUPS)},
        **{"hidden": random(num_points, 8, 3), "lift": random(3, b), "mix": random(b, GROUPS)},
    }


def emptied(data: Data) -> Data:
    """The data without the neighbours at taps 3 and 23 of 3x3x3, and at tap 5 of 2x2x2."""
    taps = {"table": (3, 23), "table2": (3, 23), "table3": (3, 23), "down": (5,), "up": (5,)}
    result = dict(data)
    for name, numbers in taps.items():
        result[name] = data[name].clone()
        result[name][list(numbers)] = -1
    return result


def permutations(data: Data, seed: int = 7) -> dict[str, Tensor]:
    """A random order of the rows of each kind."""
    generator = torch.Generator().manual_seed(seed)
    sizes = {"fine": len(data["x"]), "coarse": len(data["y"]), "point": len(data["feats"])}
    return {kind: torch.randperm(size, generator=generator) for kind, size in sizes.items()}


def permuted(data: Data, orders: dict[str, Tensor]) -> Data:
    """The same problem with rows in other orders: row i of the result is row `order[i]`."""
    result = dict(data)
    for name, kind in ROWS.items():
        result[name] = data[name][orders[kind]]
    for name, (columns, rows) in TABLES.items():
        place = orders[rows].argsort().to(torch.int32)
        table = data[name][:, orders[columns]]
        result[name] = torch.where(table >= 0, torch.cat([place, place.new_zeros(1)])[table], -1)
    result["share"] = data["share"][:, orders["point"]]
    result["point2voxel"] = orders["fine"].argsort()[result["point2voxel"]]
    return result


def cast(data: Data, precision: Precision, device: torch.device) -> Data:
    """The data in the types of a precision, on a device."""

    def typed(name: str, value: Tensor) -> Tensor:
        if not value.is_floating_point():
            return value
        if name in EXACT or name == "share":
            return value.float()
        if name in CONV_WEIGHTS:
            # A GPU multiplies in the type of the features, and rounds weights of another type to
            # it; a CPU does not. Weights that the type of the features holds are the same to both.
            value = value.to(precision.feats)
        return value.to(precision.params if name in PARAMETERS else precision.feats)

    return {name: typed(name, value).to(device) for name, value in data.items()}


def in_float64(data: Data) -> Data:
    """The very same values in float64 on the CPU."""
    host = {name: value.cpu() for name, value in data.items()}
    return {n: value.double() if value.is_floating_point() else value for n, value in host.items()}


def with_gradients(
    op: Callable[..., Tensor], grad: Tensor, *inputs: Tensor, constants: tuple[Tensor, ...] = ()
) -> list[Tensor]:
    """The result of `op(*inputs, *constants)`, and the gradient of every input."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    output = op(*leaves, *constants)
    return [output.detach(), *torch.autograd.grad(output, leaves, grad)]


def _submanifold(d: Data) -> list[Tensor]:
    constants = (d["table"],)
    return with_gradients(
        cuda_ops.sparse_conv, d["grad_fine"], d["x"], d["weight"], constants=constants
    )


def _down(d: Data) -> list[Tensor]:
    constants = (d["down"], d["up"])
    return with_gradients(
        cuda_ops.sparse_conv, d["grad_coarse"], d["x"], d["weight_down"], constants=constants
    )


def _up(d: Data) -> list[Tensor]:
    constants = (d["up"], d["down"])
    return with_gradients(
        cuda_ops.sparse_conv, d["grad_up"], d["y"], d["weight_up"], constants=constants
    )


def _attention(d: Data) -> list[Tensor]:
    tables = [d["table2"], d["table"], d["table3"]]
    return with_gradients(
        lambda v, choice, codes: cuda_ops.codebook_attention(v, choice, codes, tables),
        *(d["grad_fine"], d["values"], d["choice"], d["codes"]),
    )


def _uneven(d: Data) -> list[Tensor]:
    tables = [d["table"], d["table"][13:14]]
    return with_gradients(
        lambda v, choice, codes: cuda_ops.codebook_attention(v, choice, codes, tables),
        *(d["grad_fine"], d["values"], d["choice"][:, :2].contiguous(), d["codes"][:28]),
    )


def _depthwise(d: Data) -> list[Tensor]:
    return with_gradients(
        lambda v, code: cuda_ops.codebook_attention(v, None, code, [d["table"]]),
        *(d["grad_fine"], d["values"], d["code"]),
    )


def _routed(d: Data) -> list[Tensor]:
    tables = [d["table2"], d["table"], d["table3"]]
    return [cuda_ops.routed_codebook_attention(d["values"], d["chosen"], d["codes"], tables)]


def _dot(d: Data) -> list[Tensor]:
    return with_gradients(
        lambda q, k: cuda_ops.neighbor_dot(q, k, d["table"], GROUPS).flatten(1),
        *(d["grad_dots"], d["values"], d["grad_fine"]),
    )


def _sum(d: Data) -> list[Tensor]:
    return with_gradients(
        lambda weights, v: cuda_ops.neighbor_sum(weights, v, d["table"]),
        *(d["grad_fine"], d["weights"], d["values"]),
    )


def _relation_logits(d: Data) -> list[Tensor]:
    position = (d["hidden"].transpose(0, 1), d["lift"], d["code"][0], d["mix"])
    return [cuda_ops.relation_logits(d["queries"], d["values"], *position, d["index"])]


def _vector_sum(d: Data) -> list[Tensor]:
    return with_gradients(
        lambda shares, v, hidden, lift: cuda_ops.vector_sum(
            shares, v, hidden.transpose(0, 1), lift, d["index"]
        ),
        *(d["queries"], d["shares"], d["values"], d["hidden"], d["lift"]),
    )


def _devoxelize(d: Data) -> list[Tensor]:
    constants = (d["index"], d["share"])
    return with_gradients(cuda_ops.devoxelize, d["grad_point"], d["x"], constants=constants)


def _voxel_mean(d: Data) -> list[Tensor]:
    constants = (d["point2voxel"], d["counts"])
    return with_gradients(cuda_ops.voxel_mean, d["grad_up"], d["feats"], constants=constants)


def _farthest(d: Data) -> list[Tensor]:
    """On integers, whose squares float32 holds, and which tie."""
    cells = d["indices"][:, 1:].to(d["position"].dtype)
    return [cuda_ops.farthest_points(cells, d["bounds"], (d["bounds"].diff() // 8).tolist())]


def _nearest(d: Data) -> list[Tensor]:
    # On a lattice, so that many are equally far, and float64 finds the same to the bit.
    points = (d["position"] * 4).floor() / 4
    bounds = d["bounds"]
    table, squared = cuda_ops.nearest_neighbors(points, bounds, points + 0.5, bounds, 8, 1.5)
    return [table, squared.where(table >= 0, 0)]


CASES: dict[str, Case] = {
    "morton_encode": lambda d: [cuda_ops.morton_encode(d["indices"])],
    "morton_decode": lambda d: [cuda_ops.morton_decode(d["keys"])],
    "voxelize": lambda d: list(cuda_ops.voxelize(d["keys"])),
    "voxel_first": lambda d: [cuda_ops.voxel_first(d["point2voxel"], len(d["unique"]))],
    "lookup": lambda d: [cuda_ops.lookup(d["unique"], d["keys"] + 1)],
    "neighbor_table": lambda d: [cuda_ops.neighbor_table(d["unique"], d["offsets"])],
    "neighbor_table, dilation 3": lambda d: [
        cuda_ops.neighbor_table(d["unique"], d["offsets"] * 3)
    ],
    "level_sizes": lambda d: [cuda_ops.level_sizes(d["unique"])],
    "down_table": lambda d: list(cuda_ops.down_table(d["unique"])),
    "nearest_neighbors": _nearest,
    "trilinear": lambda d: list(cuda_ops.trilinear(d["unique"], d["batch"], d["position"])),
    "farthest_points": _farthest,
}
"""Ops on keys and positions: the same in every precision, and not defined for permuted keys."""
FEATURE_CASES: dict[str, Case] = {
    "voxel_mean": _voxel_mean,
    "sparse_conv submanifold": _submanifold,
    "sparse_conv down": _down,
    "sparse_conv up": _up,
    "codebook_attention": _attention,
    "codebook_attention, 27 and 1 taps": _uneven,
    "codebook_attention, one code": _depthwise,
    "routed_codebook_attention": _routed,
    "neighbor_dot": _dot,
    "neighbor_sum": _sum,
    "relation_logits": _relation_logits,
    "vector_sum": _vector_sum,
    "devoxelize": _devoxelize,
}
"""Ops on features, with all gradients."""
