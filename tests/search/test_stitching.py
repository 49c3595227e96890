"""Stitched networks against stages that are run one by one, with a linear layer at every seam."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor, nn

from pc3d.cli.config import compose_config, resolved
from pc3d.models.weights import Weights, build_network
from pc3d.search import ArchSpec, StitchableUNet
from pc3d.search.stitch_space import StitchSpace, staged_config
from pc3d.search.stitching import fit_stitches, seam
from tests.profiling.scenes import make_batch
from tests.search.spaces import BASIC, VOTR, VOXEL_TR
from tests.search.test_supernet import settled

PLACES = ("paths.run_dir=x", "paths.data_dir=x", "paths.cache_dir=x")
KINDS = (BASIC, VOXEL_TR, VOTR, BASIC)


def config(widths, stem, depth=1, kinds=KINDS):
    stages = [
        {"width": width, "depth": depth, "transition": width, "block": kind}
        for width, kind in zip(widths, kinds, strict=True)
    ]
    target = "pc3d.models.StagedUNet"
    return staged_config({"_target_": target, "stages": stages, "stem_channels": stem})


ANCHORS = {"large": config([8, 16, 12, 8], 8, depth=2), "small": config([4, 8, 8, 4], 4)}


def stitchable(anchors=ANCHORS) -> StitchableUNet:
    torch.manual_seed(0)
    network = StitchableUNet(in_channels=4, num_classes=5, anchors=anchors)
    for matrices in network.stitches:
        for matrix in matrices.values():
            nn.init.normal_(matrix, std=0.3)
    settled(network)
    return network


@pytest.fixture(scope="module")
def net() -> StitchableUNet:
    return stitchable()


def archs_of(net):
    """All there are, by whose each stage is."""
    names = product(net.space.names, repeat=4)
    return {name: net.space.suggest(lambda gene, _, n=name: n[int(gene[0])]) for name in names}


def test_stitched_networks_are_equal_to_the_bit(net):
    batch, archs = make_batch(200), archs_of(net)
    assert len(set(archs.values())) == 16
    seen = set()
    with torch.no_grad():
        for arch in archs.values():
            logits = net(batch, arch).logits
            assert torch.equal(logits, net.extract(arch)(batch).logits), arch
            seen.add(float(logits.sum()))
    assert len(seen) == 16


def test_of_one_network_only_they_are_that_network(net):
    batch = make_batch(200)
    with torch.no_grad():
        for name in net.space.names:
            assert torch.equal(
                net(batch, net.space.only(name)).logits, net.anchors[name](batch).logits
            )
        assert torch.equal(net(batch).logits, net.anchors["large"](batch).logits)


def stage_by_stage(net, batch, owners) -> Tensor:
    """Logits, with every border crossed by a linear layer on the features."""

    def crossed(x, place, source, target):
        if source == target:
            return x
        matrix = net.stitches[place][seam(source, target)]
        return x.with_feats(x.feats @ matrix)

    backbones = {name: net.anchors[name].backbone for name in net.space.names}
    x, behind = backbones[owners[0]].stem(batch.voxels), [owners[0], *owners]
    passed = [x]
    for number, owner in enumerate(owners):
        x = crossed(x, number, behind[number], owner)
        unet = backbones[owner]
        if number < 2:
            x = unet.encoder[number](unet.down[number](x))
        else:
            place = 3 - number
            skip = crossed(passed[place], place, behind[place], owner)
            x = unet.decoder[number - 2](unet.up[number - 2](x, skip.coords).cat(skip))
        passed.append(x)
    return net.anchors[owners[-1]].head(x.feats)


def test_a_seam_is_a_linear_layer_on_the_features():
    net = stitchable().double()
    batch = make_batch(200)
    voxels = batch.voxels.with_feats(batch.voxels.feats.double())
    batch = type(batch)(**{**vars(batch), "voxels": voxels})
    with torch.no_grad():
        for owners, arch in archs_of(net).items():
            torch.testing.assert_close(
                net(batch, arch).logits, stage_by_stage(net, batch, owners), rtol=1e-9, atol=1e-9
            )


def test_an_extracted_network_is_ordinary_and_names_nothing_of_the_search(net):
    arch = archs_of(net)["large", "small", "small", "large"]
    network = net.extract(arch)
    assert all(not type(m).__module__.startswith("pc3d.search") for m in network.modules())
    facts = {"model": net.space.config(arch), "format": 1}
    again = build_network(Weights("here", network.state_dict(), facts), 4, 5)
    batch = make_batch(100)
    with torch.no_grad():
        assert torch.equal(again(batch).logits, network(batch).logits)


def test_all_of_a_path_learns_and_nothing_else_changes(net):
    net.train()
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    net.zero_grad()
    net(make_batch(100), archs_of(net)["large", "small", "small", "large"]).logits.sum().backward()
    net.eval()
    learned = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    assert {name for name in learned if name.startswith("stitches")} == {
        "stitches.1.large_to_small",  # into the second stage, and as a skip into the third
        "stitches.3.small_to_large",
    }
    assert "anchors.large.head.weight" in learned and "anchors.small.head.weight" not in learned
    assert "anchors.large.backbone.stem.0.conv.weight" in learned
    assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())


def features(network, batch, place) -> Tensor:
    found = []
    modules = [network.backbone.stem, *network.backbone.encoder, *network.backbone.decoder]
    handle = modules[place].register_forward_hook(lambda *a: found.append(a[2].feats))
    with torch.no_grad():
        network(batch)
    handle.remove()
    return found[0]


def test_the_seams_are_least_squares_fits():
    net = stitchable()
    batches = [make_batch(number) for number in (300, 500, 700)]
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    explained = fit_stitches(net.train(), batches)
    assert net.training and all(torch.equal(b, before[n]) for n, b in net.named_buffers())
    net.eval()
    large, small = net.anchors["large"], net.anchors["small"]
    for place in range(4):
        x = torch.cat([features(large, batch, place) for batch in batches]).double()
        y = torch.cat([features(small, batch, place) for batch in batches]).double()
        best = torch.linalg.lstsq(x, y, driver="gelsd").solution
        fitted = x @ net.stitches[place]["large_to_small"].detach().double()
        least = (x @ best - y).square().sum()
        assert least <= (fitted - y).square().sum() * (1 + 1e-9) < least * 1.0001
        left = (fitted - y).square().sum() / y.square().sum()
        assert explained[place]["large_to_small"] == pytest.approx(1 - float(left), abs=1e-5)


def test_a_network_stitched_to_itself_stays_itself():
    net = stitchable({"a": ANCHORS["large"], "b": ANCHORS["large"]})
    net.anchors["b"].load_state_dict(net.anchors["a"].state_dict())
    batch = make_batch(300)
    explained = fit_stitches(net, [batch])
    assert all(value > 0.999 for row in explained for value in row.values())
    with torch.no_grad():
        expected = net(batch).logits
        for arch in archs_of(net).values():
            torch.testing.assert_close(net(batch, arch).logits, expected, rtol=0.01, atol=0.01)


def test_a_fit_without_batches_changes_nothing(net):
    before = [m.clone() for matrices in net.stitches for m in matrices.values()]
    with pytest.raises(ValueError, match="at least one batch"):
        fit_stitches(net, [])
    after = [m for matrices in net.stitches for m in matrices.values()]
    assert all(map(torch.equal, before, after))


def test_the_space_gives_what_it_contains():
    space = StitchSpace(ANCHORS)
    rng = np.random.default_rng(0)
    a, b = space.largest, space.smallest
    seen = set()
    for _ in range(60):
        for arch in (space.sample(rng), space.mutate(a, 0.3, rng), space.crossover(a, b, rng)):
            space.check(arch)
            assert ArchSpec.from_plain(arch.plain()) == arch
            seen.add(arch)
    assert len(seen) == 16
    assert space.mutate(b, 0.0, rng) == b
    assert space.stem_channels(a) == 8 and space.stem_channels(b) == 4
    with pytest.raises(ValueError, match="stage 1: width 16; this supernet has 8"):
        space.check(ArchSpec((b.stages[0], replace(b.stages[1], width=16), *b.stages[2:])))


@pytest.mark.parametrize("model", ["voxel_tr_s", "minkunet14a", "minkunet_m", "dwconv_a", "votr_a"])
def test_shipped_networks_are_plain_ones_in_other_words(model):
    own = resolved(compose_config("config", [f"model={model}", *PLACES]))["model"]
    sizes = {"in_channels": 4, "num_classes": 5}
    torch.manual_seed(0)
    first = instantiate(own, _convert_="all", **sizes)
    torch.manual_seed(0)
    second = instantiate(staged_config(own), _convert_="all", **sizes)
    states = first.state_dict(), second.state_dict()
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("anchors", "expected"),
    [
        ({"a": ANCHORS["large"]}, "two networks or more"),
        ({"a": ANCHORS["large"], "b": config([8, 8], 8, kinds=(BASIC, BASIC))}, "a of 4 stages, b"),
        ({"a.b": ANCHORS["large"], "b": ANCHORS["small"]}, "cannot have dots"),
    ],
)
def test_networks_that_cannot_be_stitched(anchors, expected):
    with pytest.raises(ValueError, match=expected):
        StitchSpace(anchors)


def test_a_block_without_a_layer_to_merge_a_stitch_into():
    large = config([8, 16, 16, 8], 8)
    small = config([4, 8, 16, 4], 4)
    small["stages"][2]["transition"] = 8  # with the skip of 8 of the large one they make 16
    with pytest.raises(ValueError, match=r"small, stage 2: .* no layer which a stitch"):
        StitchableUNet(in_channels=4, num_classes=5, anchors={"large": large, "small": small})


@pytest.mark.parametrize(
    ("model", "expected"), [("ptv1", "no stages"), ("voxel_tr_spv", "branch of points")]
)
def test_models_without_borders(model, expected):
    own = resolved(compose_config("config", [f"model={model}", *PLACES]))["model"]
    with pytest.raises(ValueError, match=expected):
        staged_config(own)
