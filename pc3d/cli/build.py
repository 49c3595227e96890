"""From a configuration to data, network and task; shared by training and test."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from pc3d.cli.launch import is_rank_zero
from pc3d.data.datamodule import SegmentationDataModule
from pc3d.data.datasets import HoldOut
from pc3d.data.views import Voting
from pc3d.metrics import ABSENT_POLICIES
from pc3d.models.checkpoint import FORMAT
from pc3d.search import SharedNetworks, SupernetTask
from pc3d.tasks import SegmentationTask
from pc3d.tasks.training_record import TrainingRecord

log = logging.getLogger(__name__)

_OPTIMIZATION = ("optimizer", "scheduler")


def build_data(config: DictConfig) -> SegmentationDataModule:
    """The data module of a configuration; without the training scenes that the task holds out."""
    data: SegmentationDataModule = instantiate(config.dataset, _convert_="all")
    fraction = config.task.get("holdout", 0) if "task" in config else 0
    if fraction:
        data.reader = HoldOut(data.reader, fraction)
    return data


def build_network(config: DictConfig, data: SegmentationDataModule) -> nn.Module:
    """A freshly initialized network for the data, which need not be there."""
    network: nn.Module = instantiate(
        config.model, in_channels=data.in_channels, num_classes=data.num_classes, _convert_="all"
    )
    return network


def build_task(
    config: DictConfig, data: SegmentationDataModule, training: bool = True
) -> SegmentationTask:
    """The task around a freshly initialized network."""
    network = build_network(config, data)
    parts: dict[str, Any] = {}
    if training:
        parts = {name: instantiate(config[name], _convert_="all") for name in _OPTIMIZATION}
        parts["loss"] = build_loss(config, data)
    # Partial, since instantiate() would also build what it finds inside the arguments.
    task: SegmentationTask = instantiate(config.task, _partial_=True)(
        network=network,
        class_names=data.spec.class_names,
        facts=facts(config, data),
        **parts,
    )
    if isinstance(network, SharedNetworks) and not isinstance(task, SupernetTask):
        raise ValueError(
            "model is a supernet: with this task only its largest network would learn. Add "
            "task=supernet"
        )
    return task


def build_loss(config: DictConfig, data: SegmentationDataModule) -> nn.Module:
    """The loss. Class weights that are a function of class counts get those of the training split.

    Such a function stands in place of a list: `class_weights@loss.class_weights=...`.
    """

    def weights(function: dict[str, Any]) -> list[float]:
        values: list[float] = instantiate(function)(data.class_counts())
        if is_rank_zero():
            pairs = zip(data.spec.class_names, values, strict=True)
            log.info("class weights %s", "  ".join(f"{name} {w:.3g}" for name, w in pairs))
        return values

    node = OmegaConf.to_container(config.loss, resolve=True)
    loss: nn.Module = instantiate(_with_weights(node, weights), _convert_="all")
    return loss


def _with_weights(node: Any, weights: Callable[[dict[str, Any]], list[float]]) -> Any:
    """`node` with every function that stands under `class_weights` replaced by its result."""
    if isinstance(node, list):
        return [_with_weights(item, weights) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: weights(value)
        if key == "class_weights" and isinstance(value, dict)
        else _with_weights(value, weights)
        for key, value in node.items()
    }


def facts(config: DictConfig, data: SegmentationDataModule) -> dict[str, Any]:
    """Plain values that every checkpoint carries, so that it says what it is."""
    return {
        "format": FORMAT,
        "model": OmegaConf.to_container(config.model, resolve=True),
        "transforms": OmegaConf.to_container(config.augment.eval, resolve=True),
        "protocol": f"{Voting().describe()}; mIoU: {ABSENT_POLICIES['nan'].mean}",
        "conventions": {key: dict(found) for key, found in data.reader.conventions.items()},
        **data.facts(),
    }


def build_trainer(config: DictConfig, folder: Path, training: bool = True) -> Any:
    """The Lightning trainer with the configured callbacks and loggers.

    A training is recorded in its folder. In evaluation there are no loggers, and only the callbacks
    that show progress.
    """
    if not training:
        shown = [config.callbacks[name] for name in ("progress",) if name in config.callbacks]
        return instantiate(
            config.trainer,
            logger=False,
            callbacks=[instantiate(callback) for callback in shown],
            default_root_dir=str(folder),
            enable_checkpointing=False,
        )
    callbacks = [instantiate(callback) for callback in config.callbacks.values()]
    return instantiate(
        config.trainer,
        callbacks=[*callbacks, TrainingRecord(folder)],
        logger=[instantiate(logger) for logger in (config.get("logger") or {}).values()],
        _convert_="all",
    )
