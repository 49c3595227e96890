"""Checkpoints that say what they are: reading them and refusing those that do not fit."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pc3d.models.growth import grow_codes

KEY = "pc3d"
"""Where a Lightning checkpoint keeps the facts of its run."""
FORMAT = 1
PREFIX = "network."
"""Parameters of the network within the Lightning module."""


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint without executing anything that stands in it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint of pc3d, or of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its words advise to run what stands in the file
        raise ValueError(
            f"{path} cannot be read as a checkpoint: it is another kind of file, damaged, or holds "
            "more than tensors and plain values"
        ) from error
    except (RuntimeError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as a checkpoint: {error}") from error
    facts = checkpoint.get(KEY) if isinstance(checkpoint, dict) else None
    if not isinstance(facts, dict) or not isinstance(facts.get("format"), int):
        raise ValueError(
            f"{path} was not written by pc3d: it lacks the entry {KEY!r} with label space and model"
        )
    if facts["format"] > FORMAT:
        raise ValueError(
            f"{path} has format {facts['format']}, this pc3d reads up to {FORMAT}: upgrade pc3d"
        )
    return checkpoint


def check_facts(saved: dict[str, Any], expected: dict[str, Any], source: str) -> None:
    """Refuse a checkpoint whose data facts differ from those of the data at hand.

    Args:
        saved: facts in the checkpoint.
        expected: facts of the data; only its keys are compared.
        source: the checkpoint, named in the error.

    Raises:
        ValueError: lists every key that differs, with both values.
    """
    differing = [
        f"  {key}: checkpoint {saved.get(key)!r}, data {value!r}"
        for key, value in expected.items()
        if saved.get(key) != value
    ]
    if differing:
        raise ValueError(
            f"{source} does not fit this data:\n" + "\n".join(differing) + "\n"
            "Use the dataset, features and voxel_size that it was trained with."
        )


def load_network(network: nn.Module, checkpoint: dict[str, Any], source: str) -> None:
    """Load the network's weights out of a checkpoint of a whole run.

    A network with more codes takes one with fewer; see `pc3d.models.growth`.

    Raises:
        ValueError: lists missing and unexpected keys and differing shapes; nothing is loaded then.
    """
    state = grow_codes(network, network_state(checkpoint))
    refuse(misfits(network.state_dict(), state), checkpoint[KEY], source)
    network.load_state_dict(state)


def network_state(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """The state of the network in a checkpoint of a whole run."""
    return {
        name.removeprefix(PREFIX): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(PREFIX)
    }


def misfits(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """A line for every tensor that keeps `state` from being loaded into a network with `own`."""
    problems = [f"missing: {name}" for name in own if name not in state]
    problems += [f"unexpected: {name}" for name in state if name not in own]
    problems += [
        f"shape of {name}: checkpoint {tuple(state[name].shape)}, model {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    return problems


def refuse(problems: Sequence[str], facts: Mapping[str, Any], source: str) -> None:
    """Raise `ValueError` that lists the problems, if there are any."""
    if problems:
        trained = facts.get("model")
        shown = [f"  {problem}" for problem in problems[:12]]
        shown += [f"  ... {len(problems) - 12} more"] * (len(problems) > 12)
        raise ValueError(
            f"{source} holds another model (trained with {trained}):\n" + "\n".join(shown)
        )
