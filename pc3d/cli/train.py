"""Train a network: `python train.py dataset=scannet model=minkunet34c`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from pc3d.cli.arguments import find, key_of, merge, quote_paths
from pc3d.cli.build import build_data, build_task, build_trainer
from pc3d.cli.config import (
    PLACEHOLDER,
    choices_line,
    compose_config,
    conf_dir,
    layered,
    register_resolvers,
)
from pc3d.cli.errors import report_errors
from pc3d.cli.init_from import start_from
from pc3d.cli.launch import is_rank_zero, prepare_environment, refuse_distributed_sweep
from pc3d.cli.log import quiet_libraries
from pc3d.utils.allocator import keep_freed_memory
from pc3d.utils.run_folder import checkpoint_path, moved, read_run, save_run

log = logging.getLogger(__name__)


def train(config: DictConfig, folder: Path) -> float:
    """Compose, build, fit.

    Args:
        config: composed configuration.
        folder: the run folder.

    Returns:
        The best value of the monitored metric (`val/miou_point`), which sweeps maximize.
    """
    quiet_libraries()
    keep_freed_memory()
    pl.seed_everything(config.seed, workers=True)
    data = build_data(config)
    task = build_task(config, data)
    if config.init_from and not config.resume:
        start_from(config.init_from, task.network, data.facts(), folder)
    trainer = build_trainer(config, folder)
    last = checkpoint_path(folder, "last") if config.resume else None
    log.info(
        "features %s, voxels of %s m with the %s label of their points",
        "+".join(config.dataset.features),
        config.dataset.voxel_size,
        config.task.get("voxel_label", "majority"),  # runs of before it could be chosen
    )
    try:
        trainer.fit(task, data, ckpt_path=last, weights_only=True)
    except SystemExit:  # Lightning ends the process after Ctrl-C
        log.info("interrupted; continue with: python train.py resume=%s", folder)
        raise
    best = trainer.checkpoint_callback.best_model_score
    if is_rank_zero():
        log.info("best val/miou_point %s; test with: python test.py run=%s", _show(best), folder)
    return float("nan") if best is None else float(best)


def _show(score: object) -> str:
    return "not measured" if score is None else f"{float(score):.4f}"  # type: ignore[arg-type]


@report_errors
def _job(config: DictConfig) -> float:
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    overrides = [str(override) for override in hydra_config.overrides.task]
    if config.get("finetune") and not config.resume:
        config = moved(config, folder)
    is_sweep = hydra_config.mode == RunMode.MULTIRUN
    devices = config.trainer.devices
    refuse_distributed_sweep(is_sweep, devices if isinstance(devices, int) else 1)
    if is_rank_zero():
        log.info("run folder %s", folder)
        log.info(choices_line())
        if not config.resume:
            save_run(folder, config, overrides)
    return train(config, folder)


def _anew(
    saved: DictConfig, overrides: Sequence[str], given: Sequence[str]
) -> tuple[DictConfig, list[str]]:
    """What a run was started with, for a training that starts from its best weights."""
    run = Path(find(given, "finetune") or "").expanduser().resolve()
    saved = moved(saved, Path(PLACEHOLDER))
    saved.resume = None
    saved.init_from = None if "init_from" in map(key_of, given) else str(run)
    starts = ("resume", "finetune", "init_from")
    return saved, [override for override in overrides if key_of(override) not in starts]


@report_errors
def main() -> None:
    """The program; arguments are Hydra overrides."""
    arguments = quote_paths(sys.argv[1:])
    resume, finetune = find(arguments, "resume"), find(arguments, "finetune")
    earlier = resume or finetune
    continued = None
    prepare_environment(arguments, "logs/train", None if resume is None else Path(resume))
    if earlier is not None:
        if {"-m", "--multirun"} & {*arguments}:
            raise ValueError("a sweep (-m) cannot resume or fine-tune: start its runs one by one")
        saved, overrides = read_run(earlier)
        if resume is None:
            saved, overrides = _anew(saved, overrides, arguments)
        continued = layered(saved, overrides, arguments)
        arguments = merge(overrides, arguments)
    if not any(argument.startswith("-") for argument in arguments):
        compose_config("config", arguments)  # errors are clearer here than inside hydra.main

    def job(composed: DictConfig) -> float:
        return _job(continued or composed)

    register_resolvers()
    sys.argv[1:] = arguments  # Lightning starts further processes with these
    hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")(job)()


if __name__ == "__main__":
    main()
