"""Test a trained network: `python test.py run=logs/train/runs/... [split=val] [ckpt=last]`."""

from __future__ import annotations

import csv
import io
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from pc3d.cli.arguments import key_of, quote_paths
from pc3d.cli.build import PROTOCOL, build_data, build_task, build_trainer
from pc3d.cli.config import compose_config, layered
from pc3d.cli.errors import report_errors
from pc3d.cli.launch import is_rank_zero, prepare_environment
from pc3d.cli.log import quiet_libraries
from pc3d.data.spec import DatasetSpec
from pc3d.metrics import ABSENT_CLASS_POLICY, Scores, scores
from pc3d.models.checkpoint import check_facts, load_network, read_checkpoint
from pc3d.tasks.callbacks import PredictionWriter
from pc3d.utils.allocator import keep_freed_memory
from pc3d.utils.files import file_hash, write_json, write_text
from pc3d.utils.run_folder import checkpoint_path, read_run

log = logging.getLogger(__name__)


def test(config: DictConfig, options: DictConfig) -> dict[str, Any]:
    """Score a checkpoint on whole scenes, every original point in input order.

    Args:
        config: configuration of the run, with today's overrides.
        options: `conf/test.yaml`.

    Returns:
        What was written to `<run>/test/<split>-<hash>.json`.
    """
    folder = Path(options.run).expanduser().resolve()
    path = checkpoint_path(folder, options.ckpt)
    checkpoint, digest = read_checkpoint(path), file_hash(path)
    quiet_libraries()
    keep_freed_memory()
    pl.seed_everything(config.seed, workers=True)
    data = build_data(config)
    data.test_split = options.split
    check_facts(checkpoint["pc3d"], data.facts(), str(path))
    task = build_task(config, data, training=False)
    load_network(task.network, checkpoint, str(path))

    trainer = build_trainer(config, folder, training=False)
    predictions = folder / "predictions" / digest / options.split
    if options.predictions:
        if is_rank_zero():
            shutil.rmtree(predictions, ignore_errors=True)  # never mix with an earlier test
        trainer.callbacks.append(PredictionWriter(predictions, data.reader))
    trainer.test(task, data, verbose=False)

    matrix = task.test_confusion.compute()
    result = summary(scores(matrix), data.spec, matrix)
    result |= {"split": options.split, "checkpoint": str(path), "checkpoint_hash": digest}
    if trainer.is_global_zero:
        num_files = 0
        if options.predictions:
            num_files = data.reader.validate(predictions / "submission", options.split)
        report(result, folder / "test" / f"{options.split}-{digest}", num_files, predictions)
    return result


def summary(result: Scores, spec: DatasetSpec, matrix: torch.Tensor) -> dict[str, Any]:
    """Scores as plain values, with the protocol beside the number."""

    def plain(value: torch.Tensor) -> float | None:
        return None if torch.isnan(value) else float(value)

    classes = zip(spec.class_names, result.iou, result.accuracy, result.num_labels, strict=True)
    return {
        "protocol": PROTOCOL,
        "absent_classes": ABSENT_CLASS_POLICY,
        "label_space": spec.name,
        "miou": result.miou,
        "macc": result.macc,
        "oa": result.oa,
        "classes": [
            {"name": name, "iou": plain(iou), "accuracy": plain(accuracy), "points": int(points)}
            for name, iou, accuracy, points in classes
        ],
        "confusion": matrix.tolist(),
    }


def report(result: dict[str, Any], stem: Path, num_files: int, predictions: Path) -> None:
    """Console table, JSON and CSV."""
    write_json(stem.with_suffix(".json"), result)
    text = io.StringIO()
    writer = csv.DictWriter(text, ["name", "iou", "accuracy", "points"])
    writer.writeheader()
    writer.writerows(result["classes"])
    write_text(stem.with_suffix(".csv"), text.getvalue())

    table = Table(title=f"{result['label_space']} {result['split']}, in percent")
    table.add_column("class")
    for name in ("IoU", "accuracy", "points"):
        table.add_column(name, justify="right")
    for row in result["classes"]:
        values = _percent(row["iou"]), _percent(row["accuracy"]), f"{row['points']:,}"
        table.add_row(row["name"], *values)
    table.add_section()
    table.add_row("mean", _percent(result["miou"]), _percent(result["macc"]), "")
    console = Console()
    console.print(table)
    console.print(
        f"mIoU {100 * result['miou']:.2f} %  mAcc {100 * result['macc']:.2f} %  "
        f"OA {100 * result['oa']:.2f} %"
    )
    console.print(f"protocol: {result['protocol']}")
    console.print(f"mIoU: {result['absent_classes']}")
    console.print(f"checkpoint {result['checkpoint_hash']}  scores {stem}.json", soft_wrap=True)
    if num_files:
        console.print(f"{num_files} prediction files, checked: {predictions}", soft_wrap=True)


def _percent(value: float | None) -> str:
    return "absent" if value is None else f"{100 * value:.2f}"


@report_errors
def main() -> None:
    """The program; keys of conf/test.yaml are its own, others override the run's configuration."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments = quote_paths(sys.argv[1:])
    own_keys = ("run", "ckpt", "split", "predictions")
    own = [argument for argument in arguments if key_of(argument) in own_keys]
    given = [argument for argument in arguments if key_of(argument) not in own_keys]
    if not any(key_of(argument) == "run" for argument in own):
        raise ValueError("say which run to test: python test.py run=<run folder>")
    prepare_environment(arguments, "logs/test")
    options = compose_config("test", own)
    saved, saved_overrides = read_run(options.run)
    test(layered(saved, saved_overrides, given), options)


if __name__ == "__main__":
    main()
