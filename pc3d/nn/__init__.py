"""Layers over `SparseTensor`. Thin: they ask the coordinates for a map and call an op."""

from pc3d.nn.blocks import BasicBlock, ConvBlock
from pc3d.nn.choice import Choice
from pc3d.nn.codebook import Codebook, CodeSpec
from pc3d.nn.codebook_attention import CodebookAttention, VoxelTransformerBlock
from pc3d.nn.conv import DownConv3d, SubmanifoldConv3d, UpConv3d
from pc3d.nn.discrete_relation import DiscreteRelation
from pc3d.nn.local_attention import LocalAttention, LocalAttentionBlock
from pc3d.nn.norm import BatchNorm
from pc3d.nn.pattern_attention import PatternAttention
from pc3d.nn.transitions import GlobalContext, TransitionDown, TransitionUp
from pc3d.nn.vector_attention import PointTransformerBlock, VectorAttention
from pc3d.nn.vector_quantize import VectorQuantizer

__all__ = [
    "BasicBlock",
    "BatchNorm",
    "Choice",
    "CodeSpec",
    "Codebook",
    "CodebookAttention",
    "ConvBlock",
    "DiscreteRelation",
    "DownConv3d",
    "GlobalContext",
    "LocalAttention",
    "LocalAttentionBlock",
    "PatternAttention",
    "PointTransformerBlock",
    "SubmanifoldConv3d",
    "TransitionDown",
    "TransitionUp",
    "UpConv3d",
    "VectorAttention",
    "VectorQuantizer",
    "VoxelTransformerBlock",
]
