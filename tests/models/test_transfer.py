"""What is taken from a network for other classes and features, and what is not."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn

from pc3d.models import MinkUNet, VoxelTransformer
from pc3d.models.transfer import DataFacts, transfer
from pc3d.models.weights import Weights
from pc3d.nn import CodebookAttention, VoxelTransformerBlock
from pc3d.sparse import Batch, SparseTensor
from tests.attack import CLOUDS, asymmetric
from tests.models.test_sizes import CONF
from tests.parity import coords_of

ROOMS = DataFacts("rooms", ("wall", "floor", "chair", "door"), (("color", 3), ("height", 1)), 0.02)
AREAS = DataFacts("areas", ("beam", "door", "wall"), (("normal", 3), ("height", 1)), 0.05)
STREET = DataFacts("street", ("car", "road"), (("intensity", 1),), 0.02)
WIDTHS = {"widths": [4, 6, 8, 6], "depths": [1, 1, 1, 1], "stem_channels": 5}


def minkunet(facts: DataFacts, seed: int = 0, **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    sizes = {"in_channels": len(facts.channels), "num_classes": len(facts.class_names)}
    network = MinkUNet(**sizes, **{**WIDTHS, **options})
    for name, buffer in network.named_buffers():
        if name.endswith("running_var"):
            buffer.mul_(0.1 + torch.rand_like(buffer))  # as after a training
    return network.eval()


def voxel_transformer(facts: DataFacts, num_codes: int = 2, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    codes, split = [{}] * num_codes, {"noise": 0.0}
    attention = partial(CodebookAttention, codes=codes, groups=2, choice={}, split=split)
    block = partial(VoxelTransformerBlock, attention=attention)
    sizes = {"in_channels": len(facts.channels), "num_classes": len(facts.class_names)}
    return VoxelTransformer(**sizes, block=block, attention_stages=[1, 2], **WIDTHS).eval()


def weights(network: nn.Module, source: str = "a") -> Weights:
    return Weights(source, dict(network.state_dict()), {"model": "the first one"})


def moved(network: nn.Module, before: nn.Module, given: DataFacts, wanted: DataFacts) -> nn.Module:
    """`network` with what `before` learned."""
    network.load_state_dict(transfer(network, weights(before), given, wanted).state)
    return network


def logits(network: nn.Module, feats: Tensor) -> Tensor:
    voxels = SparseTensor(coords_of(CLOUDS["three, one empty"]), feats)
    return network(Batch(None, voxels, None)).logits


def num_voxels() -> int:
    return len(coords_of(CLOUDS["three, one empty"]))


def kinds(network: nn.Module, before: nn.Module, given: DataFacts, wanted: DataFacts) -> dict:
    result = transfer(network, weights(before), given, wanted)
    return {origin.name: origin.kind for origin in result.origins if origin.kind != "taken"}


def config_of(name: str) -> Any:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(overrides=[f"+model={name}"]).model


FAMILIES = (
    *("minkunet14a", "minkunet_cr0p5", "minkunet_m"),
    *("voxel_tr_s", "voxel_tr_hard", "voxel_tr_vq", "dwconv_a", "votr_a"),
    *("spvcnn_cr0p5", "voxel_tr_spv", "ptv1", "ptv1_vq"),
)
"""A model of every wiring in `conf/model`; the others are other widths and depths of these."""


@pytest.mark.parametrize("name", FAMILIES)
def test_every_shipped_model_says_which_tensors_depend_on_the_data(name):
    """Everything else has the same shape whatever the data is, and is taken."""
    make = partial(instantiate, config_of(name), _convert_="all")
    with torch.device("meta"):
        before = make(in_channels=4, num_classes=4)
        network = make(in_channels=1, num_classes=2)
        own, other = network.state_dict(), before.state_dict()
        remade = {n: "re-made" for n in own if own[n].shape != other[n].shape}
        assert kinds(network, before, ROOMS, STREET) == remade
    declared = {**network.channel_axes, **network.class_axes}
    assert declared.keys() == remade.keys()
    for tensor, axis in declared.items():
        sizes = [other[tensor].shape[axis], own[tensor].shape[axis]]
        assert sizes == ([4, 1] if tensor in network.channel_axes else [4, 2])


@pytest.mark.parametrize("make", [minkunet, voxel_transformer])
def test_the_same_data_takes_everything(make):
    before, network = make(ROOMS), make(ROOMS, seed=1)
    result = transfer(network, weights(before), ROOMS, ROOMS)
    assert result.state.keys() == before.state_dict().keys()
    assert all(torch.equal(result.state[n], v) for n, v in before.state_dict().items())
    assert {(o.kind, o.reason) for o in result.origins} == {("taken", "")}
    values = sum(value.numel() for value in before.state_dict().values())
    tensors = len(before.state_dict())
    assert result.lines() == [
        f"taken as they are: {tensors} of {tensors} tensors, {values:,} of {values:,} values"
    ]


@pytest.mark.parametrize("make", [minkunet, voxel_transformer])
def test_scores_of_shared_classes_stay_whatever_further_channels_hold(make):
    """Height is all that both have; it moved from the last channel to the last of four others."""
    wanted = DataFacts("areas", ("beam", "door", "wall"), (*ROOMS.features[::-1], ("xyz", 3)), 0.02)
    before, network = make(ROOMS), make(wanted, seed=1)
    feats = asymmetric(num_voxels(), 4).float()
    further = asymmetric(num_voxels(), 3, seed=5).float()
    expected = logits(before, feats)
    assert (expected.std(dim=0) > 1e-3).all()
    moved(network, before, ROOMS, wanted)
    found = logits(network, torch.cat([feats[:, 3:], feats[:, :3], further], dim=1))
    torch.testing.assert_close(found[:, 1:], expected[:, [3, 0]])


def test_further_channels_learn():
    wanted = DataFacts("rooms", ROOMS.class_names, (*ROOMS.features, ("xyz", 3)), 0.02)
    network = moved(minkunet(wanted), minkunet(ROOMS), ROOMS, wanted)
    weight = network.backbone.stem[0].conv.weight
    assert not weight[:, 4:].any() and weight[:, :4].all()
    logits(network, asymmetric(num_voxels(), 7).float()).square().sum().backward()
    assert (weight.grad[:, 4:] != 0).any(dim=2).any(dim=0).all()


def test_channels_are_matched_by_name_though_the_shape_is_the_same():
    before, network = minkunet(ROOMS), minkunet(AREAS, seed=1)
    weight = moved(network, before, ROOMS, AREAS).backbone.stem[0].conv.weight
    saved = before.backbone.stem[0].conv.weight
    assert torch.equal(weight[:, 3], saved[:, 3]) and not weight[:, :3].any()


def test_rows_of_classes_with_the_same_name_are_taken():
    before, network = minkunet(ROOMS), minkunet(AREAS, seed=1)
    fresh = minkunet(AREAS, seed=1).head
    moved(network, before, ROOMS, AREAS)
    for name in ("weight", "bias"):
        saved, own = getattr(before.head, name), getattr(fresh, name)
        assert torch.equal(getattr(network.head, name), torch.stack([own[0], saved[3], saved[0]]))


def test_classes_in_another_order_are_no_other_classes():
    turned = DataFacts("rooms", ROOMS.class_names[::-1], ROOMS.features, 0.02)
    before, network = minkunet(ROOMS), minkunet(turned, seed=1)
    assert kinds(network, before, ROOMS, turned).keys() == network.class_axes.keys()
    moved(network, before, ROOMS, turned)
    assert torch.equal(network.head.weight, before.head.weight.flip(0))


def test_without_anything_in_common_layers_are_as_they_were_initialized():
    before, network = minkunet(ROOMS), minkunet(STREET, seed=1)
    fresh = minkunet(STREET, seed=1)
    moved(network, before, ROOMS, STREET)
    assert torch.equal(network.head.weight, fresh.head.weight)
    assert torch.equal(network.backbone.stem[0].conv.weight, fresh.backbone.stem[0].conv.weight)
    taken = (
        network.backbone.stem[0].norm.bn.weight,
        network.backbone.encoder[0][0].conv1.conv.weight,
    )
    saved = before.backbone.stem[0].norm.bn.weight, before.backbone.encoder[0][0].conv1.conv.weight
    assert all(torch.equal(a, b) for a, b in zip(taken, saved, strict=True))


def test_nothing_given_is_changed():
    before, network = minkunet(ROOMS), minkunet(AREAS, seed=1)
    saved = weights(before)
    transfer(network, saved, ROOMS, AREAS)
    for expected, state in ((minkunet(AREAS, seed=1), network), (minkunet(ROOMS), before)):
        same = zip(expected.state_dict().values(), state.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in same)
    assert saved.state.keys() == before.state_dict().keys()


def test_codes_grow_beside_other_classes():
    before, network = voxel_transformer(ROOMS), voxel_transformer(AREAS, num_codes=3, seed=1)
    found = kinds(network, before, ROOMS, AREAS)
    remade = {"backbone.stem.0.conv.weight", "head.weight", "head.bias"}
    assert {name for name, kind in found.items() if kind == "re-made"} == remade
    grown = {name for name, kind in found.items() if kind == "grown"}
    assert len(grown) > 4 and all(".attention." in name for name in grown)
    moved(network, before, ROOMS, AREAS)
    feats = torch.zeros(num_voxels(), 4)
    feats[:, 3] = asymmetric(num_voxels(), 1).float()[:, 0]
    expected = logits(before, feats)[:, [3, 0]]
    assert (expected.std(dim=0) > 1e-3).all()
    torch.testing.assert_close(logits(network, feats)[:, 1:], expected)


def test_another_backbone_is_refused_with_all_that_differs():
    saved = weights(minkunet(ROOMS, stem_kernel_size=5), "old.ckpt")
    state = {**saved.state, "head.weight": torch.zeros(4, 7)}
    del state["backbone.down.0.norm.bn.bias"]
    with pytest.raises(ValueError, match=r"old\.ckpt holds another model") as error:
        transfer(minkunet(AREAS), replace(saved, state=state), ROOMS, AREAS)
    for part in (
        "the first one",
        "missing: backbone.down.0.norm.bn.bias",
        "shape of backbone.stem.0.conv.weight: checkpoint (125, 4, 5), model (27, 4, 5)",
        "shape of head.weight: checkpoint (4, 7), model (3, 6)",
    ):
        assert part in str(error.value)
    assert "head.bias" not in str(error.value)


def test_a_head_without_a_counterpart_is_refused():
    saved = weights(minkunet(ROOMS))
    state = dict(saved.state)
    state["classifier.weight"] = state.pop("head.weight")
    with pytest.raises(
        ValueError, match=r"missing: head\.weight\n.*unexpected: classifier\.weight"
    ):
        transfer(minkunet(AREAS), replace(saved, state=state), ROOMS, AREAS)


def test_facts_that_contradict_the_weights_are_refused():
    with pytest.raises(ValueError, match=r"head\.bias is for 4 of what .* says are 3"):
        transfer(minkunet(ROOMS), weights(minkunet(ROOMS)), AREAS, ROOMS)


def test_the_report_names_what_and_why():
    result = transfer(minkunet(AREAS), weights(minkunet(ROOMS)), ROOMS, AREAS)
    num_tensors = len(result.state)
    first, *others = result.lines()
    assert first.startswith(f"taken as they are: {num_tensors - 3} of {num_tensors} tensors, ")
    assert others == [
        "re-made: backbone.stem.0.conv.weight: features color+height -> normal+height: height "
        "taken; normal starts at zero; color left out",
        "re-made: head.weight, head.bias: rooms -> areas: 2 of 3 classes taken (door, wall); "
        "1 start at random; 2 of the checkpoint's left out",
    ]
    assert "0.02 m, now 0.05 m" in result.warning() and "2.5 times" in result.warning()
    report = json.loads(json.dumps(result.as_json()))
    assert report["classes"] == {
        "checkpoint": list(ROOMS.class_names),
        "now": ["beam", "door", "wall"],
    }
    assert report["voxel_size"] == {"checkpoint": 0.02, "now": 0.05}
    assert [row["name"] for row in report["tensors"]] == list(result.state)
    (bias,) = (row for row in report["tensors"] if row["name"] == "head.bias")
    assert (bias["kind"], bias["values"]) == ("re-made", 3) and "door" in bias["reason"]


def test_nothing_in_common_is_said():
    result = transfer(minkunet(STREET), weights(minkunet(ROOMS)), ROOMS, STREET)
    text = "\n".join(result.lines())
    assert "none in common, all channels start at random" in text
    assert "no class in common, all 2 start at random" in text
    assert result.warning() is None


def test_sums_of_the_report_are_those_of_the_network():
    result = transfer(minkunet(AREAS), weights(minkunet(ROOMS)), ROOMS, AREAS)
    assert sum(o.num_values for o in result.origins) == sum(
        value.numel() for value in minkunet(AREAS).state_dict().values()
    )


def test_weights_in_half_precision_lose_no_more_than_that():
    before, network = minkunet(ROOMS), minkunet(AREAS, seed=1)
    halves = {n: t.half() if t.ndim > 1 else t for n, t in before.state_dict().items()}
    network.load_state_dict(transfer(network, Weights("a", halves, {}), ROOMS, AREAS).state)
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
    kernel = before.backbone.encoder[0][0].conv1.conv.weight
    taken = network.backbone.encoder[0][0].conv1.conv.weight
    assert torch.equal(taken, kernel.half().float()) and not torch.equal(taken, kernel)
