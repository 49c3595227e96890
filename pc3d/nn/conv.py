"""Submanifold, down and up convolution as modules."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

from pc3d.sparse import DOWN, CoordSet, KernelSpec, SparseTensor, conv


class SparseConv3d(nn.Module):
    """Weight of a sparse convolution; subclasses say where the output stands.

    Weights are drawn from U(-s, s) with s = 1 / sqrt(C_in * K). (MinkowskiEngine scales transposed
    convolutions by C_out instead; the batch norm behind every convolution makes that immaterial.)

    Args:
        in_channels: C_in.
        out_channels: C_out.
        spec: the kernel, K taps.
        bias: add a bias after the sum.
    """

    def __init__(
        self, in_channels: int, out_channels: int, spec: KernelSpec, bias: bool = False
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.spec = in_channels, out_channels, spec
        self.weight = nn.Parameter(torch.empty(spec.num_taps, in_channels, out_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = 1 / math.sqrt(self.in_channels * self.spec.num_taps)
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def convolve(self, x: SparseTensor, out_coords: CoordSet) -> SparseTensor:
        y = conv(x, self.weight, out_coords, self.spec)
        return y if self.bias is None else y.with_feats(y.feats + self.bias)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, size={self.spec.size}, "
            f"stride={self.spec.stride}, dilation={self.spec.dilation}, shape={self.spec.shape}, "
            f"bias={self.bias is not None}"
        )


class SubmanifoldConv3d(SparseConv3d):
    """Convolution whose output stands on the input's voxels.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        kernel_size: 1, 3 or 5.
        dilation: distance between taps in voxels.
        shape: `"cube"` or `"cross"`.
        bias: add a bias.

    Shape: [N, C_in] to [N, C_out].
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        dilation: int = 1,
        shape: Literal["cube", "cross"] = "cube",
        bias: bool = False,
    ) -> None:
        spec = KernelSpec(kernel_size, dilation=dilation, shape=shape)
        super().__init__(in_channels, out_channels, spec, bias)

    def forward(self, x: SparseTensor) -> SparseTensor:
        return self.convolve(x, x.coords)


class PointwiseConv(nn.Linear):
    """A 1x1x1 convolution: a linear layer on every voxel. Shape: [N, C_in] to [N, C_out]."""

    def forward(self, x: SparseTensor) -> SparseTensor:  # type: ignore[override]
        return x.with_feats(super().forward(x.feats))


class DownConv3d(SparseConv3d):
    """2x2x2 convolution with stride 2 onto `x.coords.down()`. Shape: [N, C_in] to [M, C_out]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, DOWN)

    def forward(self, x: SparseTensor) -> SparseTensor:
        return self.convolve(x, x.coords.down()[0])


class UpConv3d(SparseConv3d):
    """2x2x2 transposed convolution onto the encoder's voxels. Shape: [M, C_in] to [N, C_out]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, DOWN)

    def forward(self, x: SparseTensor, out_coords: CoordSet) -> SparseTensor:
        return self.convolve(x, out_coords)
