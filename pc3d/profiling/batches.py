"""What networks are measured on: generated scenes of any size, and scenes of a data set."""

from __future__ import annotations

from dataclasses import replace

import torch

import cuda_ops
from cuda_ops.check.rooms import KINDS, Cloud
from pc3d.profiling.subject import MakeBatch
from pc3d.sparse import Batch, CoordSet, PointBatch, SparseTensor

GENERATED = tuple(KINDS)
"""Kinds of generated scenes: `"room"`, `"street"`."""


def generated_batch(kind: str, num_voxels: int, in_channels: int, voxel_size: float) -> Batch:
    """A room or a street with a point in every voxel, and features at random; on the CPU.

    Args:
        kind: one of `GENERATED`.
        num_voxels: about as many there will be.
        in_channels: features of a voxel.
        voxel_size: metres.

    Raises:
        ValueError: another kind, or a number below 1.
    """
    if kind not in GENERATED:
        raise ValueError(f"kind must be one of {', '.join(GENERATED)}; got {kind!r}")
    if num_voxels < 1:
        raise ValueError(f"num_voxels must be at least 1; got {num_voxels}")
    cloud = Cloud(KINDS[kind], num_voxels, seed=0, device=torch.device("cpu"))
    indices = cuda_ops.morton_decode(cloud.keys)
    rows = torch.arange(len(indices))
    points = PointBatch(
        names=(kind,),
        offsets=torch.tensor([0, len(indices)]),
        xyz=(indices[:, 1:] + 0.5) * voxel_size,
        origin=torch.zeros(1, 3, dtype=torch.float64),
        row=rows,
    )
    feats = torch.randn(len(rows), in_channels, generator=torch.Generator().manual_seed(0))
    return Batch(points, SparseTensor(CoordSet(indices, batch_size=1), feats), rows)


def maker(batch: Batch, device: torch.device) -> MakeBatch:
    """Gives a batch on the CPU again and again on a device, each time without any maps."""

    def make() -> Batch:
        voxels = batch.voxels
        coords = CoordSet(voxels.coords.indices, voxels.coords.batch_size)
        fresh = replace(batch, voxels=SparseTensor(coords, voxels.feats))
        return fresh.to(device)

    return make
