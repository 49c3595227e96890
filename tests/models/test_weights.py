"""Weights without a run: what is written comes back, and what does not fit is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from pc3d.models import MinkUNet
from pc3d.models.checkpoint import FORMAT, KEY, PREFIX
from pc3d.models.weights import Weights, build_network, read_weights, write_weights
from tests.inference.conftest import MODEL as SMALL

MODEL = {"_target_": "pc3d.models.MinkUNet", **SMALL}
FACTS = {"format": FORMAT, "model": MODEL, "voxel_size": 0.1, "spec": {"raw_to_class": {"7": 0}}}


@pytest.fixture
def weights() -> Weights:
    """Of a network with norms that have seen something."""
    torch.manual_seed(0)
    empty = Weights("a.ckpt", {}, FACTS)
    with pytest.raises(ValueError, match=r"a\.ckpt holds another model"):
        build_network(empty, 4, 3)
    network = MinkUNet(in_channels=4, num_classes=3, **SMALL)
    state = network.state_dict()
    for tensor in state.values():
        if tensor.is_floating_point():
            tensor += torch.randn_like(tensor).abs() * 1e-3
    return Weights("a.ckpt", state, FACTS)


def test_a_round_trip_is_exact(weights, tmp_path):
    path = tmp_path / "net (1).safetensors"
    write_weights(path, weights)
    found = read_weights(path)
    assert found.facts == FACTS and found.source == str(path)
    assert found.state.keys() == weights.state.keys()
    for name, tensor in weights.state.items():
        assert torch.equal(found.state[name], tensor) and found.state[name].dtype == tensor.dtype
    network = build_network(found, 4, 3)
    assert not network.training
    assert all(torch.equal(network.state_dict()[n], t) for n, t in weights.state.items())


def test_half_keeps_norms_and_takes_half_the_space(weights, tmp_path):
    write_weights(tmp_path / "a.safetensors", weights)
    write_weights(tmp_path / "b.safetensors", weights, half=True)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in "ab"]
    assert sizes[1] < 0.7 * sizes[0]
    found = read_weights(tmp_path / "b.safetensors").state
    for name, tensor in weights.state.items():
        if tensor.ndim < 2:
            assert torch.equal(found[name], tensor)
        else:
            assert torch.equal(found[name], tensor.half())
    network = build_network(read_weights(tmp_path / "b.safetensors"), 4, 3)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    name = next(name for name, tensor in weights.state.items() if tensor.ndim > 1)
    large = replace(weights, state={**weights.state, name: weights.state[name] * 1e9})
    with pytest.raises(ValueError, match="too large for 16 bits"):
        write_weights(tmp_path / "c.safetensors", large, half=True)
    assert not (tmp_path / "c.safetensors").exists()


def test_a_checkpoint_of_training_is_read_too(weights, tmp_path):
    state = {PREFIX + name: tensor for name, tensor in weights.state.items()}
    torch.save(
        {"state_dict": {**state, "val.matrix": torch.zeros(1)}, KEY: FACTS}, tmp_path / "a.ckpt"
    )
    found = read_weights(tmp_path / "a.ckpt")
    assert found.state.keys() == weights.state.keys() and found.facts == FACTS


def test_other_networks_are_refused_by_what_differs(weights):
    with pytest.raises(ValueError, match=r"shape of head\.bias: checkpoint \(3,\), model \(5,\)"):
        build_network(weights, 4, 5)
    narrow = {**MODEL, "widths": [8] * 8}
    with pytest.raises(ValueError, match="holds another model"):
        build_network(replace(weights, facts={**FACTS, "model": narrow}), 4, 3)
    for model in (
        {**MODEL, "_target_": "os.system"},
        {**MODEL, "block": {"_target_": "os.system"}},
    ):
        with pytest.raises(ValueError, match="Nothing was run"):
            build_network(replace(weights, facts={**FACTS, "model": model}), 4, 3)
    with pytest.raises(ValueError, match="does not say which network"):
        build_network(replace(weights, facts={"format": FORMAT}), 4, 3)


def test_files_of_others_and_damaged_ones(weights, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no weights at .*none\.safetensors"):
        read_weights(tmp_path / "none.safetensors")
    path = tmp_path / "a.safetensors"
    for metadata in (None, {"format": "pt"}, {KEY: "[1]"}, {KEY: "{}"}):
        save_file({"x": torch.zeros(2)}, path, metadata)
        with pytest.raises(ValueError, match="not written by pc3d"):
            read_weights(path)
    save_file({"x": torch.zeros(2)}, path, {KEY: "{half"})
    with pytest.raises(ValueError, match="damaged or truncated"):
        read_weights(path)
    save_file({"x": torch.zeros(2)}, path, {KEY: json.dumps({"format": FORMAT + 1})})
    with pytest.raises(ValueError, match="upgrade pc3d"):
        read_weights(path)
    write_weights(path, weights)
    content = path.read_bytes()
    for damaged in (content[:-7], content[:100], b"", b"\0" * 50):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.safetensors: damaged or truncated"):
            read_weights(path)
    with pytest.raises(ValueError, match=r"written as \.safetensors; got a\.ckpt"):
        write_weights(tmp_path / "a.ckpt", weights)


def test_tensors_of_any_strides(weights, tmp_path):
    name = next(n for n, t in weights.state.items() if t.ndim > 1)
    turned = weights.state[name].transpose(0, -1).contiguous().transpose(0, -1)
    assert not turned.is_contiguous()
    write_weights(
        tmp_path / "a.safetensors", replace(weights, state={**weights.state, name: turned})
    )
    assert torch.equal(read_weights(tmp_path / "a.safetensors").state[name], turned)
