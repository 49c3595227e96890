"""Whole networks, from a `Batch` to a `SegmentationOutput`."""

from pc3d.models.api import SegmentationModel, SegmentationOutput, TransferableModel
from pc3d.models.minkunet import MinkUNet
from pc3d.models.point_transformer import PointTransformer
from pc3d.models.spvcnn import PointBranch
from pc3d.models.staged_unet import StagedUNet
from pc3d.models.voxel_transformer import VoxelTransformer

__all__ = [
    "MinkUNet",
    "PointBranch",
    "PointTransformer",
    "SegmentationModel",
    "SegmentationOutput",
    "StagedUNet",
    "TransferableModel",
    "VoxelTransformer",
]
