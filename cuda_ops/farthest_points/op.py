"""Farthest point sampling: points of a cloud, each as far as can be from those picked before.

    rows[0] = 0,  rows[i] = the smallest row not yet picked among those with the largest
                            d[p] = min over j < i of |points[p] - points[rows[j]]|^2

(Gonzalez 1985, Eldar et al. 1997; for point networks PointNet++, arXiv 1706.02413.) A squared
distance is (dx*dx + dy*dy) + dz*dz with every operation rounded, so that float32 has the same ties
on every processor, and all kernels pick the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from cuda_ops.farthest_points import cpu, cuda
from cuda_ops.farthest_points.sizes import check_sizes
from cuda_ops.library import define


def reference_farthest_points(
    points: Tensor, offsets: Tensor, num_samples: Sequence[int]
) -> Tensor:
    bounds = check_sizes(points, offsets, num_samples)
    rows = [offsets.new_empty(0)]
    for (first, end), wanted in zip(pairwise(bounds), num_samples, strict=True):
        rows.append(first + _farthest(points[first:end], wanted))
    return torch.cat(rows)


def _farthest(cloud: Tensor, num_samples: int) -> Tensor:
    rows = torch.zeros(num_samples, dtype=torch.int64, device=cloud.device)
    distance = cloud.new_full((len(cloud),), torch.inf)
    for i in range(num_samples):
        if i:
            rows[i] = distance.argmax()  # the first of equal ones
        x, y, z = (cloud - cloud[rows[i]]).square().unbind(1)
        distance = torch.minimum(distance, (x + y) + z)
        distance[rows[i]] = -1  # below those of duplicates: a point is picked once
    return rows


_farthest_points = define(
    "farthest_points(Tensor points, Tensor offsets, SymInt[] num_samples) -> Tensor",
    reference_farthest_points,
    lambda points, offsets, num_samples: offsets.new_empty(sum(num_samples)),
    cpu.farthest_points,
    cuda.farthest_points,
    like=None,
)


def farthest_points(points: Tensor, offsets: Tensor, num_samples: Sequence[int]) -> Tensor:
    """Pick points that are far from each other, by exact farthest point sampling.

    The first pick of a cloud is its first point; every next one is the point farthest from those
    picked, of equally far ones the smallest row. Once only duplicates of picked points are left,
    they are picked in the order of their rows: no row is picked twice.

    Args:
        points: [P, 3] float32 or float64, in metres; clouds one after another.
        offsets: [B + 1] int64, where each cloud begins: a leading 0, then the sums of the sizes.
            Clouds may be empty.
        num_samples: B integers, how many points to pick of each cloud, at most its size. They are
            known on the host, so that a GPU is not waited for.

    Returns:
        [sum(num_samples)] int64 rows of `points`, cloud by cloud, in the order of picking. Not
        differentiable.

    Raises:
        ValueError: wrong shapes or types, offsets or numbers of samples that do not fit the points,
            or points that are not finite. A GPU says so later (`cuda_ops.synchronize`), and picks
            points that are not finite last.
    """
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points must be [P, 3]; got {list(points.shape)}")
    if points.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"points must be float32 or float64, as half precision merges points; got "
            f"{points.dtype}. Convert with .float()."
        )
    if offsets.ndim != 1 or offsets.dtype != torch.int64 or not len(offsets):
        raise ValueError(
            f"offsets must be [B + 1] int64; got {list(offsets.shape)} {offsets.dtype}"
        )
    if len(num_samples) != len(offsets) - 1:
        raise ValueError(
            f"num_samples must have a number for each of the {len(offsets) - 1} clouds that "
            f"offsets tells; got {len(num_samples)}"
        )
    result: Tensor = _farthest_points(points.detach(), offsets, list(num_samples))
    return result
