"""The way back from voxels to points."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

import cuda_ops
from pc3d.sparse.points import Batch
from pc3d.sparse.tensor import SparseTensor


def devoxelize(
    x: SparseTensor, batch: Batch, voxel_size: float, mode: Literal["nearest", "trilinear"]
) -> Tensor:
    """Features of `x` at every point of `batch`, in point order.

    Args:
        x: [M, C] features on `batch.voxels.coords` or, for trilinear, on any coarser set of it.
        batch: the points.
        voxel_size: metres, edge of the finest voxels.
        mode: `"nearest"` takes the point's own voxel; `"trilinear"` interpolates between the 8
            lattice points around it (see `cuda_ops.trilinear`).

    Returns:
        [P, C].

    Raises:
        ValueError: `"nearest"` on a set other than the batch's own.
    """
    if mode == "nearest":
        if x.coords is not batch.voxels.coords:
            raise ValueError(f"nearest needs features on {batch.voxels.coords}; got {x.coords}")
        return x.feats[batch.point2voxel]
    position = batch.points.xyz / (voxel_size * x.coords.stride)
    index, weight = cuda_ops.trilinear(x.coords.keys, batch.points.batch_index, position)
    return cuda_ops.devoxelize(x.feats, index, weight)
