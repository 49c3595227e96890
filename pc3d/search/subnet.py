"""A network that was found, as a run folder: tested, viewed and profiled like any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from pc3d.models.checkpoint import KEY, PREFIX
from pc3d.utils.files import replacing, write_json
from pc3d.utils.run_folder import CONFIG, moved, save_run

SUBNET = "subnet.json"
"""Where the folder of a network that was found says what is known of it."""
TASK = {"_target_": "pc3d.tasks.SegmentationTask"}
_REPLACED = ("task", "model")
"""Keys of a configuration that are others for a network that was found."""


def write_subnet(
    folder: Path,
    network: nn.Module,
    model: Mapping[str, Any],
    run: tuple[DictConfig, Sequence[str]],
    facts: Mapping[str, Any],
    record: Mapping[str, Any],
) -> None:
    """Write a run folder with `best.ckpt`, and `subnet.json` with what is known of the network.

    Args:
        folder: to write; one that is there is left as it is, but for the weights.
        network: the ordinary network.
        model: its configuration.
        run: configuration and overrides of the supernet's run.
        facts: of the supernet's checkpoint.
        record: architecture, costs and scores, as plain values.
    """
    saved, overrides = run
    if not (folder / CONFIG).is_file():
        save_run(folder, moved(subnet_config(saved, model), folder), of_data(overrides))
    write_checkpoint(folder, network, model, facts)
    write_json(folder / SUBNET, record)


def write_checkpoint(
    folder: Path, network: nn.Module, model: Mapping[str, Any], facts: Mapping[str, Any]
) -> None:
    """Write `best.ckpt` of a run folder, whole or not at all; arguments as of `write_subnet`."""
    state = {f"{PREFIX}{name}": tensor.cpu() for name, tensor in network.state_dict().items()}
    checkpoint = {"state_dict": state, KEY: {**facts, "model": config_of(model)}}
    with replacing(folder / "checkpoints" / "best.ckpt") as path:
        torch.save(checkpoint, path)


def of_data(overrides: Sequence[str]) -> list[str]:
    """The overrides of a run, without those of the network that was trained and of its training."""
    return [o for o in overrides if o.lstrip("+~").split("=")[0].split(".")[0] not in _REPLACED]


def subnet_config(saved: DictConfig, model: Mapping[str, Any]) -> DictConfig:
    """The configuration of a supernet's run, of one of its networks in its place.

    Training with it sees the same scenes, without those that are held out.

    Args:
        saved: of the supernet's run.
        model: of the network.
    """
    config = with_model(saved, model)
    config.task = {k: v for k, v in saved.task.items() if k != "sandwich"} | TASK
    return config


def with_model(saved: DictConfig, model: Mapping[str, Any]) -> DictConfig:
    """The configuration of a run with another network, which its starting weights do not fit.

    Args:
        saved: of the run.
        model: of the network.
    """
    config = saved.copy()
    OmegaConf.set_struct(config, False)
    config.model = dict(model)
    config.init_from = config.finetune = config.resume = None
    return config


def config_of(model: Mapping[str, Any]) -> dict[str, Any]:
    """Plain dicts, lists and values."""
    plain = OmegaConf.to_container(OmegaConf.create(dict(model)), resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
