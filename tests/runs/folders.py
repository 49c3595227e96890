"""Run folders as train.py and test.py leave them, without training anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

NAMES = ("wall", "floor", "chair")
SCENES = ("a", "b/c")
DIGEST, PROTOCOL = "0123456789abcdef", "single-89abcdef"


def make_run(
    folder: Path,
    seed: int = 0,
    *,
    model: str = "minkunet14a",
    epochs: tuple[float, ...] = (0.2, 0.5, 0.4),
    record: dict[str, Any] | None = None,
    choices: dict[str, str] | None = None,
    **changes: Any,
) -> Path:
    """Write a finished training; `changes` are values of dotted keys, with __ for dots.

    Args:
        folder: the run folder.
        seed: of the training.
        model: its name, which also decides over `model.width`.
        epochs: `val/miou_point` of every epoch.
        record: what is other in training.json; an empty one for none, as in an older run.
        choices: of Hydra, besides the model.
        changes: other values of the configuration.
    """
    config = {
        "seed": seed,
        "paths": {"data_dir": "/data", "cache_dir": "/data/.cache", "run_dir": str(folder)},
        "model": {"_target_": "pc3d.models.MinkUNet", "width": len(model), "depths": [1, 2]},
        "optimizer": {"lr": 0.01},
        "dataset": {
            "voxel_size": 0.05,
            "features": ["color"],
            "seed": seed,
            "reader": {"root": "/data/rooms", "axis_align": False},
            "prepare": {"seed": 0},
        },
        "augment": {"train": [{"_target_": "Flip"}, {"_target_": "Rotate", "p": 0.5}]},
        "task": {"max_eval_voxels": 1000},
        "trainer": {"max_epochs": len(epochs), "max_steps": -1, "precision": "32-true"},
        "callbacks": {"best": {"monitor": "val/miou_point", "mode": "max"}},
        "logger": {"csv": {"save_dir": str(folder)}},
    }
    for key, value in changes.items():
        *groups, last = key.split("__")
        node: dict[str, Any] = config
        for group in groups:
            node = node[group]
        node[last] = value
    write(folder / "config.yaml", yaml.safe_dump(config))
    write(folder / "overrides.yaml", yaml.safe_dump([f"seed={seed}"]))
    write(folder / ".hydra" / "overrides.yaml", yaml.safe_dump([f"seed={seed}"]))
    runtime = {"runtime": {"choices": {"model": model, **(choices or {})}}}
    write(folder / ".hydra" / "hydra.yaml", yaml.safe_dump({"hydra": runtime}))
    write(folder / "environment.json", json.dumps({"commit": "abcdef0123456"}))
    write(folder / "uncommitted.diff", "")
    write_history(folder, epochs)
    if record != {}:
        found = {
            "state": "finished",
            "error": None,
            "epochs": len(epochs),
            "steps": 2 * len(epochs),
            "epoch_seconds": [1.5] * len(epochs),
            "memory_mib": 512.0,
            "gpu_memory_mib": None,
            "sessions": 1,
            **(record or {}),
        }
        write(folder / "training.json", json.dumps(found))
    return folder


def write_history(folder: Path, mious: tuple[float, ...], first: int = 0, version: int = 0) -> None:
    """`metrics.csv` with two lines for an epoch, as Lightning writes it: scores, then the loss."""
    lines = ["epoch,step,train/loss_epoch,val/miou_point"]
    for epoch, miou in enumerate(mious, first):
        lines += [f"{epoch},{2 * epoch + 1},,{miou}", f"{epoch},{2 * epoch + 1},{3.0 - epoch},"]
    write(folder / "csv" / f"version_{version}" / "metrics.csv", "\n".join(lines) + "\n")


def add_test(
    run: Path, matrices: Any, *, name: str = PROTOCOL, keep: bool = True, **changes: Any
) -> Path:
    """Write a test of a run, and what it kept of the scenes.

    Args:
        run: the run folder.
        matrices: [S, C, C] of the scenes.
        name: of the protocol, in file names.
        keep: whether predictions are kept.
        changes: other entries of the result.
    """
    counts = np.asarray(matrices, dtype=np.int64)
    total = counts.sum(axis=0)
    split = changes.get("split", "test")
    result = {
        "metric": f"{split}/miou_point",
        "protocol": "one pass",
        "label_space": "rooms3",
        "split": split,
        "miou": miou_of(total),
        "classes": [{"name": n} for n in NAMES[: len(total)]],
        "confusion": total.tolist(),
        "num_points": int(total.sum()),
        "scenes": [*SCENES, *"defghijk"][: len(counts)],
        "settings": {
            "views": [{"angle": 0.0}],
            "fragments": False,
            "max_eval_voxels": 1000,
            "voxel_size": 0.05,
            "features": ["color"],
            "reader": {"axis_align": False},
            "precision": "32-true",
        },
        "checkpoint": str(run / "checkpoints" / "best.ckpt"),
        "checkpoint_hash": DIGEST,
        **changes,
    }
    path = run / "test" / f"{split}-{result['checkpoint_hash']}-{name}.json"
    write(path, json.dumps(result))
    folder = run / "predictions" / result["checkpoint_hash"] / split / name / "counts"
    for scene, matrix in zip(result["scenes"], counts, strict=True):
        if keep:
            (folder / scene).parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(folder / f"{scene}.npz", matrix=matrix, num_points=matrix.sum())
    return path


def miou_of(matrix: Any) -> float | None:
    """By plain loops: the mean over classes that occur in labels or predictions."""
    size, ious = len(matrix), []
    for c in range(size):
        hits = int(matrix[c][c])
        union = sum(int(matrix[c][k]) + int(matrix[k][c]) for k in range(size)) - hits
        if union:
            ious.append(hits / union)
    return sum(ious) / len(ious) if ious else None


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
