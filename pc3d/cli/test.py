"""Test a trained network: `python test.py run=logs/train/runs/... [split=val] [tta=scannet13]`."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from pc3d.cli.arguments import key_of, quote_paths
from pc3d.cli.build import build_data, build_task, build_trainer
from pc3d.cli.config import compose_config, layered
from pc3d.cli.errors import report_errors
from pc3d.cli.launch import is_rank_zero, prepare_environment
from pc3d.cli.log import quiet_libraries
from pc3d.cli.report import Result, distance_summary, print_result, summary, write_result
from pc3d.data.datamodule import SegmentationDataModule
from pc3d.data.views import Voting
from pc3d.metrics import DISTANCES, SceneCounts
from pc3d.models.checkpoint import check_facts, load_network, read_checkpoint
from pc3d.tasks import SegmentationTask
from pc3d.tasks.callbacks import PredictionWriter
from pc3d.tasks.scene_store import SceneStore
from pc3d.utils.allocator import keep_freed_memory
from pc3d.utils.environment import code_version
from pc3d.utils.files import file_hash
from pc3d.utils.run_folder import checkpoint_path, read_run

log = logging.getLogger(__name__)

OWN_KEYS = ("run", "ckpt", "split", "predictions", "tta", "fragments", "resume")
_WITHOUT_EFFECT = ("max_voxels", "max_scenes", "num_workers", "seed", "cache_dir", "prepare")
"""Keys of the data module that do not change a prediction."""
STATED = (
    "views",
    "fragments",
    "max_eval_voxels",
    "voxel_size",
    "features",
    "reader",
    "precision",
)
"""The part of a protocol that results state; in it results of several folds are alike."""


def test(config: DictConfig, options: DictConfig) -> Result:
    """Score a checkpoint on whole scenes, every original point in input order.

    Args:
        config: configuration of the run, with today's overrides.
        options: `conf/test.yaml`.

    Returns:
        What was written to `<run>/test/<split>-<hash of the checkpoint>-<protocol>.json`.
    """
    folder = Path(options.run).expanduser().resolve()
    path = checkpoint_path(folder, options.ckpt)
    checkpoint, digest = read_checkpoint(path), file_hash(path)
    quiet_libraries()
    keep_freed_memory()
    pl.seed_everything(config.seed, workers=True)
    voting = Voting(views=instantiate(options.tta), fragments=options.fragments)
    data = build_data(config)
    data.test_split, data.voting = options.split, voting
    data.allow_zero_length_dataloader_with_multiple_devices = True  # a rank may have no scene left
    check_facts(checkpoint["pc3d"], data.facts(), str(path))
    task = build_task(config, data, training=False)
    task.voting = voting
    load_network(task.network, checkpoint, str(path))

    trainer = build_trainer(config, folder, training=False)
    protocol = protocol_of(config, data)
    predictions = folder / "predictions" / digest / options.split
    name = protocol_name(voting, protocol)
    store = SceneStore(predictions / name, data.reader)
    if options.predictions:
        trainer.callbacks.append(PredictionWriter(store))
        data.is_tested = store.has
        if is_rank_zero():
            _reuse(store, data, task, protocol, options.resume)
    trainer.test(task, data, verbose=False)

    # Here, not in a hook: a process without scenes runs no hook, and its module is on the CPU.
    counts = task.test_counts.to(trainer.strategy.root_device).compute()
    result = {
        **_result(counts, data),
        "settings": {key: protocol[key] for key in STATED},
        "checkpoint": str(path),
        "checkpoint_hash": digest,
    }
    if trainer.is_global_zero:
        stem = folder / "test" / f"{options.split}-{digest}-{name}"
        write_result(result, stem)
        console = Console()
        print_result(result, console)
        console.print(f"checkpoint {digest}  scores {stem}.json", soft_wrap=True)
        if options.predictions:
            num_files = data.reader.validate(store.submission, options.split)
            console.print(f"{num_files} prediction files, checked: {store.folder}", soft_wrap=True)
            packed = data.reader.pack(store.submission, "test") if options.split == "test" else None
            if packed is not None:
                console.print(f"for upload, checked: {packed}", soft_wrap=True)
    return result


def _result(counts: SceneCounts, data: SegmentationDataModule) -> Result:
    """The scores of the data module's test split, and what they are scores of."""
    result = {
        "metric": f"{data.test_split}/miou_point{data.voting.suffix}",
        "protocol": data.voting.describe(),
        "label_space": data.spec.name,
        "split": data.test_split,
        **summary(counts.matrix, data.spec.class_names),
        "num_points": int(counts.num_points),
        "scenes": data.reader.scenes(data.test_split),
    }
    if data.spec.sensor == "lidar":
        result["by_distance"] = distance_summary(counts.by_distance, data.spec.class_names)
    return result


def protocol_of(config: DictConfig, data: SegmentationDataModule) -> dict[str, Any]:
    """What decides over a prediction besides checkpoint and scene, as plain values."""
    dataset: Any = OmegaConf.to_container(config.dataset, resolve=True)
    dataset = {key: value for key, value in dataset.items() if key not in _WITHOUT_EFFECT}
    return {
        "views": [asdict(view) for view in data.voting.views],
        "fragments": data.voting.fragments,
        "max_eval_voxels": config.task.max_eval_voxels,
        "voxel_size": data.voxelize.voxel_size,
        "features": list(data.voxelize.features),
        "reader": dict(data.reader.settings),
        "precision": config.trainer.precision,
        "dataset": {**dataset, "augment": dataset["augment"]["eval"]},
        "model": OmegaConf.to_container(config.model, resolve=True),
        "classes": data.spec.class_names,
        "distances": DISTANCES[1:-1] if data.spec.sensor == "lidar" else None,
        "code": code_version(),
    }


def protocol_name(voting: Voting, protocol: dict[str, Any]) -> str:
    """The folder for what a protocol gives, e.g. `"tta13_fragments-0123abcd"`."""
    digest = hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()
    return f"{voting.suffix.lstrip('_') or 'single'}-{digest[:8]}"


def _reuse(
    store: SceneStore,
    data: SegmentationDataModule,
    task: SegmentationTask,
    protocol: dict[str, Any],
    resume: bool,
) -> None:
    """Count the scenes that an earlier test has done, for all processes."""
    if data.prepare is not None:
        data.prepare()
    scenes = data.reader.scenes(data.test_split)
    done = store.prepare(scenes, protocol, resume)
    for scene in done:
        counts = store.counts(scene)
        assert counts is not None
        task.test_counts.update(counts)
    if done:
        log.info(
            "%d of %d scenes are reused, tested before with the same checkpoint and protocol: %s "
            "(resume=false starts over)",
            len(done),
            len(scenes),
            store.folder,
        )


@report_errors
def main() -> None:
    """The program; keys of conf/test.yaml are its own, others override the run's configuration."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # `resume` is a path in training, and true or false here.
    arguments = [a if key_of(a) == "resume" else quote_paths([a])[0] for a in sys.argv[1:]]
    own = [argument for argument in arguments if _is_own(argument)]
    given = [argument for argument in arguments if not _is_own(argument)]
    if not any(key_of(argument) == "run" for argument in own):
        raise ValueError("say which run to test: python test.py run=<run folder>")
    prepare_environment(arguments, "logs/test")
    options = compose_config("test", own)
    saved, saved_overrides = read_run(options.run)
    test(layered(saved, saved_overrides, given), options)


def _is_own(argument: str) -> bool:
    return key_of(argument).split(".", 1)[0] in OWN_KEYS


if __name__ == "__main__":
    main()
