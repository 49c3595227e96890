"""What sparse operators must compute, from dense `conv3d`, dictionaries and plain loops.

This file shares no code with the project and imports nothing of it, so that a mistake in the
project's offsets or tables cannot hide here. Coordinates are lists of (batch, x, y, z) tuples.
Slow on purpose; for a few hundred voxels.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import conv3d, conv_transpose3d

Row = tuple[int, int, int, int]
Offset = tuple[int, int, int]


def rows_of(indices: Tensor) -> list[Row]:
    return [tuple(row) for row in indices.tolist()]


def key(row: Row) -> int:
    """The documented packing, one bit at a time: x is the most significant of each triple."""
    batch, *axes = row
    packed = batch << 54
    for bit in range(18):
        for place, coordinate in zip((2, 1, 0), axes, strict=True):
            packed |= ((coordinate + 2**17) >> bit & 1) << (3 * bit + place)
    return packed


def voxelize(points: list[Row]) -> tuple[list[Row], list[int], list[int]]:
    """Voxels in key order, the voxel of every point, and the points of every voxel."""
    members: dict[Row, int] = {}
    for point in points:
        members[point] = members.get(point, 0) + 1
    voxels = sorted(members, key=key)
    row = {voxel: number for number, voxel in enumerate(voxels)}
    return voxels, [row[point] for point in points], [members[voxel] for voxel in voxels]


def offsets(size: int, dilation: int = 1, shape: str = "cube") -> list[Offset]:
    """Submanifold taps, x slowest and z fastest."""
    reach = {1: [0], 3: [-1, 0, 1], 5: [-2, -1, 0, 1, 2]}[size]
    found = []
    for x in reach:
        for y in reach:
            for z in reach:
                if shape == "cube" or [x, y, z].count(0) >= 2:
                    found.append((x * dilation, y * dilation, z * dilation))
    return found


def neighbor_table(rows: list[Row], taps: list[Offset]) -> list[list[int]]:
    """[K][N] row of the voxel at each offset, or -1."""
    number = {row: n for n, row in enumerate(rows)}
    return [
        [number.get((b, x + dx, y + dy, z + dz), -1) for b, x, y, z in rows] for dx, dy, dz in taps
    ]


def parent(row: Row) -> Row:
    batch, x, y, z = row
    return batch, math.floor(x / 2), math.floor(y / 2), math.floor(z / 2)


def coarse_rows(rows: list[Row]) -> list[Row]:
    return sorted({parent(row) for row in rows}, key=key)


def down_tables(rows: list[Row]) -> tuple[list[list[int]], list[list[int]]]:
    """[8][M] fine row at each tap of each parent, and [8][N] parent of each voxel at its tap."""
    coarse = coarse_rows(rows)
    number = {row: m for m, row in enumerate(coarse)}
    down = [[-1] * len(coarse) for _ in range(8)]
    up = [[-1] * len(rows) for _ in range(8)]
    for n, row in enumerate(rows):
        m = number[parent(row)]
        _, x, y, z = row
        tap = 4 * (x % 2) + 2 * (y % 2) + (z % 2)
        down[tap][m], up[tap][n] = n, m
    return down, up


def submanifold_conv(
    rows: list[Row],
    x: Tensor,
    weight: Tensor,
    size: int,
    dilation: int = 1,
    shape: str = "cube",
) -> Tensor:
    """`conv3d` on a dense grid, read where voxels are. `weight` is [K, C_in, C_out]."""
    if shape == "cross":
        inside = [t in offsets(size, 1, "cross") for t in offsets(size)]
        full = weight.new_zeros(size**3, *weight.shape[1:])
        full[torch.tensor(inside)] = weight
        weight = full
    kernel = weight.reshape(size, size, size, *weight.shape[1:]).permute(4, 3, 0, 1, 2)
    grid, cells = _scatter(rows, x)
    return conv3d(grid, kernel, padding=dilation * (size // 2), dilation=dilation)[cells]


def depthwise_conv(
    rows: list[Row], x: Tensor, code: Tensor, size: int, dilation: int, shape: str
) -> Tensor:
    """`conv3d` with a group per channel, read where voxels are. `code` is [K, C]."""
    inside = [t in offsets(size, 1, shape) for t in offsets(size)]
    full = code.new_zeros(size**3, code.shape[1])
    full[torch.tensor(inside)] = code
    kernel = full.T.reshape(-1, 1, size, size, size)
    grid, cells = _scatter(rows, x)
    padding = dilation * (size // 2)
    return conv3d(grid, kernel, padding=padding, dilation=dilation, groups=len(kernel))[cells]


def codebook_attention(
    rows: list[Row],
    v: Tensor,
    choice: Tensor,
    codes: list[Tensor],
    shapes: list[tuple[int, int, str]],
) -> Tensor:
    """The codes' dense depthwise convolutions, weighed by `choice` [N, D, G]."""
    channels = v.shape[1]
    out = torch.zeros_like(v)
    for d, (code, shape) in enumerate(zip(codes, shapes, strict=True)):
        u = depthwise_conv(rows, v, code, *shape)
        group = [c * choice.shape[2] // channels for c in range(channels)]
        out = out + torch.stack([choice[:, d, g] * u[:, c] for c, g in enumerate(group)], dim=1)
    return out


def down_conv(rows: list[Row], x: Tensor, weight: Tensor) -> Tensor:
    """Stride-2 `conv3d`, read at the parents in key order. `weight` is [8, C_in, C_out]."""
    grid, _ = _scatter(rows, x)
    kernel = weight.reshape(2, 2, 2, *weight.shape[1:]).permute(4, 3, 0, 1, 2)
    return conv3d(grid, kernel, stride=2)[_cells(coarse_rows(rows), [v // 2 for v in _low(rows)])]


def up_conv(rows: list[Row], coarse_x: Tensor, weight: Tensor) -> Tensor:
    """Stride-2 `conv_transpose3d` from the parents of `rows` onto `rows`."""
    coarse = coarse_rows(rows)
    low = [v // 2 for v in _low(rows)]
    grid = coarse_x.new_zeros(_shape(coarse, low, coarse_x.shape[1]))
    grid[_cells(coarse, low)] = coarse_x
    kernel = weight.reshape(2, 2, 2, *weight.shape[1:]).permute(3, 4, 0, 1, 2)
    return conv_transpose3d(grid, kernel, stride=2)[_cells(rows, _low(rows))]


def _low(rows: list[Row]) -> list[int]:
    """The even corner of the grid, so that a cell of stride 2 never straddles its border."""
    return [2 * (min(row[axis] for row in rows) // 2) for axis in (1, 2, 3)]


def _cells(rows: list[Row], low: list[int]) -> tuple[Tensor, slice, Tensor, Tensor, Tensor]:
    """An index into [B, C, X, Y, Z] that reads [N, C] at `rows`."""
    batch, *axes = torch.tensor(rows).unbind(1)
    x, y, z = (axis - first for axis, first in zip(axes, low, strict=True))
    return batch, slice(None), x, y, z


def _shape(rows: list[Row], low: list[int], channels: int) -> list[int]:
    size = [max(row[1 + a] for row in rows) - low[a] + 1 for a in range(3)]
    return [max(row[0] for row in rows) + 1, channels, *(s + s % 2 for s in size)]


def _scatter(
    rows: list[Row], x: Tensor
) -> tuple[Tensor, tuple[Tensor, slice, Tensor, Tensor, Tensor]]:
    low = _low(rows)
    grid = x.new_zeros(_shape(rows, low, x.shape[1]))
    cells = _cells(rows, low)
    grid[cells] = x
    return grid, cells


def table_conv(table: list[list[int]], x: Tensor, weight: Tensor) -> Tensor:
    """A convolution through a table, one pair at a time: for voxels too far apart for a grid."""
    out = x.new_zeros(len(table[0]), weight.shape[2])
    for tap, inputs in enumerate(table):
        for m, n in enumerate(inputs):
            if n >= 0:
                out[m] += x[n] @ weight[tap]
    return out


def voxel_mean(feats: Tensor, point2voxel: list[int], num_voxels: int) -> Tensor:
    chosen = torch.tensor(point2voxel)
    return torch.stack([feats[chosen == voxel].mean(dim=0) for voxel in range(num_voxels)])


def trilinear(rows: list[Row], x: Tensor, batch: list[int], position: list[list[float]]) -> Tensor:
    """Each point's weighted mean over the existing ones of the 8 lattice points around it."""
    number = {row: n for n, row in enumerate(rows)}
    out = x.new_zeros(len(position), x.shape[1])
    for p, (cloud, point) in enumerate(zip(batch, position, strict=True)):
        total = 0.0
        base = [math.floor(v) for v in point]
        for corner in [(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]:
            cell = [b + c for b, c in zip(base, corner, strict=True)]
            share = math.prod(1 - abs(v - c) for v, c in zip(point, cell, strict=True))
            n = number.get((cloud, *cell))
            if n is not None:
                out[p] += share * x[n]
                total += share
        if total > 0:
            out[p] /= total
    return out


def jaccard_loss(wrong: set[int], truth: set[int]) -> float:
    """1 - IoU of a class whose rows are `truth` if exactly the rows `wrong` are misclassified."""
    predicted = truth ^ wrong
    union = truth | predicted
    return 1 - len(truth & predicted) / len(union) if union else 0.0


def lovasz_extension(errors: list[float], truth: set[int]) -> float:
    """The integral of the set function over the level sets `{i: errors[i] >= t}`, t from 0 to 1.

    This is the Lovasz extension (Bach 2013, "Learning with submodular functions", prop. 3.1)
    without the sorted gradients of Berman et al.
    """
    levels = sorted({0.0, *errors})
    total = 0.0
    for low, high in pairwise(levels):
        members = {i for i, error in enumerate(errors) if error >= high}
        total += (high - low) * jaccard_loss(members, truth)
    return total


def lovasz_softmax(logits: Tensor, target: list[int], ignore_index: int = -1) -> float:
    """Mean over the present classes, over labelled rows."""
    rows = [n for n, label in enumerate(target) if label != ignore_index]
    present = sorted({target[n] for n in rows})
    probability = logits.double().softmax(dim=1)
    total = 0.0
    for c in present:
        truth = {i for i, n in enumerate(rows) if target[n] == c}
        errors = [
            float(1 - probability[n, c] if target[n] == c else probability[n, c]) for n in rows
        ]
        total += lovasz_extension(errors, truth)
    return total / len(present)
