"""A supernet against networks that stand alone: equal to the bit, and the right channels."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pc3d.nn import BatchNorm
from pc3d.nn.norm import RowNorm
from pc3d.search import ArchSpec, Supernet
from pc3d.sparse import SparseTensor
from tests.profiling.scenes import make_batch
from tests.search.spaces import BASIC, BRANCH, GENES, NETWORK, supernet

BRANCHED = NETWORK | {"point_branch": BRANCH}


def settled(network: nn.Module) -> nn.Module:
    """With norms that do something, in evaluation."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            for tensor in (module.running_mean, module.weight.data, module.bias.data):
                tensor += 0.3 * torch.randn(tensor.shape, generator=generator)
            module.running_var.mul_(1 + torch.rand(module.running_var.shape, generator=generator))
    return network.eval()


@pytest.fixture(scope="module")
def net() -> Supernet:
    network = settled(supernet(network=BRANCHED))
    assert isinstance(network, Supernet)
    return network


@pytest.mark.parametrize("number", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_subnets_are_equal_to_the_bit(net, number):
    batch, rng = make_batch(300), np.random.default_rng(0)
    archs = {net.space.sample(rng) for _ in range(number)} | {net.largest, net.space.smallest}
    assert len(archs) > 0.97 * number
    with torch.no_grad():
        for arch in archs:
            assert torch.equal(net(batch, arch).logits, net.extract(arch)(batch).logits), arch


def test_without_an_architecture_it_is_the_largest(net):
    batch = make_batch(100)
    with torch.no_grad():
        assert torch.equal(net(batch).logits, net(batch, net.space.largest).logits)
        assert torch.equal(net(batch).logits, net.extract()(batch).logits)


def test_an_extracted_network_is_ordinary_and_trains_on(net):
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    network = net.extract(net.space.smallest).train()
    for module in network.modules():
        assert not type(module).__module__.startswith("pc3d.search")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network(make_batch(100)).logits.square().mean().backward()
    assert all(p.grad is not None for p in network.parameters())
    optimizer.step()
    after = net.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


BASIC_ONLY = {
    "blocks": {"basic": BASIC},
    "genes": {
        "width": [[16, 20], [24, 32], [44, 48], [20, 28]],  # no first block keeps its width
        "depth": [1, 2],
        "transition": [0.25, 0.5],
        "block": ["basic"],
    },
}


def cut(net: Supernet, arch: ArchSpec) -> nn.Module:
    """The largest network with the blocks that an architecture lacks left out, and its channels 0.

    Shares nothing with the supernet's slices: what is not there is multiplied by 0 where it arises.
    """
    network = net.extract()

    def keep(module: nn.Module, channels: int) -> None:
        def zero(_module: nn.Module, _args: object, y: SparseTensor) -> SparseTensor:
            return y.with_feats(y.feats * (torch.arange(y.num_channels) < channels))

        def zero_rows(_module: nn.Module, _args: object, y: torch.Tensor) -> torch.Tensor:
            return y * (torch.arange(y.shape[1]) < channels)

        for norm in module.modules():
            if isinstance(norm, BatchNorm):
                norm.register_forward_hook(zero)
            elif isinstance(norm, RowNorm):
                norm.register_forward_hook(zero_rows)

    backbone = network.backbone
    for parts, into in ((backbone.encoder, backbone.down), (backbone.decoder, backbone.up)):
        first = 0 if parts is backbone.encoder else len(parts)
        for i, stage in enumerate(arch.stages[first : first + len(parts)]):
            parts[i] = parts[i][: stage.depth]
            keep(parts[i], stage.width)
            keep(into[i], stage.transition)
    depth = len(backbone.decoder)
    if network.point_branch is not None:
        for lift, number in zip(
            network.point_branch.lift, (depth, depth + depth // 2, 2 * depth), strict=True
        ):
            keep(lift, arch.stages[number - 1].width)
    return network.double()


@pytest.mark.parametrize("network", [NETWORK, BRANCHED], ids=["minkunet", "spvcnn"])
def test_a_subnet_is_the_largest_without_the_other_channels(network):
    net = settled(supernet(network=network, **BASIC_ONLY)).double()
    assert isinstance(net, Supernet)
    batch, rng = make_batch(200), np.random.default_rng(0)
    batch = replace(batch, voxels=batch.voxels.with_feats(batch.voxels.feats.double()))
    with torch.no_grad():
        for _ in range(20):
            arch = net.space.sample(rng)
            torch.testing.assert_close(net(batch, arch).logits, cut(net, arch)(batch).logits)


def test_fewer_codes_are_the_first_ones_renormalised(net):
    few = net.largest.stages[1]
    arch = ArchSpec((net.largest.stages[0], replace(few, codes=2), *net.largest.stages[2:]))
    network, batch = net.extract(), make_batch(200)
    for block in network.backbone.encoder[1]:
        block.attention.codebook.share[2:] = 0  # nothing chooses it
    with torch.no_grad():
        torch.testing.assert_close(net(batch, arch).logits, network(batch).logits)


def test_queries_keys_and_values_are_cut_one_by_one(net):
    stages = list(net.largest.stages)
    stages[2] = replace(stages[2], block="votr", codes=None, groups=None, expansion=None, width=8)
    stages[2] = replace(stages[2], transition=8)
    whole = net.stages[2]["votr"][1].attention.qkv
    part = net.extract(ArchSpec(tuple(stages))).backbone.decoder[0][1].attention.qkv
    for own, shared in ((part.weight, whole.weight[:, :8]), (part.bias, whole.bias)):
        for mine, theirs in zip(own.chunk(3), shared.chunk(3), strict=True):
            assert torch.equal(mine, theirs[:8])


def test_gradients_reach_what_is_used_and_nothing_else():
    net = supernet()
    net.train()
    net(make_batch(100), net.space.smallest).logits.square().mean().backward()
    grads = {name: p.grad for name, p in net.named_parameters()}
    assert grads["stages.1.voxel_tr.0.project.conv.weight"] is None
    conv = grads["stages.0.basic.0.conv1.conv.weight"]
    assert conv[:, :4, :4].abs().sum() > 0 and conv[:, :, 4:].abs().sum() == 0
    assert grads["stages.0.basic.1.conv1.conv.weight"] is None  # of a block too many


def test_running_statistics_are_the_largest_networks():
    net = supernet().train()
    before = {k: v.clone() for k, v in net.named_buffers()}
    net(make_batch(100), net.space.smallest)
    assert all(torch.equal(v, before[k]) for k, v in net.named_buffers())
    net(make_batch(100))
    name = "trunk.backbone.stem.0.norm.bn.running_mean"
    assert not torch.equal(net.get_buffer(name), before[name])
    alone = supernet().extract().train()
    alone(make_batch(100))
    assert torch.equal(net.get_buffer(name), alone.get_buffer(name.removeprefix("trunk.")))


def test_every_weight_is_of_some_architecture():
    """No part of the shared tensors is left that no subnet uses."""
    net = supernet(network=BRANCHED)
    kinds = {kind for options in net.space.stages for kind in options.block}
    sums = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    rng = np.random.default_rng(0)
    for kind in sorted(kinds):
        for _ in range(30):
            arch = net.space.sample(rng)
            stages = [
                net.space.extreme(i, kind if kind in options.block else options.block[0], max)
                for i, options in enumerate(net.space.stages)
            ]
            stages = [
                replace(stage, transition=drawn.transition)
                if drawn.transition in net.space.transitions(i, stage.width)
                else stage
                for i, (stage, drawn) in enumerate(zip(stages, arch.stages, strict=True))
            ]
            state = net.state_of(ArchSpec(tuple(stages)))
            grads = torch.autograd.grad(
                sum(v.sum() for v in state.values() if v.requires_grad),
                list(net.parameters()),
                allow_unused=True,
            )
            for (name, _), grad in zip(net.named_parameters(), grads, strict=True):
                if grad is not None:
                    sums[name] += grad
    unused = [name for name, total in sums.items() if (total == 0).any()]
    # A shortcut is as wide as what is widest; of that width there is none.
    assert all("shortcut" in name or "prelude" in name for name in unused), unused
    assert all((total != 0).any() for total in sums.values())


def test_copies_and_pickles(net):
    batch = make_batch(100)
    arch = net.space.smallest
    with torch.no_grad():
        expected = net(batch, arch).logits
        for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            assert torch.equal(other(batch, arch).logits, expected)


def test_running_a_subnet_draws_no_random_numbers(net):
    state = torch.get_rng_state()
    with torch.no_grad():
        net(make_batch(50), net.space.sample(np.random.default_rng(7)))
    assert torch.equal(torch.get_rng_state(), state)


def test_blocks_that_cannot_be_shared_are_named():
    conv = {"_target_": "pc3d.nn.SubmanifoldConv3d", "_partial_": True}
    genes = GENES | {"block": [["basic"], ["conv"], ["basic"], ["basic"]]}
    genes = {k: v for k, v in genes.items() if k not in ("codes", "groups", "expansion")}
    with pytest.raises(ValueError, match=r"blocks\.conv: SubmanifoldConv3d does not say"):
        supernet(blocks={"basic": BASIC, "conv": conv}, genes=genes)
