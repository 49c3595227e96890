"""Weights that say what they are, to be used and shared without the run that made them.

A `.safetensors` file holds the network's tensors and, in its header, the same facts that every
checkpoint carries: label space, features, voxel size, configuration of the network, and where it
comes from. Nothing in it can be executed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pc3d.models.checkpoint import FORMAT, KEY, misfits, network_state, read_checkpoint, refuse
from pc3d.utils.files import write_bytes
from pc3d.utils.trusted import build_trusted

SUFFIX = ".safetensors"
_PACKAGES = ("pc3d.models", "pc3d.nn", "pc3d.search.supernet", "pc3d.search.stitching")


@dataclass(frozen=True)
class Weights:
    """A trained network as values.

    Attributes:
        source: where they were read, for messages.
        state: the tensors of the network.
        facts: plain values about data and model, see `pc3d.models.checkpoint`.
    """

    source: str
    state: Mapping[str, Tensor]
    facts: Mapping[str, Any]


def read_weights(path: str | Path) -> Weights:
    """Read a checkpoint of training (`.ckpt`), or exported weights (`.safetensors`).

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, or not written by pc3d.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        checkpoint = read_checkpoint(path)
        return Weights(str(path), network_state(checkpoint), checkpoint[KEY])
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        facts = json.loads(header.get(KEY, "null"))
    except (SafetensorError, ValueError) as error:
        raise ValueError(
            f"{path}: damaged or truncated ({error}). Copy or download it again."
        ) from error
    if not isinstance(facts, dict) or not isinstance(facts.get("format"), int):
        raise ValueError(
            f"{path} was not written by pc3d: its header lacks the entry {KEY!r} with label space "
            "and model"
        )
    if facts["format"] > FORMAT:
        raise ValueError(
            f"{path} has format {facts['format']}, this pc3d reads up to {FORMAT}: upgrade pc3d"
        )
    return Weights(str(path), state, facts)


def write_weights(path: str | Path, weights: Weights, half: bool = False) -> None:
    """Write weights as `.safetensors`, whole or not at all.

    Args:
        path: the file.
        weights: what to write.
        half: store matrices of weights in 16 bits; norms and biases stay as they are.

    Raises:
        ValueError: another suffix, or values beyond the range of 16 bits.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise ValueError(f"weights are written as {SUFFIX}; got {path.name}")
    state = {name: tensor.contiguous() for name, tensor in weights.state.items()}
    if half:
        state = {name: _halved(name, tensor) for name, tensor in state.items()}
    write_bytes(path, save(state, {KEY: json.dumps(dict(weights.facts))}))


def _halved(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point() or tensor.ndim < 2:
        return tensor
    halved = tensor.half()
    if not torch.isfinite(halved).all():
        raise ValueError(f"{name} has values up to {tensor.abs().max():.3g}: too large for 16 bits")
    return halved


def build_network(weights: Weights, in_channels: int, num_classes: int) -> nn.Module:
    """The network that the weights are of, in evaluation mode and single precision.

    Args:
        weights: read by `read_weights`.
        in_channels: C of the features that the facts name.
        num_classes: of the label space that the facts name.

    Raises:
        ValueError: the facts describe another network, or none of pc3d's.
    """
    config = weights.facts.get("model")
    if not isinstance(config, dict):
        raise ValueError(f"{weights.source} does not say which network it is for")
    network: nn.Module = build_trusted(
        config, _PACKAGES, weights.source, in_channels=in_channels, num_classes=num_classes
    )
    refuse(misfits(network.state_dict(), weights.state), weights.facts, weights.source)
    network.load_state_dict(weights.state)
    return network.float().eval()
