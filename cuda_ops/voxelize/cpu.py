"""The C++ kernels of this folder, called on tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_ops.runtime import CpuLibrary, all_float32, int64

MAX_POINTS = 2**32 - 1  # the sort keeps 32 bits of a point's row


def voxelize(library: CpuLibrary, keys: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """`reference_voxelize`; None if there are too many points."""
    num = len(keys)
    if num > MAX_POINTS:
        return None
    unique, inverse, counts = (torch.empty(num, dtype=torch.int64) for _ in range(3))
    workspace = torch.empty(library.call("pc3d_voxelize_bytes", num), dtype=torch.uint8)
    num_voxels = library.call("pc3d_voxelize", int64(keys), num, unique, inverse, counts, workspace)
    return unique[:num_voxels].clone(), inverse, counts[:num_voxels].clone()


def voxel_mean(
    library: CpuLibrary, feats: Tensor, point2voxel: Tensor, counts: Tensor
) -> Tensor | None:
    """`reference_voxel_mean`; None for feats that are not float32."""
    if not all_float32(feats):
        return None
    mean = feats.new_empty(len(counts), feats.shape[1])
    library.checked(
        IndexError(f"point2voxel names voxels outside 0..{len(counts) - 1}"),
        "pc3d_voxel_mean",
        feats.contiguous(),
        int64(point2voxel),
        int64(counts),
        len(feats),
        len(counts),
        feats.shape[1],
        mean,
    )
    return mean
