"""The voxel transformer network: placement of its blocks, auxiliary losses, invariances."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from pc3d.models import VoxelTransformer
from pc3d.nn import BasicBlock, CodebookAttention, VoxelTransformerBlock
from pc3d.nn.choice import balance_loss, observe_choices, usage_loss
from pc3d.sparse import Batch, SparseTensor
from tests.attack import CLOUDS, asymmetric, make, random_points
from tests.parity import coords_of

CODES = [{"dilation": 2}, {"dilation": 1}]


def network(**options: object) -> VoxelTransformer:
    torch.manual_seed(0)
    attention = partial(CodebookAttention, codes=CODES, groups=2, choice={})
    sizes = {"widths": [4, 6, 8, 6], "depths": [1, 2, 1, 2], "attention_stages": [1, 2]}
    block = partial(VoxelTransformerBlock, attention=attention)
    arguments = {"in_channels": 2, "num_classes": 3, "block": block, "stem_channels": 5}
    return VoxelTransformer(**(arguments | sizes | options)).double()


def batch() -> Batch:
    cloud = make(random_points(150, 0, -20, 21, 7) + random_points(60, 1, -9, 14, 8), 2)
    coords = coords_of(cloud)
    return Batch(None, SparseTensor(coords, asymmetric(len(coords), 2)), None)


def test_the_stages_named_attend_and_the_others_do_not():
    net = network()
    stages = [*net.backbone.encoder, *net.backbone.decoder]
    kinds = [[type(block) for block in stage] for stage in stages]
    attends, basic = VoxelTransformerBlock, BasicBlock
    assert kinds == [[basic], [attends, attends], [attends], [basic, basic]]


def test_auxiliary_losses_are_the_mean_over_blocks_and_come_with_the_output():
    weights = {"usage": 0.5, "balance": 0.25, "diversity": 2.0, "orthogonality": 4.0}
    net = network(regularizers=weights)
    with observe_choices(net) as seen:
        output = net(batch())
    books = [m.codebook for m in net.modules() if isinstance(m, CodebookAttention)]
    assert len(seen) == len(books) == 3
    mean = lambda values: torch.stack(list(values)).mean()  # noqa: E731
    expected = {
        "usage": 0.5 * mean(map(usage_loss, seen.values())),
        "balance": 0.25 * mean(map(balance_loss, seen.values())),
        "diversity": 2 * mean(book.diversity_loss() for book in books),
        "orthogonality": 4 * mean(book.orthogonality_loss() for book in books),
    }
    assert output.aux_losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(output.aux_losses[name], value)
        assert value.requires_grad
    assert net.eval()(batch()).aux_losses == {}
    assert network(regularizers={"usage": 0.0})(batch()).aux_losses == {}


def test_batch_mates_do_not_matter():
    net, both = network().eval(), batch()
    with torch.no_grad():
        together = net(both).logits
        for cloud in (0, 1):
            mine = both.voxels.coords.indices[:, 0] == cloud
            coords = both.voxels.coords.select(mine.nonzero().squeeze(1))
            alone = Batch(None, SparseTensor(coords, both.voxels.feats[mine]), None)
            torch.testing.assert_close(net(alone).logits, together[mine], rtol=1e-9, atol=1e-9)


def test_a_cloud_of_one_voxel_trains():
    coords = coords_of(CLOUDS["one voxel"])
    net = network(regularizers={"usage": 1.0}).train()
    output = net(Batch(None, SparseTensor(coords, asymmetric(1, 2)), None))
    (output.logits.sum() + sum(output.aux_losses.values())).backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_without_a_choice_there_are_no_choices_to_regularize():
    attention = partial(CodebookAttention, codes=[{}], groups=2, choice=None)
    block = partial(VoxelTransformerBlock, attention=attention)
    net = network(block=block, regularizers={"usage": 1.0, "diversity": 1.0})
    assert net(batch()).aux_losses == {}
    assert not any(isinstance(m, nn.Softmax) for m in net.modules())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"attention_stages": [4]}, r"of 0 to 3; got \[4\]"),
        ({"regularizers": {"entropy": 1.0}}, "usage, balance, diversity, orthogonality"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        network(**options)
