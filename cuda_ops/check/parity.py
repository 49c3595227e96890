"""Every op in float32 on a device against float64 on the CPU, and twice for repeatability."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import cuda_ops
from cuda_ops.check.clouds import street

OFFSETS = tuple((x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1))


@dataclass(frozen=True)
class Parity:
    """What one op did.

    Attributes:
        name: the op, and which of its results.
        error: largest absolute difference to float64, relative to the largest value.
        tolerance: bound on `error`; 0 for integer results.
        repeatable: two runs agree to the last bit.
    """

    name: str
    error: float
    tolerance: float
    repeatable: bool

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance and self.repeatable


def check_parity(device: torch.device) -> list[Parity]:
    """One row per op and result. The data: two clouds, negative coordinates, 13 and 24 channels."""
    data = _data()
    return [_compare(name, run, data, device) for name, run in CASES.items()]


Data = dict[str, Tensor]
Case = Callable[[Data], list[Tensor]]


def _data() -> Data:
    generator = torch.Generator().manual_seed(1)
    first, second = street(6000, seed=1), street(2500, seed=2) - 5.0
    points = torch.cat([first, second])
    batch = torch.repeat_interleave(torch.arange(2), torch.tensor([len(first), len(second)]))
    position = points / 0.2
    indices = torch.cat([batch.unsqueeze(1), position.floor().long()], dim=1).to(torch.int32)
    keys = cuda_ops.morton_encode(indices)
    unique, point2voxel, counts = cuda_ops.voxelize(keys)
    table = cuda_ops.neighbor_table(unique, torch.tensor(OFFSETS, dtype=torch.int32))
    coarse, down, up = cuda_ops.down_table(unique)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    data = {
        "indices": indices,
        "keys": keys,
        "unique": unique,
        "point2voxel": point2voxel,
        "counts": counts,
        "batch": batch,
        "position": position,
        "offsets": torch.tensor(OFFSETS, dtype=torch.int32),
        "table": table,
        "down": down,
        "up": up,
        "feats": random(len(points), 13),
        "x": random(len(unique), 13),
        "y": random(len(coarse), 24),
        "weight": random(27, 13, 24),
        "weight_down": random(8, 13, 24),
        "weight_up": random(8, 24, 13),
        "values": random(len(unique), 24),
        "choice": random(len(unique), 2, 8),
        "codes": random(28, 24),
        "weights": random(len(unique), 27, 8),
    }
    # Values that float32 holds exactly, so that both sides are given the same input.
    return {
        name: (value.float().double() if value.is_floating_point() else value)
        for name, value in data.items()
    }


def _gradients(op: Callable[..., Tensor], *inputs: Tensor, constants: list[Tensor]) -> list[Tensor]:
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    output = op(*leaves, *constants)
    # Weights of unequal size make a wrong transpose visible.
    scale = torch.linspace(0.5, 2.0, output.shape[1], dtype=output.dtype, device=output.device)
    (output * scale).sum().backward()
    return [output.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def _conv(weight: str, x: str, table: str, table_t: str) -> Case:
    return lambda d: _gradients(
        cuda_ops.sparse_conv, d[x], d[weight], constants=[d[table], d[table_t]]
    )


def _attention(d: Data) -> list[Tensor]:
    tables = [d["table"], d["table"][13:14]]
    return _gradients(
        lambda v, choice, codes: cuda_ops.codebook_attention(v, choice, codes, tables),
        d["values"],
        d["choice"],
        d["codes"],
        constants=[],
    )


def _routed(d: Data) -> list[Tensor]:
    tables = [d["table"], d["table"][13:14]]
    chosen = d["choice"].argmax(dim=1)
    return [cuda_ops.routed_codebook_attention(d["values"], chosen, d["codes"], tables)]


def _neighbors(d: Data) -> list[Tensor]:
    weights, values, table = d["weights"], d["values"], d["table"]
    dots = _gradients(
        lambda q, k: cuda_ops.neighbor_dot(q, k, table, 8).flatten(1),
        values,
        values.flip(0),
        constants=[],
    )
    sums = _gradients(cuda_ops.neighbor_sum, weights, values, constants=[table])
    return [*dots, *sums]


def _trilinear(d: Data) -> list[Tensor]:
    index, weight = cuda_ops.trilinear(d["unique"], d["batch"], d["position"] + 0.3)
    return [index, weight, *_gradients(cuda_ops.devoxelize, d["x"], constants=[index, weight])]


def _submanifold(d: Data) -> list[Tensor]:
    return _conv("weight", "x", "table", "table_t")({**d, "table_t": d["table"].flip(0)})


CASES: dict[str, Case] = {
    "morton_encode": lambda d: [cuda_ops.morton_encode(d["indices"])],
    "morton_decode": lambda d: [cuda_ops.morton_decode(d["keys"])],
    "voxelize": lambda d: list(cuda_ops.voxelize(d["keys"])),
    "voxel_first": lambda d: [cuda_ops.voxel_first(d["point2voxel"], len(d["unique"]))],
    "voxel_mean": lambda d: _gradients(
        cuda_ops.voxel_mean, d["feats"], constants=[d["point2voxel"], d["counts"]]
    ),
    "lookup": lambda d: [cuda_ops.lookup(d["unique"], d["keys"] + 1)],
    "neighbor_table": lambda d: [cuda_ops.neighbor_table(d["unique"], d["offsets"])],
    "down_table": lambda d: list(cuda_ops.down_table(d["unique"])),
    "sparse_conv submanifold": _submanifold,
    "sparse_conv down": _conv("weight_down", "x", "down", "up"),
    "sparse_conv up": _conv("weight_up", "y", "up", "down"),
    "codebook_attention": _attention,
    "routed_codebook_attention": _routed,
    "neighbor_dot, neighbor_sum": _neighbors,
    "trilinear, devoxelize": _trilinear,
}


def _compare(name: str, run: Case, data: Data, device: torch.device) -> Parity:
    expected = run(data)
    low = {
        key: (value.float() if value.is_floating_point() else value).to(device)
        for key, value in data.items()
    }
    got, again = run(low), run(low)
    errors, terms = [0.0], 1
    for want, value in zip(expected, got, strict=True):
        if want.is_floating_point():
            scale = float(want.abs().max().clamp(min=1e-30))
            errors.append(float((value.double().cpu() - want).abs().max()) / scale)
            terms = max(terms, len(data["feats"]))
        else:
            errors.append(float((value.cpu() != want).sum()))
    is_float = any(want.is_floating_point() for want in expected)
    # A float32 sum of n terms of either sign is off by about sqrt(n) roundings; allow 8 times that.
    tolerance = 8 * torch.finfo(torch.float32).eps * terms**0.5 if is_float else 0.0
    repeatable = all(torch.equal(a, b) for a, b in zip(got, again, strict=True))
    return Parity(name, max(errors), tolerance, repeatable)
