"""Every run below a folder, whatever state it is in."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pc3d.runs.config import flat
from pc3d.runs.history import MIOU, Epochs, best_epoch, current_name, num_steps, read_history
from pc3d.runs.results import TestResult, read_results
from pc3d.utils.run_folder import (
    CONFIG,
    ENVIRONMENT,
    OVERRIDES,
    UNCOMMITTED,
    read_training,
)

_UNREADABLE = (OSError, ValueError, yaml.YAMLError)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it is built


class Training(NamedTuple):
    """How far a training came, and what it took; None is unknown.

    Attributes:
        state: `"finished"`, `"interrupted"`, `"failed"`, or `"unfinished"`: it runs or was killed.
        error: of a training that failed.
        epochs, steps: done.
        seconds: of all epochs.
        memory: peak resident MiB of its largest process.
        gpu_memory: peak MiB of tensors on its fullest GPU.
    """

    state: str
    error: str | None = None
    epochs: int | None = None
    steps: int | None = None
    seconds: float | None = None
    memory: float | None = None
    gpu_memory: float | None = None


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        folder: where it is.
        config: its configuration with dotted keys (`pc3d.runs.config.flat`).
        choices: what was chosen from the groups of `conf/`: `{"model": "minkunet14a", ...}`.
        seed: of the training.
        changes: overrides that the run was continued with and not started with.
        commit: of the source, shortened, with a + if it had uncommitted changes; empty if unknown.
        training: how far it came.
        history: what it logged.
        tests: its results, oldest first.
    """

    folder: Path
    config: Mapping[str, Any]
    choices: Mapping[str, str]
    seed: int | None
    changes: tuple[str, ...]
    commit: str
    training: Training
    history: Epochs
    tests: tuple[TestResult, ...]

    @property
    def best_epoch(self) -> int | None:
        """The epoch of `best.ckpt`, or the last one if nothing picked it."""
        monitor = current_name(str(self.config.get("callbacks.best.monitor", MIOU)))
        mode = str(self.config.get("callbacks.best.mode", "max"))
        best = best_epoch(self.history, monitor, mode)
        return max(self.history, default=None) if best is None else best


def read_runs(folder: Path) -> tuple[list[Run], list[str]]:
    """All runs below a folder, or the one that it is, by path.

    Returns:
        The runs, and what is wrong, a line for each file or folder that could not be read. A run
        is there if its configuration can be read, whatever else is missing.

    Raises:
        FileNotFoundError: no such folder, or no run in it.
        ValueError: there are runs, none of which can be read.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; say where runs are: folder=...")
    runs, problems = [], []
    for path in sorted(run_folders(folder)):
        try:
            run, wrong = read_run(path)
        except _UNREADABLE as error:
            problems.append(f"{path} is left out: {_first_line(error)}")
            continue
        runs.append(run)
        problems.extend(wrong)
    if problems and not runs:
        raise ValueError("\n".join((f"no run in {folder} can be read:", *problems)))
    if not runs:
        raise FileNotFoundError(
            f"there are no runs in {folder}: no folder in it holds a {CONFIG} as train.py writes it"
        )
    return runs, problems


def read_run(folder: Path) -> tuple[Run, list[str]]:
    """A run, and what of it could not be read.

    Raises:
        OSError, ValueError, yaml.YAMLError: its configuration cannot.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"it has no {CONFIG}")
    config = _load(path)
    if not isinstance(config, dict) or not isinstance(config.get("paths"), dict):
        raise ValueError(f"{path} is not the configuration of a run: it has no paths")
    values = flat(config)
    problems: list[str] = []

    def attempt(read: Any, default: Any) -> Any:
        try:
            return read()
        except _UNREADABLE as error:
            problems.append(_first_line(error))
            return default

    history: Epochs = attempt(lambda: read_history(folder), {})
    training = attempt(lambda: _training(folder, values, history), Training("unfinished"))
    tests, wrong = read_results(folder)
    seed = values.get("seed")
    run = Run(
        folder=folder,
        config=values,
        choices=attempt(lambda: _choices(folder), {}),
        seed=seed if isinstance(seed, int) else None,
        changes=attempt(lambda: _changes(folder), ()),
        commit=attempt(lambda: _commit(folder), ""),
        training=training,
        history=history,
        tests=tuple(tests),
    )
    return run, problems + wrong


def run_folders(folder: Path) -> Iterator[Path]:
    """Folders with a configuration, or with what else only runs have; not what lies in them."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if CONFIG in files or ENVIRONMENT in files:
            folders.clear()
            yield Path(place)


def _training(folder: Path, config: Mapping[str, Any], history: Epochs) -> Training:
    record = read_training(folder)
    if record is None:
        epochs, steps = max(history, default=-1) + 1, num_steps(history)
        ends = [
            (epochs, config.get("trainer.max_epochs")),
            (steps, config.get("trainer.max_steps")),
        ]
        planned = [(done, end) for done, end in ends if isinstance(end, int) and end > 0]
        finished = any(done is not None and done >= end for done, end in planned)
        state = "finished" if finished else "unfinished"
        return Training(state, epochs=epochs, steps=steps)
    seconds = record["epoch_seconds"]
    known = None not in seconds  # otherwise an older pc3d trained a part of it
    return Training(
        state=str(record["state"]),
        error=record.get("error"),
        epochs=record["epochs"],
        steps=record["steps"],
        seconds=sum(seconds) if known and seconds else None,
        memory=record["memory_mib"] if known else None,
        gpu_memory=record["gpu_memory_mib"] if known else None,
    )


def _choices(folder: Path) -> dict[str, str]:
    path = folder / ".hydra" / "hydra.yaml"
    if not path.is_file():
        return {}
    try:
        choices = _load(path)["hydra"]["runtime"]["choices"]
        return {str(group): str(choice) for group, choice in choices.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: it has no hydra.runtime.choices") from error


def _changes(folder: Path) -> tuple[str, ...]:
    """Hydra keeps the overrides of the last start, we keep those of the first."""
    lists = []
    for path in (folder / OVERRIDES, folder / ".hydra" / "overrides.yaml"):
        if not path.is_file():
            return ()
        found = _load(path) or []
        if not isinstance(found, list):
            raise ValueError(f"{path} is damaged: it is no list of overrides")
        lists.append([str(override) for override in found])
    first, last = lists
    return tuple(o for o in last if o not in first and not o.startswith("resume="))


def _commit(folder: Path) -> str:
    path = folder / ENVIRONMENT
    if not path.is_file():
        return ""
    try:
        commit = json.loads(path.read_text(encoding="utf-8")).get("commit")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    diff = folder / UNCOMMITTED
    changed = diff.is_file() and diff.stat().st_size > 0
    return f"{str(commit)[:7]}{'+' * changed}" if commit else ""


def _load(path: Path) -> Any:
    try:
        with path.open(encoding="utf-8") as file:
            return yaml.load(file, _LOADER)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is damaged: {reason}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
