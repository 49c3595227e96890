"""Quantised attention patterns against a loop over voxels."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from pc3d.models import VoxelTransformer
from pc3d.nn import PatternAttention, VoxelTransformerBlock
from pc3d.nn.pattern_attention import MIN_SHARE
from pc3d.sparse import Batch, SparseTensor
from tests import oracle
from tests.attack import CLOUDS, asymmetric
from tests.parity import coords_of

CLOUD = CLOUDS["three, one empty"]
COORDS = coords_of(CLOUD)


def layer(**options: object) -> PatternAttention:
    torch.manual_seed(0)
    return PatternAttention(6, 8, **({"groups": 4, "num_codes": 5} | options)).double()


def features(channels: int, seed: int = 0) -> SparseTensor:
    return SparseTensor(COORDS, asymmetric(len(COORDS), channels, seed=seed))


def test_equals_its_definition_voxel_by_voxel():
    net, x, v = layer(), features(6), features(8, 1)
    net(x, v)  # k-means of the first batch
    net.eval()
    codes = net.quantizer.codebook()
    query = net.query(x.feats)
    table = oracle.neighbor_table(CLOUD.rows, oracle.offsets(3))
    expected = torch.zeros_like(v.feats)
    for n in range(len(COORDS)):
        taps = [k for k in range(27) if table[k][n] >= 0]
        rows = [table[k][n] for k in taps]
        logits = net.mlp(query[n] - query[rows])
        for group in range(4):
            pattern = torch.zeros(27, dtype=torch.float64)
            pattern[taps] = logits[:, group].softmax(dim=0)
            code = codes[(pattern - codes).square().sum(dim=1).argmin()].clone()
            shares = code[taps]
            shares[taps.index(13)] += MIN_SHARE
            channels = slice(2 * group, 2 * group + 2)
            expected[n, channels] = shares / shares.sum() @ v.feats[rows, channels]
    torch.testing.assert_close(net(x, v).feats, expected)


def test_training_reaches_every_parameter_and_the_loss_is_in_the_output():
    block = partial(
        VoxelTransformerBlock, attention=partial(PatternAttention, groups=2, num_codes=4)
    )
    torch.manual_seed(0)
    net = VoxelTransformer(
        in_channels=6,
        num_classes=3,
        widths=[4, 4, 4, 4],
        depths=[1, 1, 1, 1],
        block=block,
        attention_stages=[0, 3],
    )
    x = SparseTensor(COORDS, features(6).feats.float())
    output = net(Batch(None, x, None))
    assert output.aux_losses.keys() == {"commitment"} and output.aux_losses["commitment"] > 0
    (output.logits.pow(2).sum() + output.aux_losses["commitment"]).backward()
    assert all(p.grad is not None for p in net.parameters())
    assert net.eval()(Batch(None, x, None)).aux_losses == {}


def test_a_lonely_voxel_keeps_its_value():
    coords = coords_of(CLOUDS["one voxel"])
    v = SparseTensor(coords, asymmetric(1, 8, seed=1))
    y = layer()(SparseTensor(coords, asymmetric(1, 6)), v)
    torch.testing.assert_close(y.feats, v.feats)


def test_refuses_groups_that_do_not_divide():
    with pytest.raises(ValueError, match="3 groups for 8 channels"):
        layer(groups=3)
