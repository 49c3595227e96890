"""Running statistics of subnets."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pc3d.search import recalibrate
from tests.profiling.scenes import make_batch
from tests.search.spaces import BRANCH, NETWORK, supernet


def test_statistics_are_means_over_batches():
    net = supernet(network=NETWORK | {"point_branch": BRANCH})
    network = net.extract(net.space.smallest).eval()
    batches = [make_batch(150), make_batch(300)]
    seen: list[torch.Tensor] = []
    norm = network.backbone.stem[0].norm.bn
    handle = norm.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    norm.running_mean.fill_(100)  # of another network
    recalibrate(network, batches)
    handle.remove()
    assert len(seen) == 2
    torch.testing.assert_close(norm.running_mean, sum(rows.mean(dim=0) for rows in seen) / 2)
    torch.testing.assert_close(norm.running_var, sum(rows.var(dim=0) for rows in seen) / 2)
    assert norm.momentum == 0.1 and not network.training and not norm.training


def test_all_else_is_as_in_evaluation():
    net = supernet(network=NETWORK | {"point_branch": BRANCH})
    network = net.extract().train()
    modes: list[bool] = []
    network.point_branch.dropout.register_forward_hook(
        lambda module, args, output: modes.append(module.training)
    )
    recalibrate(network, [make_batch(100)])
    assert modes and not any(modes)
    assert all(module.training for module in network.modules())
    once = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    recalibrate(network, [make_batch(100)])
    assert all(torch.equal(tensor, once[name]) for name, tensor in network.state_dict().items())


def test_a_subnet_is_of_use_afterwards():
    """With its own statistics instead of the largest network's."""
    net, batch = supernet().train(), make_batch(200)
    for _ in range(20):
        net(batch)
    network = net.extract(net.space.smallest).eval()
    with torch.no_grad():
        before = network(batch).logits
        recalibrate(network, [batch])
        expected = nn.Module.train(network)(batch).logits  # by the batch's own statistics
        after = network.eval()(batch).logits
    assert (after - expected).abs().max() < 0.15 * (before - expected).abs().max()


def test_no_batches():
    network = supernet().extract().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match="needs at least one batch"):
        recalibrate(network, [])
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert network.training
