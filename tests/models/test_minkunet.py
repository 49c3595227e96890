"""MinkUNet: its wiring and its invariances."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

import cuda_ops
from pc3d.models import MinkUNet
from pc3d.sparse import Batch, CoordSet, SparseTensor
from tests.attack import CLOUDS, asymmetric, make, random_points
from tests.models.test_sizes import build
from tests.sparse.test_points import batch_of


def test_published_stem_of_five():
    """72.2 mIoU on ScanNet is with stem_kernel_size=5: 98 more taps of 3 x 32."""
    widths, depths = [32, 64, 128, 256, 256, 128, 96, 96], [2, 3, 4, 6, 2, 2, 2, 2]
    with torch.device("meta"):
        network = MinkUNet(
            in_channels=3, num_classes=20, widths=widths, depths=depths, stem_kernel_size=5
        )
    assert sum(p.numel() for p in network.parameters()) == 37_846_644 + 98 * 3 * 32


SMALL = {"widths": [6, 8, 10, 12, 10, 8, 7, 6], "depths": [1, 2, 1, 1, 1, 1, 2, 1]}


@cache
def small(dtype: torch.dtype = torch.float64) -> MinkUNet:
    """A thin network whose norms have seen data, in evaluation mode."""
    torch.manual_seed(0)
    network = MinkUNet(in_channels=2, num_classes=4, stem_channels=5, stem_depth=2, **SMALL)
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            for tensor, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.02, 0.3),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.2, 0.5),
            ):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
    return network.to(dtype).eval()


def logits_by_voxel(network: nn.Module, rows: torch.Tensor, feats: torch.Tensor) -> dict:
    """Logits of each voxel, given in any order, by its coordinates."""
    order = cuda_ops.morton_encode(rows).argsort()
    coords = CoordSet(rows[order], int(rows[:, 0].max()) + 1)
    batch = Batch(None, SparseTensor(coords, feats[order]), None)
    with torch.no_grad():
        logits = network(batch).logits
    return dict(zip(map(tuple, coords.indices.tolist()), logits, strict=True))


@pytest.fixture(scope="module")
def scene() -> tuple[torch.Tensor, torch.Tensor]:
    cloud = make(random_points(150, 0, -20, 21, 7) + random_points(60, 1, -9, 14, 8), 2)
    return cloud.indices, asymmetric(len(cloud.rows), 2)


CLOSE = {"rtol": 1e-9, "atol": 1e-9}


@pytest.mark.parametrize("shift", [(16, 0, 0), (-48, 160, 16), (-16, -16, -32)])
def test_translation_by_the_coarsest_stride_changes_nothing(scene, shift):
    rows, feats = scene
    moved = rows + torch.tensor([0, *shift], dtype=torch.int32)
    before = logits_by_voxel(small(), rows, feats)
    after = logits_by_voxel(small(), moved, feats)
    for (b, x, y, z), logits in before.items():
        there = (b, x + shift[0], y + shift[1], z + shift[2])
        torch.testing.assert_close(after[there], logits, **CLOSE)


def test_translation_by_less_does_change_something(scene):
    """The previous test would pass for a network that ignores its coarse levels."""
    rows, feats = scene
    before = logits_by_voxel(small(), rows, feats)
    after = logits_by_voxel(small(), rows + torch.tensor([0, 8, 0, 0], dtype=torch.int32), feats)
    change = [float((after[b, x + 8, y, z] - v).abs().max()) for (b, x, y, z), v in before.items()]
    assert max(change) > 1e-3


def test_batch_mates_do_not_matter(scene):
    rows, feats = scene
    together = logits_by_voxel(small(), rows, feats)
    for cloud in (0, 1):
        mine = rows[:, 0] == cloud
        alone = rows[mine] * torch.tensor([0, 1, 1, 1], dtype=torch.int32)
        for (_, *xyz), logits in logits_by_voxel(small(), alone, feats[mine]).items():
            torch.testing.assert_close(together[(cloud, *xyz)], logits, **CLOSE)


def test_the_order_of_points_does_not_matter():
    """Shuffled points give the same voxels, hence the same scores at every point."""
    cloud = CLOUDS["two"]
    points, feats = cloud.point_indices, asymmetric(len(cloud.points), 2)

    def scores(order: torch.Tensor) -> torch.Tensor:
        keys, point2voxel, counts = cuda_ops.voxelize(cuda_ops.morton_encode(points[order]))
        coords = CoordSet(cuda_ops.morton_decode(keys), 2)
        x = SparseTensor(coords, cuda_ops.voxel_mean(feats[order], point2voxel, counts))
        batch = Batch(None, x, point2voxel)
        with torch.no_grad():
            return small()(batch).at_points(batch)[order.argsort()]

    shuffled = torch.randperm(len(points), generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(scores(shuffled), scores(torch.arange(len(points))), **CLOSE)


def test_logits_stand_at_voxels_and_are_read_at_points():
    batch = batch_of(CLOUDS["three, one empty"])
    output = small()(batch)
    assert (output.support, output.aux_losses) == ("voxel", {})
    assert output.logits.shape == (len(batch.voxels.coords), 4)
    assert torch.equal(output.at_points(batch), output.logits[batch.point2voxel])


def test_gradient_equals_finite_differences():
    """Directional derivatives of the whole network in float64, in training mode."""
    torch.manual_seed(0)
    network = MinkUNet(in_channels=2, num_classes=3, stem_channels=3, expand_down=True, **SMALL)
    network = network.double().train()
    batch = batch_of(CLOUDS["two"])
    target = asymmetric(len(batch.voxels.coords), 3)
    parameters = list(network.parameters())
    loss = lambda: (network(batch).logits * target).sum()  # noqa: E731
    direction = [torch.randn_like(p) for p in parameters]
    grads = torch.autograd.grad(loss(), parameters)
    slope = sum((g * d).sum() for g, d in zip(grads, direction, strict=True))
    step, values = 1e-6, []
    with torch.no_grad():
        for sign in (1, -2):
            for p, d in zip(parameters, direction, strict=True):
                p += sign * step * d
            values.append(loss())
    torch.testing.assert_close((values[0] - values[1]) / (2 * step), slope, rtol=1e-4, atol=0)


@pytest.fixture(scope="module")
def fourteen() -> MinkUNet:
    torch.manual_seed(0)
    return build(2, 4, "+model=minkunet14a")


def float_batch(name: str) -> Batch:
    batch = batch_of(CLOUDS[name])
    voxels = batch.voxels.with_feats(batch.voxels.feats.float())
    return Batch(batch.points, voxels, batch.point2voxel, batch.segment)


def test_every_parameter_gets_a_gradient(fourteen):
    fourteen.train().zero_grad(set_to_none=True)
    batch = float_batch("two")
    nn.functional.cross_entropy(fourteen(batch).logits, batch.segment).backward()
    without = [n for n, p in fourteen.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []
    assert all(torch.isfinite(p.grad).all() for p in fourteen.parameters())


def test_one_voxel_in_training(fourteen):
    fourteen.train().zero_grad(set_to_none=True)
    output = fourteen(float_batch("one voxel"))
    output.logits.sum().backward()
    assert torch.isfinite(output.logits).all()
    assert all(torch.isfinite(p.grad).all() for p in fourteen.parameters())


def test_bf16_autocast_trains(fourteen):
    fourteen.train().zero_grad(set_to_none=True)
    batch = float_batch("two")
    with torch.autocast("cpu", torch.bfloat16):
        logits = fourteen(batch).logits
    nn.functional.cross_entropy(logits.float(), batch.segment).backward()
    assert torch.isfinite(logits).all()
    assert all(torch.isfinite(p.grad).all() for p in fourteen.parameters())


def test_bf16_autocast_is_close_to_float32():
    """Convolutions stay in float32; only linear layers round to the 8 bits of bfloat16."""
    network, batch = small(torch.float32), float_batch("two")
    with torch.no_grad():
        expected = network(batch).logits
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(batch).logits
    assert 0 < float((logits - expected).abs().max()) < 0.02 * float(expected.abs().max())
