"""The one U-Net wiring: stem, four times down, four times up with skips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from torch import nn

from pc3d.nn import BasicBlock, ConvBlock, DownConv3d, SubmanifoldConv3d, UpConv3d
from pc3d.sparse import SparseTensor

BlockFactory = Callable[[int, int], nn.Module]
"""`block(in_channels, out_channels)` makes one block of a stage."""
STEM_AXES: Mapping[str, int] = MappingProxyType({"backbone.stem.0.conv.weight": 1})
"""`TransferableModel.channel_axes` of a network with a `conv_stem` in the U-Net `backbone`."""
HEAD_AXES: Mapping[str, int] = MappingProxyType({"head.weight": 0, "head.bias": 0})
"""`TransferableModel.class_axes` of a network with the linear layer `head`."""


class Stage(NamedTuple):
    """A stage of a U-Net.

    Attributes:
        width: channels that it gives.
        depth: number of blocks.
        transition: channels that the down or up convolution before the blocks gives.
        block: makes one block.
    """

    width: int
    depth: int
    transition: int
    block: BlockFactory = BasicBlock


class UNet(nn.Module):
    """A U-Net of n stages down and n stages up over any stem and any block.

    An encoder stage is a 2x2x2 convolution with stride 2 and its blocks; a decoder stage is the
    transposed convolution, concatenation of the skip, and its blocks.

    Args:
        stem: module from the input to `stem_channels` at stride 1.
        stem_channels: its output channels.
        stages: 2n of them: n of the encoder, then n of the decoder.

    Attributes:
        widths: channels behind the stem and behind every stage.

    Raises:
        ValueError: no stages, or an odd number.
    """

    def __init__(self, stem: nn.Module, stem_channels: int, stages: Sequence[Stage]) -> None:
        super().__init__()
        if not stages or len(stages) % 2:
            raise ValueError(
                f"a U-Net needs as many stages up as down, at least one; got {len(stages)} in all"
            )
        num_stages = len(stages) // 2
        self.stem, self.widths = stem, (stem_channels, *(stage.width for stage in stages))
        self.down, self.encoder = nn.ModuleList(), nn.ModuleList()
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        channels = stem_channels
        skips = []
        for stage in stages[:num_stages]:
            skips.append(channels)
            between = stage.transition
            self.down.append(ConvBlock(DownConv3d(channels, between), between))
            self.encoder.append(blocks_of(stage, between))
            channels = stage.width
        for stage in stages[num_stages:]:
            between = stage.transition
            self.up.append(ConvBlock(UpConv3d(channels, between), between))
            self.decoder.append(blocks_of(stage, between + skips.pop()))
            channels = stage.width
        self.out_channels = channels

    def forward(self, x: SparseTensor) -> SparseTensor:
        x, skips = self.encode(self.stem(x))
        return self.decode(x, skips)

    def encode(self, x: SparseTensor) -> tuple[SparseTensor, list[SparseTensor]]:
        """From the stem's output to the coarsest features, and what each stage began with."""
        skips = []
        for down, blocks in zip(self.down, self.encoder, strict=True):
            skips.append(x)
            x = blocks(down(x))
        return x, skips

    def decode(
        self, x: SparseTensor, skips: Sequence[SparseTensor], stages: slice = slice(None)
    ) -> SparseTensor:
        """Decoder stages in a row, all of them or a part; `skips` are those of `encode`."""
        decoder = zip(self.up, self.decoder, reversed(skips), strict=True)
        for up, blocks, skip in list(decoder)[stages]:
            x = blocks(up(x, skip.coords).cat(skip))
        return x


def decoder_stages(backbone: UNet, name: str = "backbone") -> dict[str, int]:
    """`StagedModel.decoder_stages` of a network with that U-Net under that name."""
    widths = backbone.widths[-len(backbone.decoder) :]
    return {f"{name}.decoder.{i}": width for i, width in enumerate(widths)}


def conv_stem(in_channels: int, channels: int, kernel_size: int, depth: int = 1) -> nn.Sequential:
    """`depth` submanifold convolutions with norm and ReLU, the first from `in_channels`."""
    widths = [in_channels] + [channels] * (depth - 1)
    convs = (SubmanifoldConv3d(width, channels, kernel_size) for width in widths)
    return nn.Sequential(*(ConvBlock(conv, channels) for conv in convs))


def blocks_of(stage: Stage, in_channels: int) -> nn.Sequential:
    """The blocks of a stage in a row; the first one changes the width."""
    widths = [in_channels] + [stage.width] * (stage.depth - 1)
    return nn.Sequential(*(stage.block(width, stage.width) for width in widths))
