"""Blocks: convolution + norm + ReLU, on points or voxels, and the basic residual block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol

from torch import nn, relu_

from pc3d.nn.conv import PointwiseConv, SubmanifoldConv3d
from pc3d.nn.norm import BatchNorm, PointNorm, point_norm
from pc3d.sparse import SparseTensor


class SharedBlock(Protocol):
    """A block whose weights smaller ones can share; see `pc3d.search`.

    Attributes:
        input_axes: of its tensors that have an entry per channel of the input, which axis that is.
        stacked_axes: tensors that stack several of one width along an axis: which axis, how many.
    """

    input_axes: ClassVar[Mapping[str, int]]
    stacked_axes: ClassVar[Mapping[str, tuple[int, int]]]


class ConvBlock(nn.Module):
    """Convolution, batch norm, ReLU.

    Args:
        conv: any convolution over `SparseTensor`; further arguments of `forward` go to it.
        channels: its output channels.
    """

    def __init__(self, conv: nn.Module, channels: int) -> None:
        super().__init__()
        self.conv = conv
        self.norm = BatchNorm(channels)

    def forward(self, x: SparseTensor, *args: object) -> SparseTensor:
        y: SparseTensor = self.norm(self.conv(x, *args))
        return y.with_feats(relu_(y.feats))  # of a tensor that nobody else has


class BasicBlock(nn.Module):
    """Two 3x3x3 submanifold convolutions with a shortcut (He et al. 2016, expansion 1).

    Args:
        in_channels: C_in; where it differs from `out_channels` the shortcut is a 1x1x1 convolution
            with batch norm.
        out_channels: C_out.

    Shape: [N, C_in] to [N, C_out].
    """

    input_axes: ClassVar[Mapping[str, int]] = {"conv1.conv.weight": 1, "shortcut.0.weight": 1}
    stacked_axes: ClassVar[Mapping[str, tuple[int, int]]] = {}

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = ConvBlock(SubmanifoldConv3d(in_channels, out_channels), out_channels)
        self.conv2 = nn.Sequential(
            SubmanifoldConv3d(out_channels, out_channels), BatchNorm(out_channels)
        )
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Sequential(
                PointwiseConv(in_channels, out_channels, bias=False), BatchNorm(out_channels)
            )

    def forward(self, x: SparseTensor) -> SparseTensor:
        y: SparseTensor = self.conv2(self.conv1(x)) + self.shortcut(x)
        return y.with_feats(relu_(y.feats))  # of a tensor that nobody else has


def point_layer(
    in_channels: int, out_channels: int, norm: PointNorm, bias: bool = True
) -> nn.Sequential:
    """A layer on every point, with norm and ReLU. [N, C_in] to [N, C_out]."""
    linear = nn.Linear(in_channels, out_channels, bias=bias)
    return nn.Sequential(linear, point_norm(out_channels, norm), nn.ReLU(inplace=True))
