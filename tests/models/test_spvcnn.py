"""The point branch of SPVCNN: where it meets the U-Net, and what it shares with it."""

from __future__ import annotations

from functools import partial

import pytest
import torch

import cuda_ops
from pc3d.models import MinkUNet, PointBranch
from pc3d.nn.norm import RowNorm
from pc3d.sparse import Batch, SparseTensor
from tests.attack import CLOUDS, asymmetric, make, random_points
from tests.models.test_sizes import build
from tests.parity import coords_of

SIZES = {"widths": [6, 8, 10, 12, 10, 8, 7, 6], "depths": [1] * 8, "stem_channels": 5}


def network(dropout: float = 0.0) -> MinkUNet:
    torch.manual_seed(0)
    branch = partial(PointBranch, dropout=dropout)
    return MinkUNet(in_channels=2, num_classes=3, point_branch=branch, **SIZES).double()


def batch(cloud=None) -> Batch:
    points = random_points(150, 0, -20, 21, 7) + random_points(60, 1, -9, 14, 8)
    coords = coords_of(cloud or make(points, 2))
    return Batch(None, SparseTensor(coords, asymmetric(len(coords), 2)), None)


def released(net: MinkUNet, x: SparseTensor) -> torch.Tensor:
    """The published wiring in plain operations: integer positions, means, trilinear weights."""
    unet, lift = net.backbone, net.point_branch.lift

    def parents(coarse):
        cells = x.coords.indices.clone()
        cells[:, 1:] = cells[:, 1:].div(coarse.stride, rounding_mode="floor")
        return cuda_ops.lookup(coarse.keys, cuda_ops.morton_encode(cells)).long()

    def vox(z, like):
        rows = parents(like.coords)
        mean = [z[rows == row].mean(dim=0) for row in range(len(like.coords))]
        return like.with_feats(torch.stack(mean))

    def devox(y):
        position = x.coords.indices[:, 1:].float() / y.coords.stride
        cloud = x.coords.indices[:, 0].long()
        index, weight = cuda_ops.trilinear(y.coords.keys, cloud, position)
        rows = y.feats[index.clamp(min=0).long()] * (weight * (index >= 0)).unsqueeze(2)
        return rows.sum(dim=0)

    x0 = unet.stem(x)
    skips, y = [], vox(x0.feats, x0)
    z0 = devox(x0)
    for down, blocks in zip(unet.down, unet.encoder, strict=True):
        skips.append(y)
        y = blocks(down(y))
    z1 = devox(y) + lift[0](z0)
    y = vox(z1, y)
    for number in (0, 1):
        y = unet.decoder[number](unet.up[number](y, skips[-1].coords).cat(skips.pop()))
    z2 = devox(y) + lift[1](z1)
    y = vox(z2, y)
    for number in (2, 3):
        y = unet.decoder[number](unet.up[number](y, skips[-1].coords).cat(skips.pop()))
    return net.head(devox(y) + lift[2](z2))


def test_the_wiring_is_the_published_one():
    net, data = network(), batch()
    torch.testing.assert_close(net(data).logits, released(net, data.voxels), rtol=1e-6, atol=1e-6)


def test_dropout_acts_on_what_comes_back_to_the_voxels_in_training_only():
    net, data = network(dropout=0.5), batch()
    seen = []
    net.point_branch.dropout.register_forward_hook(lambda _, args, __: seen.append(args[0].shape))
    net(data)
    coords = [data.voxels.coords]
    for _ in range(4):
        coords.append(coords[-1].down()[0])
    assert seen == [(len(coords[4]), 12), (len(coords[2]), 8)]
    assert not torch.equal(net(data).logits, net(data).logits)
    net.eval()
    assert torch.equal(net(data).logits, net(data).logits)


def test_every_parameter_of_the_branch_learns():
    net = network()
    net(batch()).logits.square().sum().backward()
    for name, parameter in net.point_branch.named_parameters():
        if not name.endswith("0.bias"):  # a norm takes away what is added to all rows
            assert parameter.grad.abs().sum() > 1e-6, name


def test_batch_mates_do_not_matter():
    net, both = network().eval(), batch()
    with torch.no_grad():
        together = net(both).logits
        for cloud in (0, 1):
            mine = both.voxels.coords.indices[:, 0] == cloud
            coords = both.voxels.coords.select(mine.nonzero().squeeze(1))
            alone = Batch(None, SparseTensor(coords, both.voxels.feats[mine]), None)
            torch.testing.assert_close(net(alone).logits, together[mine], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["one voxel", "three, one empty"])
def test_small_and_empty_clouds_train(name):
    output = network().train()(batch(CLOUDS[name]))
    assert torch.isfinite(output.logits).all()
    output.logits.sum().backward()


def test_the_branch_holds_no_weights_of_the_unet_and_leaves_its_names_as_they_are():
    plain = MinkUNet(in_channels=2, num_classes=3, **SIZES)
    own = set(network().state_dict()) - set(plain.state_dict())
    assert own and all(name.startswith("point_branch.lift.") for name in own)
    assert set(plain.state_dict()) <= set(network().state_dict())


def test_the_voxel_transformer_takes_the_same_branch():
    with torch.device("meta"):
        net = build(6, 20, "+model=voxel_tr_spv")
    assert isinstance(net.point_branch, PointBranch)
    assert net.point_branch.dropout.p == 0.1
    assert all(type(module[1]) is RowNorm for module in net.point_branch.lift)  # as published
    layers = [module[0] for module in net.point_branch.lift]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [
        (32, 192),
        (192, 96),
        (96, 72),
    ]
