"""MinkUNet in spconv's layers: the wiring and the weights of one of ours."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn, relu_

from benchmarks.peers import Grid, spconv, spconv_submanifold, with_weight
from pc3d.models import MinkUNet
from pc3d.nn import BasicBlock, BatchNorm, ConvBlock, DownConv3d, SubmanifoldConv3d, UpConv3d


class SpconvMinkUNet(nn.Module):
    """The same function of the same weights, of which it has a copy.

    Args:
        network: ours, on the device whose engine is wanted. Its convolutions have no bias.
    """

    def __init__(self, network: MinkUNet) -> None:
        super().__init__()
        backbone = network.backbone
        self.num_down = len(backbone.down)
        assert isinstance(backbone.stem, nn.Sequential)
        self.stem = nn.Sequential(*(_conv_block(block, 0) for block in backbone.stem))
        self.down, self.encoder = nn.ModuleList(), nn.ModuleList()
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        for level in range(self.num_down):
            self.down.append(_conv_block(backbone.down[level], level))
            self.encoder.append(_stage(backbone.encoder[level], level + 1))
        for index, level in enumerate(reversed(range(self.num_down))):
            self.up.append(_conv_block(backbone.up[index], level))
            self.decoder.append(_stage(backbone.decoder[index], level))
        self.head = copy.deepcopy(network.head)

    def forward(self, feats: Tensor, indices: Tensor) -> Tensor:
        """Logits [N, num_classes] of one cloud; maps are built anew.

        Args:
            feats: [N, C].
            indices: [N, 4] int32 (batch, x, y, z).
        """
        x = self.stem(Grid.of(indices, self.num_down).tensor(feats))
        skips = []
        for down, blocks in zip(self.down, self.encoder, strict=True):
            skips.append(x)
            x = blocks(down(x))
        for up, blocks in zip(self.up, self.decoder, strict=True):
            skip = skips.pop()
            x = up(x)
            # The inverse convolution gives the rows of the set that the down convolution was fed.
            x = blocks(x.replace_feature(torch.cat([x.features, skip.features], dim=1)))
        logits: Tensor = self.head(x.features)
        return logits


class _ConvNorm(nn.Module):
    """Convolution, batch norm, and ReLU if asked for."""

    def __init__(self, conv: Any, norm: nn.Module, activate: bool) -> None:
        super().__init__()
        assert isinstance(norm, BatchNorm)
        self.conv, self.bn, self.activate = conv, copy.deepcopy(norm.bn), activate

    def forward(self, x: Any) -> Any:
        y = self.conv(x)
        feats = self.bn(y.features)
        return y.replace_feature(relu_(feats) if self.activate else feats)


class _Residual(nn.Module):
    """`pc3d.nn.BasicBlock`."""

    def __init__(self, block: nn.Module, level: int) -> None:
        super().__init__()
        assert isinstance(block, BasicBlock)
        self.conv1 = _conv_block(block.conv1, level)
        conv, norm = block.conv2
        self.conv2 = _ConvNorm(_conv(conv, level), norm, activate=False)
        self.shortcut: nn.Module = nn.Identity()
        if not isinstance(block.shortcut, nn.Identity):
            assert isinstance(block.shortcut, nn.Sequential)
            pointwise, norm = block.shortcut
            assert isinstance(pointwise, nn.Linear) and isinstance(norm, BatchNorm)
            linear = nn.Linear(pointwise.in_features, pointwise.out_features, bias=False)
            linear.load_state_dict(pointwise.state_dict())
            self.shortcut = nn.Sequential(linear, copy.deepcopy(norm.bn))

    def forward(self, x: Any) -> Any:
        y = self.conv2(self.conv1(x))
        return y.replace_feature(relu_(y.features + self.shortcut(x.features)))


def _stage(blocks: nn.Module, level: int) -> nn.Sequential:
    assert isinstance(blocks, nn.Sequential)
    return nn.Sequential(*(_Residual(block, level) for block in blocks))


def _conv_block(block: nn.Module, level: int) -> _ConvNorm:
    assert isinstance(block, ConvBlock)
    return _ConvNorm(_conv(block.conv, level), block.norm, activate=True)


def _conv(conv: nn.Module, level: int) -> Any:
    """The layer of spconv with the same weight.

    Args:
        conv: ours.
        level: halvings of the finer of the sets that it links.
    """
    engine = spconv(conv.weight.device.type)
    assert isinstance(conv, SubmanifoldConv3d | DownConv3d | UpConv3d) and conv.bias is None
    size, key = conv.spec.size, f"down{level}"
    if isinstance(conv, SubmanifoldConv3d):
        assert conv.spec.dilation == 1 and conv.spec.shape == "cube"
        return spconv_submanifold(conv.weight, size, f"submanifold{level}_{size}")
    kind = engine.pytorch.SparseConv3d
    further: dict[str, int] = {"stride": 2}
    if isinstance(conv, UpConv3d):  # takes the pairs that the down convolution left under the key
        kind, further = engine.pytorch.SparseInverseConv3d, {}
    layer = kind(
        *(conv.in_channels, conv.out_channels, size),
        bias=False,
        indice_key=key,
        algo=engine.algo,
        **further,
    )
    return with_weight(layer, conv.weight, size)
