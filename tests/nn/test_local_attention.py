"""Local attention against a loop over voxels."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import gelu, layer_norm

from pc3d.nn import LocalAttention, LocalAttentionBlock
from pc3d.sparse import SparseTensor
from tests import oracle
from tests.attack import CLOUDS, asymmetric
from tests.parity import coords_of

CLOUD = CLOUDS["three, one empty"]
COORDS = coords_of(CLOUD)
WINDOW = [{}, {"shape": "cross", "dilation": 2}, {"shape": "cross", "dilation": 3}]


def test_the_window_holds_every_tap_once():
    layer = LocalAttention(8, 4, WINDOW)
    assert len(layer.taps) == layer.bias.shape[0] == 27 + 6 + 6
    assert LocalAttention(8, 4, [{"size": 5}, {}]).bias.shape == (125, 2)


def test_equals_a_softmax_over_the_voxels_of_the_window():
    torch.manual_seed(0)
    layer = LocalAttention(6, 3, WINDOW).double()
    torch.nn.init.normal_(layer.bias)
    x = asymmetric(len(COORDS), 6)
    q, k, v = (x @ layer.qkv.weight.T + layer.qkv.bias).split(6, dim=1)
    near, cross2 = oracle.offsets(3), oracle.offsets(3, 2, "cross")
    offsets = near + [o for o in cross2 + oracle.offsets(3, 3, "cross") if o != (0, 0, 0)]
    number = {row: n for n, row in enumerate(CLOUD.rows)}
    expected = torch.zeros_like(x)
    for n, (b, *place) in enumerate(CLOUD.rows):
        taps = [
            (t, (b, *(p + d for p, d in zip(place, o, strict=True)))) for t, o in enumerate(offsets)
        ]
        found = [(t, number[row]) for t, row in taps if row in number]
        rows = [m for _, m in found]
        for head in range(2):
            channels = slice(3 * head, 3 * head + 3)
            logits = k[rows, channels] @ q[n, channels] / 3**0.5
            logits = logits + layer.bias[[t for t, _ in found], head]
            expected[n, channels] = logits.softmax(dim=0) @ v[rows, channels]
    expected = expected @ layer.project.weight.T + layer.project.bias
    torch.testing.assert_close(layer(x, COORDS), expected)


@pytest.mark.parametrize("in_channels", [6, 10])
def test_block_is_pre_norm_with_two_residuals(in_channels):
    torch.manual_seed(0)
    block = LocalAttentionBlock(in_channels, 6, head_channels=3, window=WINDOW).double().eval()
    x = SparseTensor(COORDS, asymmetric(len(COORDS), in_channels))
    residual = hidden = x.feats
    if in_channels != 6:
        residual = x.feats @ block.shortcut.weight.T
        hidden = block.prelude(x).feats
    y = residual + block.attention(layer_norm(hidden, (6,)), COORDS)
    up, _, down = block.mlp
    expected = y + down(gelu(up(layer_norm(y, (6,)))))
    torch.testing.assert_close(block(x).feats, expected)
    block(x).feats.sum().backward()
    assert all(p.grad is not None for p in block.parameters())


def test_a_lonely_voxel_attends_to_itself():
    coords = coords_of(CLOUDS["one voxel"])
    layer = LocalAttention(6, 3, WINDOW).double()
    x = asymmetric(1, 6).requires_grad_()
    v = layer.qkv(x)[:, 12:]
    y = layer(x, coords)
    torch.testing.assert_close(y, layer.project(v))
    y.sum().backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"head_channels": 4}, "head_channels must divide"),
        ({"head_channels": 0}, "head_channels must divide"),
        ({"window": []}, "at least one kernel"),
        ({"window": [{"shape": "mask", "masks": ("1" * 27,)}]}, "none with masks"),
    ],
)
def test_refuses(options, message):
    arguments = {"head_channels": 3, "window": WINDOW} | options
    with pytest.raises(ValueError, match=message):
        LocalAttention(6, **arguments)
