"""The one U-Net wiring: stem, four times down, four times up with skips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from torch import nn

from pc3d.nn import BasicBlock, ConvBlock, DownConv3d, SubmanifoldConv3d, UpConv3d
from pc3d.sparse import SparseTensor

BlockFactory = Callable[[int, int], nn.Module]
"""`block(in_channels, out_channels)` makes one block of a stage."""
STEM_AXES: Mapping[str, int] = MappingProxyType({"backbone.stem.0.conv.weight": 1})
"""`TransferableModel.channel_axes` of a network with a `conv_stem` in the U-Net `backbone`."""
HEAD_AXES: Mapping[str, int] = MappingProxyType({"head.weight": 0, "head.bias": 0})
"""`TransferableModel.class_axes` of a network with the linear layer `head`."""


class UNet(nn.Module):
    """A U-Net of n stages down and n stages up over any stem and any block.

    An encoder stage is a 2x2x2 convolution with stride 2 and `depths[i]` blocks; a decoder stage is
    the transposed convolution, concatenation of the skip, and its blocks.

    Args:
        stem: module from the input to `stem_channels` at stride 1.
        stem_channels: its output channels.
        widths: 2n output channels: n encoder stages, then n decoder stages.
        depths: 2n block counts, in the same order.
        block: makes one block; or 2n of them, one per stage.
        expand_down: the down convolution already has the stage's width (as in CodedVTR); otherwise
            it keeps its input's and the first block widens (as in Choy et al.).

    Attributes:
        widths: channels behind the stem and behind every stage.

    Raises:
        ValueError: `widths` and `depths` do not have the same even length.
    """

    def __init__(
        self,
        stem: nn.Module,
        stem_channels: int,
        widths: Sequence[int],
        depths: Sequence[int],
        block: BlockFactory | Sequence[BlockFactory] = BasicBlock,
        expand_down: bool = False,
    ) -> None:
        super().__init__()
        blocks = [block] * len(widths) if callable(block) else block
        if not len(widths) == len(depths) == len(blocks) or len(widths) % 2 or not widths:
            raise ValueError(
                "widths, depths and blocks need one entry per stage, encoder then decoder; got "
                f"{len(widths)}, {len(depths)} and {len(blocks)}"
            )
        num_stages = len(widths) // 2
        encoder = zip(widths[:num_stages], depths[:num_stages], blocks[:num_stages], strict=True)
        decoder = zip(widths[num_stages:], depths[num_stages:], blocks[num_stages:], strict=True)
        self.stem, self.widths = stem, (stem_channels, *widths)
        self.down, self.encoder = nn.ModuleList(), nn.ModuleList()
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        channels = stem_channels
        skips = []
        for width, depth, make in encoder:
            skips.append(channels)
            down_channels = width if expand_down else channels
            self.down.append(ConvBlock(DownConv3d(channels, down_channels), down_channels))
            self.encoder.append(stage(make, down_channels, width, depth))
            channels = width
        for width, depth, make in decoder:
            self.up.append(ConvBlock(UpConv3d(channels, width), width))
            self.decoder.append(stage(make, width + skips.pop(), width, depth))
            channels = width
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


def stage(block: BlockFactory, in_channels: int, out_channels: int, depth: int) -> nn.Sequential:
    """`depth` blocks in a row; the first one changes the width."""
    widths = [in_channels] + [out_channels] * (depth - 1)
    return nn.Sequential(*(block(width, out_channels) for width in widths))
