"""What holds for every network of `conf/model`."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.steps import build_model
from pc3d.data.collate import collate
from pc3d.data.sample import PointSample
from pc3d.data.voxelize import Voxelize
from pc3d.sparse import Batch
from tests.attack import CLOUDS
from tests.models.test_point_transformer import rooms
from tests.models.test_sizes import NETWORKS
from tests.sparse import test_point_set as points

FAMILIES = ["minkunet14a", "spvcnn_cr0p5", "voxel_tr_t", "voxel_tr_spv", "voxel_tr_fusion"]
FAMILIES += ["voxel_tr_vq", "votr_a", "dwconv_a", "ptv1", "ptv1_vq"]
VOXELIZE = Voxelize(voxel_size=0.2, features=("color", "height"))


def batch_of(samples: list[PointSample]) -> Batch:
    return collate([VOXELIZE(sample) for sample in samples])


def trained(name: str, batch: Batch, steps: int, dtype: torch.dtype) -> tuple[nn.Module, list]:
    torch.manual_seed(0)
    network = build_model(name)
    labels = torch.arange(len(batch.voxels.coords)) % 20
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02)
    losses = []
    for _ in range(steps):
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            output = network(batch)
        loss = cross_entropy(output.logits.float(), labels) + sum(output.aux_losses.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return network, losses


@pytest.mark.parametrize("name", NETWORKS)
def test_two_steps(name):
    batch = batch_of(rooms(1, 120, 40))
    network, losses = trained(name, batch, 2, torch.float32)
    assert all(torch.isfinite(torch.tensor(losses))), losses
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, f"{key} has no part in the loss"
        assert torch.isfinite(parameter).all(), key


@pytest.mark.parametrize("name", FAMILIES)
def test_bfloat16_autocast(name):
    network, losses = trained(name, batch_of(rooms(1, 300, 100)), 2, torch.bfloat16)
    assert all(torch.isfinite(torch.tensor(losses))), losses
    assert all(torch.isfinite(p).all() for p in network.parameters())


@pytest.mark.parametrize("name", FAMILIES)
def test_order_of_points_and_mates_in_the_batch_do_not_matter(name):
    samples = rooms(5, 500, 150)
    network, _ = trained(name, batch_of(samples), 1, torch.float32)
    network.eval()
    order = torch.randperm(500, generator=torch.Generator().manual_seed(2))
    shuffled = [samples[0].select(order.numpy())]
    with torch.no_grad():
        both, alone, moved = (batch_of(each) for each in (samples, samples[:1], shuffled))
        together, scores, permuted = (network(b).at_points(b) for b in (both, alone, moved))
    close = {"rtol": 1e-3, "atol": 1e-4}
    torch.testing.assert_close(together[:500], scores, **close)
    torch.testing.assert_close(permuted, scores[order], **close)


def repeated(sample: PointSample, times: int) -> PointSample:
    return sample.select(torch.zeros(times, dtype=torch.int64).numpy())


@pytest.mark.parametrize("name", FAMILIES)
def test_tiny_scenes(name):
    """One point, two points, one point thirty times, and a cloud without any."""
    one, two = rooms(6, 1, 2)
    empty = points.batch_of(CLOUDS["three, one empty"], channels=4)
    network, _ = trained(name, batch_of(rooms(1, 300, 100)), 1, torch.float32)
    for batch in (batch_of([one]), batch_of([one, two, repeated(two, 30)]), empty):
        with torch.no_grad():
            scores = network.eval()(batch).at_points(batch)
        assert scores.shape == (batch.points.num_points, 20)
        assert torch.isfinite(scores).all()
        network.train()(batch).logits.square().mean().backward()
        assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
