"""From a configuration to data, network and task; shared by training and test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from pc3d.data.datamodule import SegmentationDataModule
from pc3d.data.views import Voting
from pc3d.metrics import ABSENT_POLICIES
from pc3d.models.checkpoint import FORMAT
from pc3d.tasks import SegmentationTask


def build_data(config: DictConfig) -> SegmentationDataModule:
    """The data module of a configuration."""
    data: SegmentationDataModule = instantiate(config.dataset, _convert_="all")
    return data


def build_task(
    config: DictConfig, data: SegmentationDataModule, training: bool = True
) -> SegmentationTask:
    """The task around a freshly initialized network."""
    network = instantiate(
        config.model, in_channels=data.in_channels, num_classes=data.num_classes, _convert_="all"
    )
    parts = ("loss", "optimizer", "scheduler") if training else ()
    # Partial, since instantiate() would also build what it finds inside the arguments.
    task: SegmentationTask = instantiate(config.task, _partial_=True)(
        network=network,
        class_names=data.spec.class_names,
        facts=facts(config, data),
        **{part: instantiate(config[part], _convert_="all") for part in parts},
    )
    return task


def facts(config: DictConfig, data: SegmentationDataModule) -> dict[str, Any]:
    """Plain values that every checkpoint carries, so that it says what it is."""
    return {
        "format": FORMAT,
        "model": OmegaConf.to_container(config.model, resolve=True),
        "protocol": f"{Voting().describe()}; mIoU: {ABSENT_POLICIES['nan'].mean}",
        **data.facts(),
    }


def build_trainer(config: DictConfig, folder: Path, training: bool = True) -> Any:
    """The Lightning trainer with the configured callbacks and loggers.

    In evaluation there are no loggers, and only the callbacks that show progress.
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
    return instantiate(
        config.trainer,
        callbacks=[instantiate(callback) for callback in config.callbacks.values()],
        logger=[instantiate(logger) for logger in (config.get("logger") or {}).values()],
        _convert_="all",
    )
