"""The point branch of SPVCNN (Tang et al. 2020, arXiv 2007.16100), for any U-Net."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from pc3d.models.unet import UNet
from pc3d.nn.blocks import point_layer
from pc3d.sparse import PointVoxelMap, SparseTensor


class PointBranch(nn.Module):
    """Features of points that pass by the coarse voxels of a U-Net and meet them four times.

    As in the released code there is one point per voxel of the input, at the voxel's coordinate, so
    that the exchange at stride 1 takes features as they are.

    Args:
        unet: whose stages it accompanies; the weights of the U-Net stay there.
        dropout: of the features that come back to the voxels, in training.

    Shape: [N, C_in] to [N, C_out], those of the U-Net.
    """

    def __init__(self, unet: UNet, *, dropout: float = 0.3) -> None:
        super().__init__()
        depth = len(unet.decoder)
        self.middle = depth // 2  # the decoder stage before which points and voxels meet again
        stops = (0, depth, depth + self.middle, 2 * depth)
        widths = [unet.widths[stop] for stop in stops]
        self.lift = nn.ModuleList(point_layer(*pair, norm="batch") for pair in pairwise(widths))
        self.dropout = nn.Dropout(dropout)

    def forward(self, unet: UNet, x: SparseTensor) -> SparseTensor:
        exchange = PointVoxelMap.of_voxels(x.coords)

        def to_voxels(points: Tensor, like: SparseTensor) -> SparseTensor:
            return exchange.voxelize(points, like.coords)

        def dropped(x: SparseTensor) -> SparseTensor:
            return x.with_feats(self.dropout(x.feats))

        x = unet.stem(x)
        z = exchange.devoxelize(x)

        x, skips = unet.encode(to_voxels(z, x))
        z = exchange.devoxelize(x) + self.lift[0](z)

        x = unet.decode(dropped(to_voxels(z, x)), skips, slice(self.middle))
        z = exchange.devoxelize(x) + self.lift[1](z)

        x = unet.decode(dropped(to_voxels(z, x)), skips, slice(self.middle, None))
        z = exchange.devoxelize(x) + self.lift[2](z)
        return to_voxels(z, x)


def run_backbone(backbone: UNet, branch: nn.Module | None, x: SparseTensor) -> SparseTensor:
    """The features of a U-Net, with its point branch if it has one."""
    found: SparseTensor = backbone(x) if branch is None else branch(backbone, x)
    return found
