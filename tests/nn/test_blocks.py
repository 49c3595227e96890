"""Blocks: the order of their parts, and the shortcut."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import relu

from pc3d.nn import BasicBlock, ConvBlock, SubmanifoldConv3d, UpConv3d
from pc3d.sparse import SparseTensor
from tests import oracle
from tests.attack import CLOUDS, asymmetric
from tests.parity import coords_of

CLOUD = CLOUDS["two"]


def tensor(channels: int) -> SparseTensor:
    coords = coords_of(CLOUD)
    return SparseTensor(coords, asymmetric(len(coords), channels))


def normed(norm: nn.Module, feats: torch.Tensor) -> torch.Tensor:
    return (feats - norm.bn.running_mean) / (norm.bn.running_var + norm.bn.eps).sqrt()


def test_conv_block_is_convolution_norm_relu():
    block = ConvBlock(SubmanifoldConv3d(3, 4), 4).double().eval()
    block.norm.bn.running_mean.fill_(0.3)
    x = tensor(3)
    conv = oracle.submanifold_conv(CLOUD.rows, x.feats, block.conv.weight, 3)
    expected = relu(normed(block.norm, conv))
    torch.testing.assert_close(block(x).feats, expected, rtol=1e-12, atol=1e-12)


def test_conv_block_passes_the_target_of_an_up_convolution():
    x = tensor(3)
    coarse = x.coords.down()[0]
    block = ConvBlock(UpConv3d(3, 2), 2).double()
    assert block(SparseTensor(coarse, asymmetric(len(coarse), 3)), x.coords).coords is x.coords


@pytest.mark.parametrize("out_channels, has_shortcut", [(3, False), (5, True)])
def test_basic_block_adds_its_shortcut_before_the_last_relu(out_channels, has_shortcut):
    block = BasicBlock(3, out_channels).double().eval()
    x = tensor(3)
    conv1 = oracle.submanifold_conv(CLOUD.rows, x.feats, block.conv1.conv.weight, 3)
    hidden = relu(normed(block.conv1.norm, conv1))
    conv2 = oracle.submanifold_conv(CLOUD.rows, hidden, block.conv2[0].weight, 3)
    shortcut = x.feats
    if has_shortcut:
        shortcut = normed(block.shortcut[1], x.feats @ block.shortcut[0].weight.T)
        assert block.shortcut[0].bias is None
    else:
        assert isinstance(block.shortcut, nn.Identity)
    expected = relu(normed(block.conv2[1], conv2) + shortcut)
    torch.testing.assert_close(block(x).feats, expected, rtol=1e-12, atol=1e-12)


def test_the_input_is_not_modified():
    x = tensor(3)
    before = x.feats.clone()
    BasicBlock(3, 3).double()(x)
    assert torch.equal(x.feats, before)
