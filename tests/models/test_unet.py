"""The U-Net's wiring: strides, skips and widths, seen by blocks that only write them down."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pc3d.models.unet import Stage, UNet
from pc3d.nn import ConvBlock, SubmanifoldConv3d
from pc3d.sparse import SparseTensor
from tests.attack import CLOUDS
from tests.parity import coords_of


class Recorder(nn.Module):
    """A block that maps channels and writes down what it saw."""

    def __init__(self, log: list[tuple[int, int, int]], c_in: int, c_out: int) -> None:
        super().__init__()
        self.log, self.linear = log, nn.Linear(c_in, c_out)

    def forward(self, x: SparseTensor) -> SparseTensor:
        self.log.append((x.coords.stride, x.num_channels, self.linear.out_features))
        return x.with_feats(self.linear(x.feats))


def trace(*stages: tuple[int, int, int]) -> tuple[list[tuple[int, int, int]], SparseTensor, UNet]:
    log: list[tuple[int, int, int]] = []
    stem = ConvBlock(SubmanifoldConv3d(3, 5), 5)
    made = [Stage(*stage, block=lambda i, o: Recorder(log, i, o)) for stage in stages]
    network = UNet(stem, 5, made)
    coords = coords_of(CLOUDS["two"])
    x = SparseTensor(coords, torch.ones(len(coords), 3))
    y = network(x)
    assert y.coords is coords
    assert y.num_channels == network.out_channels
    return log, y, network


def test_stages_and_skips_of_a_two_level_network():
    log, _, network = trace((7, 1, 5), (11, 2, 7), (13, 1, 13), (17, 2, 17))
    assert log == [
        (2, 5, 7),
        (4, 7, 11),
        (4, 11, 11),
        (2, 13 + 7, 13),
        (1, 17 + 5, 17),
        (1, 17, 17),
    ]
    assert [b.conv.out_channels for b in network.down] == [5, 7]
    assert [b.conv.out_channels for b in network.up] == [13, 17]


def test_transitions_between_stages():
    log, _, network = trace((7, 1, 3), (11, 1, 11), (13, 1, 6), (17, 1, 4))
    assert log == [(2, 3, 7), (4, 11, 11), (2, 6 + 7, 13), (1, 4 + 5, 17)]
    assert [b.conv.out_channels for b in network.down] == [3, 11]
    assert [b.conv.out_channels for b in network.up] == [6, 4]


def test_the_skip_carries_the_encoders_features():
    """With the up path silenced, the output is a function of the stem alone."""
    _, _, network = trace((7, 1, 5), (13, 1, 13))
    coords = coords_of(CLOUDS["two"])
    x = SparseTensor(coords, torch.randn(len(coords), 3))
    network.eval()
    with torch.no_grad():
        network.up[0].norm.bn.weight.zero_()
        stem = network.stem(x).feats
        decoder = network.decoder[0][0].linear
        expected = torch.cat([torch.zeros(len(coords), 13), stem], dim=1) @ decoder.weight.T
    torch.testing.assert_close(network(x).feats, expected + decoder.bias)


@pytest.mark.parametrize("number", [0, 1, 3])
def test_refuses_unpaired_stages(number):
    with pytest.raises(ValueError, match=f"as many stages up as down.*got {number}"):
        UNet(nn.Identity(), 4, [Stage(8, 1, 8)] * number)
