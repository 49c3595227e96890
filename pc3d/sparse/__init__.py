"""Sparse tensors: coordinate sets, kernel maps, and the convolution over them."""

from pc3d.sparse.conv import conv
from pc3d.sparse.coords import CoordSet
from pc3d.sparse.kernel_map import KernelMap
from pc3d.sparse.point_set import Neighbors, NeighborSearch, PointSet
from pc3d.sparse.points import Batch, PointBatch
from pc3d.sparse.pointvoxel import PointVoxelMap
from pc3d.sparse.relation import DOWN, KernelSpec
from pc3d.sparse.tensor import SparseTensor

__all__ = [
    "DOWN",
    "Batch",
    "CoordSet",
    "KernelMap",
    "KernelSpec",
    "NeighborSearch",
    "Neighbors",
    "PointBatch",
    "PointSet",
    "PointVoxelMap",
    "SparseTensor",
    "conv",
]
