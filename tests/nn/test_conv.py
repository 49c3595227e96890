"""Convolution modules: the right relation, shapes, initialization, printing."""

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd import gradcheck

from pc3d.nn import DownConv3d, SubmanifoldConv3d, UpConv3d
from pc3d.nn.conv import PointwiseConv
from pc3d.sparse import SparseTensor
from tests import oracle
from tests.attack import CLOUDS, Cloud, asymmetric
from tests.parity import coords_of

CLOUD = CLOUDS["three, one empty"]
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def tensor(channels: int, cloud: Cloud = CLOUD) -> SparseTensor:
    coords = coords_of(cloud)
    return SparseTensor(coords, asymmetric(len(coords), channels))


@pytest.mark.parametrize("size, dilation, shape", [(3, 1, "cube"), (5, 1, "cross"), (3, 3, "cube")])
def test_submanifold_equals_conv3d_with_bias(size, dilation, shape):
    module = SubmanifoldConv3d(3, 4, size, dilation, shape, bias=True).double()
    x = tensor(3)
    y = module(x)
    expected = oracle.submanifold_conv(CLOUD.rows, x.feats, module.weight, size, dilation, shape)
    torch.testing.assert_close(y.feats, expected + module.bias, **CLOSE)
    assert y.coords is x.coords


def test_down_then_up_equal_strided_convolutions():
    down, up = DownConv3d(3, 4).double(), UpConv3d(4, 2).double()
    x = tensor(3)
    y = down(x)
    z = up(y, x.coords)
    expected = oracle.down_conv(CLOUD.rows, x.feats, down.weight)
    torch.testing.assert_close(y.feats, expected, **CLOSE)
    torch.testing.assert_close(z.feats, oracle.up_conv(CLOUD.rows, expected, up.weight), **CLOSE)
    assert y.coords is x.coords.down()[0] and z.coords is x.coords


def test_pointwise_is_a_submanifold_kernel_of_one_tap():
    x = tensor(3)
    linear, conv = PointwiseConv(3, 5, bias=False).double(), SubmanifoldConv3d(3, 5, 1).double()
    with torch.no_grad():
        conv.weight.copy_(linear.weight.T.unsqueeze(0))
    torch.testing.assert_close(linear(x).feats, conv(x).feats, **CLOSE)


@pytest.mark.parametrize(
    "module, taps", [(SubmanifoldConv3d(16, 24, bias=True), 27), (DownConv3d(16, 24), 8)]
)
def test_weights_fill_their_uniform_range(module, taps):
    """U(-s, s), s = 1 / sqrt(C_in K): all within, the extremes near s, variance s^2 / 3."""
    bound = 1 / math.sqrt(16 * taps)
    weight = module.weight.detach()
    assert weight.shape == (taps, 16, 24)
    assert 0.99 * bound < float(weight.abs().max()) <= bound
    assert float(weight.var()) == pytest.approx(bound**2 / 3, rel=0.1)
    if module.bias is not None:
        assert module.bias.shape == (24,) and float(module.bias.detach().abs().max()) <= bound


def test_gradcheck_through_modules():
    cloud = Cloud([(0, 0, 0, 0), (0, 1, 0, 0), (1, -1, 3, 2), (1, -1, 3, 3)], [], [], [], 2)
    coords = coords_of(cloud)
    down, up, same = DownConv3d(2, 2), UpConv3d(2, 1), SubmanifoldConv3d(1, 2, bias=True)
    modules = torch.nn.ModuleList([down, up, same]).double()

    def network(feats: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        del weights  # the parameters of `modules`, which gradcheck perturbs in place
        return same(up(down(SparseTensor(coords, feats)), coords)).feats

    assert gradcheck(network, (asymmetric(4, 2).requires_grad_(), *modules.parameters()))


def test_printing_says_the_kernel():
    assert repr(SubmanifoldConv3d(3, 8, 5, dilation=2, shape="cross")) == (
        "SubmanifoldConv3d(3, 8, size=5, stride=1, dilation=2, shape=cross, bias=False)"
    )
