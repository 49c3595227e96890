"""Point Transformer: its wiring, its invariances, and scenes that are too small for it."""

from __future__ import annotations

from functools import partial

import pytest
import torch

import cuda_ops
from pc3d.data.collate import collate
from pc3d.data.sample import PointSample, read_points
from pc3d.data.voxelize import Voxelize
from pc3d.models import PointTransformer
from pc3d.nn import DiscreteRelation, PointTransformerBlock, VectorAttention
from pc3d.sparse import Batch, PointSet
from tests.attack import CLOUDS
from tests.nn.test_vector_attention import settled
from tests.sparse.test_point_set import batch_of

SIZES = {"widths": [8, 12, 16], "depths": [1, 2, 1], "num_neighbors": [4, 6, 6]}
KINDS = [
    *(("knn", None, sampling) for sampling in ("fps", "strided")),
    *(("ball", 0.8, sampling) for sampling in ("fps", "strided")),
    *(("voxel", None, sampling) for sampling in ("fps", "strided")),
]


def network(
    search="knn", radius=None, sampling="fps", in_channels=2, relation=None, **options
) -> PointTransformer:
    torch.manual_seed(0)
    attention = partial(VectorAttention, group_channels=4, relation=relation)
    block = partial(PointTransformerBlock, attention=attention)
    kind = {"search": {"kind": search, "radius": radius}, "sampling": sampling}
    sizes = SIZES | {"in_channels": in_channels, "num_classes": 3}
    return settled(PointTransformer(block=block, **sizes, **kind, **options))


def rooms(seed: int, *sizes: int) -> list[PointSample]:
    """Clouds on a slanted plane with a wall, in no order."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for number, size in enumerate(sizes):
        xyz = torch.rand(size, 3, generator=generator) * torch.tensor([4.0, 3.0, 0.1])
        wall = torch.rand(size, generator=generator) < 0.3
        xyz[wall, 2] = xyz[wall, 1] / 2
        xyz[wall, 1] = 0.03 * number
        color = torch.rand(size, 3, generator=generator) * 255
        found.append(read_points(str(number), "test", xyz.numpy(), color=color.numpy()))
    return found


VOXELIZE = Voxelize(voxel_size=0.2, features=("color",))


@pytest.mark.parametrize(("search", "radius", "sampling"), KINDS)
def test_the_order_of_points_does_not_matter(search, radius, sampling):
    net = network(search, radius, sampling, in_channels=3).eval()
    (sample,) = rooms(1, 900)
    order = torch.randperm(900, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        batches = [collate([VOXELIZE(s)]) for s in (sample, sample.select(order.numpy()))]
        scores, shuffled = (net(batch).at_points(batch) for batch in batches)
    torch.testing.assert_close(shuffled, scores[order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("search", "radius", "sampling"), KINDS)
def test_batch_mates_do_not_matter(search, radius, sampling):
    net = network(search, radius, sampling, in_channels=3).eval()
    samples = [VOXELIZE(sample) for sample in rooms(3, 700, 250, 3)]
    with torch.no_grad():
        batch = collate(samples)
        together = net(batch).at_points(batch).split([700, 250, 3])
        for sample, expected in zip(samples, together, strict=True):
            alone = collate([sample])
            scores = net(alone).at_points(alone)
            torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("search", "radius", "sampling"), KINDS)
@pytest.mark.parametrize("name", ["two", "three, one empty", "one voxel"])
def test_small_and_empty_clouds_train(search, radius, sampling, name):
    net = network(search, radius, sampling).train()
    output = net(batch_of(CLOUDS[name]))
    assert output.support == "voxel" and torch.isfinite(output.logits).all()
    output.logits.square().sum().backward()
    for parameter, tensor in net.named_parameters():
        assert torch.isfinite(tensor.grad).all(), parameter


@pytest.mark.parametrize(("search", "radius", "sampling"), KINDS)
def test_training_and_inference_agree_when_norms_are_constant(search, radius, sampling):
    """The fused path, against the one that gradients take."""
    net, batch = network(search, radius, sampling).eval(), batch_of(CLOUDS["two"])
    with torch.no_grad():
        fused = net(batch).logits
    torch.testing.assert_close(net(batch).logits, fused, rtol=1e-4, atol=1e-4)


def test_batch_norms_as_published():
    net = network(norm="batch").train()
    kinds = {type(module) for module in net.modules()}
    assert torch.nn.LayerNorm not in kinds
    output = net(batch_of(CLOUDS["two"]))
    output.logits.square().sum().backward()
    assert torch.nn.LayerNorm in {type(module) for module in network().modules()}


def released(net: PointTransformer, batch: Batch) -> torch.Tensor:
    """The published wiring of three stages, line by line."""
    p1 = PointSet.of_batch(batch)
    p2 = p1.down("fps")
    p3 = p2.down("fps")
    s1, s2, s3 = net.searches
    near1, near2, near3 = p1.neighbors(s1), p2.neighbors(s2), p3.neighbors(s3)
    x1 = net.encoder[0](net.stem(batch.voxels.feats), near1)
    x2 = net.encoder[1](net.down[0](x1, p2.neighbors_in(p1, s2)), near2)
    x3 = net.encoder[2](net.down[1](x2, p3.neighbors_in(p2, s3)), near3)
    y3 = net.decoder[2](net.context(x3, p3), near3)
    y2 = net.decoder[1](net.up[1](x2, p2, y3, p3), near2)
    y1 = net.decoder[0](net.up[0](x1, p1, y2, p2), near1)
    return net.head(net.neck(y1))


def test_the_wiring_is_the_published_one():
    net, batch = network().eval(), batch_of(CLOUDS["two"])
    torch.testing.assert_close(net(batch).logits, released(net, batch))


def test_searches_are_made_once_for_all_blocks_of_a_stage(monkeypatch):
    """Of three stages: one search each, one per transition down, one per transition up."""
    calls = []
    real = cuda_ops.nearest_neighbors
    monkeypatch.setattr(
        cuda_ops, "nearest_neighbors", lambda *args: calls.append(args[4]) or real(*args)
    )
    network()(batch_of(CLOUDS["two"]))
    assert sorted(calls) == sorted([4, 6, 6, 6, 6, 3, 3])


def test_points_further_down_are_seen():
    """Far features reach a point through the coarse stages alone."""
    net, batch = network().eval(), batch_of(CLOUDS["two"])
    feats = batch.voxels.feats
    first = PointSet.of_batch(batch)
    near = first.neighbors(net.searches[0]).table[:, 0]
    with torch.no_grad():
        before = net(batch).logits[0]
        own = (first.cloud == first.cloud[0]).nonzero().squeeze(1)
        far = own[~torch.isin(own, near)]
        feats[far] += 5.0
        assert (net(batch).logits[0] - before).abs().max() > 1e-3


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_the_stem_sees_how_large_features_are(norm):
    """A layer norm behind a linear layer gives x and 2 x the same features."""
    net, batch = network(norm=norm).eval(), batch_of(CLOUDS["two"])
    feats = batch.voxels.feats
    assert (net.stem(2 * feats) - net.stem(feats)).abs().max() > 0.1


QUANTIZED = [
    {"choice": {"kind": "gumbel"}},
    {"choice": {"kind": "st_argmax"}},
    {"quantizer": {"init": "kmeans"}},
]


@pytest.mark.parametrize("options", QUANTIZED, ids=["gumbel", "straight-through", "ema"])
def test_codes_of_queries_and_keys_learn(options):
    net = network(relation=partial(DiscreteRelation, **options), regularizers={"usage": 0.1})
    batch = batch_of(CLOUDS["two"])
    output = net.train()(batch)
    assert set(output.aux_losses) == ({"commitment"} if "quantizer" in options else {"usage"})
    (output.logits.square().mean() + sum(output.aux_losses.values())).backward()
    for name, parameter in net.named_parameters():
        if ".relation." in name:
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    assert net.eval()(batch).aux_losses == {}


def test_bfloat16_autocast():
    net, batch = network().train(), batch_of(CLOUDS["two"])
    with torch.autocast("cpu", torch.bfloat16):
        output = net(batch)
        loss = output.logits.float().square().mean()
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_options_that_do_not_fit():
    with pytest.raises(ValueError, match="an entry per stage; got 3, 3 and 2"):
        PointTransformer(
            in_channels=2, num_classes=3, block=None, **(SIZES | {"num_neighbors": [4, 4]})
        )
    for options, text in (
        ({"sampling": "random"}, "sampling must be one of fps, strided"),
        ({"search": "ball"}, "needs a radius"),
        ({"regularizers": {"diversity": 1.0}}, "regularizers must be of usage, balance"),
    ):
        with pytest.raises(ValueError, match=text):
            network(**options)
