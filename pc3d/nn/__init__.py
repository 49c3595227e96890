"""Layers over `SparseTensor`. Thin: they ask the coordinates for a map and call an op."""

from pc3d.nn.blocks import BasicBlock, ConvBlock
from pc3d.nn.conv import DownConv3d, SubmanifoldConv3d, UpConv3d
from pc3d.nn.norm import BatchNorm

__all__ = [
    "BasicBlock",
    "BatchNorm",
    "ConvBlock",
    "DownConv3d",
    "SubmanifoldConv3d",
    "UpConv3d",
]
