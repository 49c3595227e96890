"""Normalization over voxels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pc3d.sparse import SparseTensor

MIN_POINTS = 16
"""Fewer points say too little of a variance."""


class RowNorm(nn.Module):
    """Batch normalization over the rows of a matrix: points, or pairs of them.

    The torch module is a child, so that `nn.SyncBatchNorm.convert_sync_batchnorm` finds it. A
    single row has no variance: in training it is normalized with the running statistics, where
    torch would raise.

    Args:
        channels: C.
        min_rows: fewer rows than that are normalized with the running statistics in training, too;
            not where processes share statistics, as all must take part then.

    Shape: [N, C] to [N, C].
    """

    def __init__(self, channels: int, min_rows: int = 2) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(channels)
        self.min_rows = min_rows

    def forward(self, rows: Tensor) -> Tensor:
        bn = self.bn
        if self.training and len(rows) < self.min_rows and isinstance(bn, nn.BatchNorm1d):
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


def point_norm(channels: int) -> RowNorm:
    """A norm over points, or over pairs of them, of which a coarse set may have very few.

    Attention over a handful of points makes them alike: their variance is next to nothing, and
    norms that divide by it, one after the other, let gradients explode.
    """
    return RowNorm(channels, min_rows=MIN_POINTS)


class BatchNorm(RowNorm):
    """Batch normalization over all voxels of a batch. Shape: [N, C] to [N, C]."""

    def forward(self, x: SparseTensor) -> SparseTensor:  # type: ignore[override]
        return x.with_feats(super().forward(x.feats))
