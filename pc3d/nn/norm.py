"""Normalization over voxels."""

from __future__ import annotations

from torch import nn

from pc3d.sparse import SparseTensor


class BatchNorm(nn.Module):
    """Batch normalization over all voxels of a batch.

    The torch module is a child, so that `nn.SyncBatchNorm.convert_sync_batchnorm` finds it. A
    single voxel has no variance: in training it is normalized with the running statistics, where
    torch would raise.

    Shape: [N, C] to [N, C].
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(channels)

    def forward(self, x: SparseTensor) -> SparseTensor:
        bn = self.bn
        if self.training and len(x.coords) == 1 and isinstance(bn, nn.BatchNorm1d):
            feats = nn.functional.batch_norm(
                x.feats, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=bn.eps
            )
            return x.with_feats(feats)
        return x.with_feats(bn(x.feats))
