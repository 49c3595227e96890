"""Sparse operators for 3D networks, registered with `torch.library` under `torch.ops.pc3d`.

Each folder is one op. Its `op.py` holds the reference in plain PyTorch, which is the specification
and runs on any device, the fake kernel, and the gradient. README.md lists formulas and shapes.
"""

from cuda_ops.codebook_attention.op import codebook_attention, routed_codebook_attention
from cuda_ops.devoxelize.op import devoxelize, trilinear
from cuda_ops.farthest_points.op import farthest_points
from cuda_ops.flops import register_flops
from cuda_ops.info import OpInfo, info
from cuda_ops.morton.op import MAX_BATCH, MAX_COORDINATE, morton_decode, morton_encode
from cuda_ops.nearest_neighbors.op import nearest_neighbors
from cuda_ops.neighbor_attention.op import neighbor_dot, neighbor_sum
from cuda_ops.neighbor_table.op import down_table, level_sizes, lookup, neighbor_table
from cuda_ops.runtime import synchronize
from cuda_ops.sparse_conv.op import sparse_conv
from cuda_ops.vector_attention.op import relation_logits, vector_sum
from cuda_ops.voxelize.op import voxel_first, voxel_mean, voxel_random, voxelize

__all__ = [
    "MAX_BATCH",
    "MAX_COORDINATE",
    "OpInfo",
    "codebook_attention",
    "devoxelize",
    "down_table",
    "farthest_points",
    "info",
    "level_sizes",
    "lookup",
    "morton_decode",
    "morton_encode",
    "nearest_neighbors",
    "neighbor_dot",
    "neighbor_sum",
    "neighbor_table",
    "register_flops",
    "relation_logits",
    "routed_codebook_attention",
    "sparse_conv",
    "synchronize",
    "trilinear",
    "vector_sum",
    "voxel_first",
    "voxel_mean",
    "voxel_random",
    "voxelize",
]
