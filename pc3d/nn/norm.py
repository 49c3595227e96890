"""Normalization over voxels."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from pc3d.sparse import SparseTensor

PointNorm = Literal["layer", "batch"]
POINT_NORMS = ("layer", "batch")


class RowNorm(nn.Module):
    """Batch normalization over the rows of a matrix: points, or pairs of them.

    The torch module is a child, so that `nn.SyncBatchNorm.convert_sync_batchnorm` finds it. A
    single row has no variance: in training it is normalized with the running statistics, where
    torch would raise.

    Shape: [N, C] to [N, C].
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(channels)

    def forward(self, rows: Tensor) -> Tensor:
        bn = self.bn
        if self.training and len(rows) == 1 and isinstance(bn, nn.BatchNorm1d):
            return nn.functional.batch_norm(
                rows, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=bn.eps
            )
        normalized: Tensor = bn(rows)
        return normalized

    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift, [C] each, that the norm is in evaluation."""
        bn = self.bn
        assert bn.running_mean is not None and bn.running_var is not None
        scale = bn.weight * torch.rsqrt(bn.running_var + bn.eps)
        return scale, bn.bias - bn.running_mean * scale


def point_norm(channels: int, kind: PointNorm) -> nn.Module:
    """A norm over points: over each point's channels (`"layer"`), or over all points (`"batch"`).

    Raises:
        ValueError: another kind.
    """
    if kind not in POINT_NORMS:
        raise ValueError(f"norm must be one of {', '.join(POINT_NORMS)}; got {kind!r}")
    return nn.LayerNorm(channels) if kind == "layer" else RowNorm(channels)


class BatchNorm(RowNorm):
    """Batch normalization over all voxels of a batch. Shape: [N, C] to [N, C]."""

    def forward(self, x: SparseTensor) -> SparseTensor:  # type: ignore[override]
        return x.with_feats(super().forward(x.feats))
