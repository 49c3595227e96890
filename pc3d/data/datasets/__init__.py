"""Readers of data sets, one file each, and the dataset of their scenes."""

from pc3d.data.datasets.base import SampleKey, SceneDataset, SceneReader
from pc3d.data.datasets.custom import Custom
from pc3d.data.datasets.hold_out import HoldOut
from pc3d.data.datasets.nuscenes import NuScenes
from pc3d.data.datasets.s3dis import S3DIS
from pc3d.data.datasets.scannet import ScanNet
from pc3d.data.datasets.semantickitti import SemanticKITTI

__all__ = [
    "S3DIS",
    "Custom",
    "HoldOut",
    "NuScenes",
    "SampleKey",
    "ScanNet",
    "SceneDataset",
    "SceneReader",
    "SemanticKITTI",
]
