"""What a run folder holds, written and read in one place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from pc3d.utils.environment import environment, git_state
from pc3d.utils.files import write_json, write_text

CONFIG = "config.yaml"
OVERRIDES = "overrides.yaml"
PROTOCOL = "protocol.json"
"""In every folder of predictions; written when a test starts."""
TRAINING = "training.json"
"""What the training took (`pc3d.tasks.training_record`)."""
UNCOMMITTED = "uncommitted.diff"
ENVIRONMENT = "environment.json"
_RECORDED = ("state", "epochs", "steps", "epoch_seconds", "memory_mib", "gpu_memory_mib")


def save_run(folder: Path, config: DictConfig, overrides: Sequence[str]) -> None:
    """Write the resolved configuration, the overrides, and what the run needs to be repeated.

    Raises:
        FileExistsError: the folder holds a run already.
    """
    if (folder / CONFIG).exists():
        raise FileExistsError(
            f"{folder} holds a run already. Continue it with resume={folder}, or choose another "
            "folder."
        )
    write_text(folder / CONFIG, OmegaConf.to_yaml(config, resolve=True))
    write_text(folder / OVERRIDES, OmegaConf.to_yaml(OmegaConf.create(list(overrides))))
    facts = environment()
    git = git_state(Path(__file__).parent)
    facts["commit"] = None if git is None else git["commit"]
    write_json(folder / ENVIRONMENT, facts)
    if git is not None:
        write_text(folder / UNCOMMITTED, git["diff"])


def read_run(folder: str | Path) -> tuple[DictConfig, list[str]]:
    """The resolved configuration and the overrides of a run; the folder may have been moved.

    Raises:
        FileNotFoundError: the folder is not that of a run.
    """
    folder = Path(folder).expanduser()
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(
            f"{folder} is not a run folder: it has no {CONFIG}. Give the folder that train.py "
            "printed, e.g. logs/train/runs/2026-01-31_12-00-00."
        )
    config = OmegaConf.create((folder / CONFIG).read_text(encoding="utf-8"))
    overrides = OmegaConf.to_container(OmegaConf.load(folder / OVERRIDES))
    assert isinstance(config, DictConfig) and isinstance(overrides, list)
    return moved(config, folder), [str(override) for override in overrides]


def moved(config: DictConfig, folder: Path) -> DictConfig:
    """The configuration of a run as if it were in another folder, of all that it writes."""
    plain = OmegaConf.to_container(config, resolve=True)
    found = OmegaConf.create(_replaced(plain, str(config.paths.run_dir), str(folder.resolve())))
    assert isinstance(found, DictConfig)
    return found


def _replaced(node: Any, old: str, new: str) -> Any:
    """Plain values with a text replaced in all strings among them."""
    if isinstance(node, dict):
        return {key: _replaced(value, old, new) for key, value in node.items()}
    if isinstance(node, list):
        return [_replaced(value, old, new) for value in node]
    return node.replace(old, new) if isinstance(node, str) else node


def read_training(folder: str | Path) -> dict[str, Any] | None:
    """What the training of a run took so far, or None where an older pc3d trained.

    Raises:
        ValueError: the file is damaged; it is named.
    """
    path = Path(folder) / TRAINING
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not JSON, or not UTF-8
        raise ValueError(f"{path} is damaged: {error}") from error
    missing = [key for key in _RECORDED if key not in record] if isinstance(record, dict) else []
    if missing or not isinstance(record, dict):
        raise ValueError(f"{path} is damaged: it lacks {', '.join(missing) or 'everything'}")
    return record


def checkpoint_path(folder: str | Path, name: str) -> Path:
    """The checkpoint `"best"`, `"last"`, or the path given as `name`.

    Raises:
        FileNotFoundError: lists the checkpoints that exist.
    """
    checkpoints = Path(folder).expanduser() / "checkpoints"
    path = checkpoints / f"{name}.ckpt" if name in ("best", "last") else Path(name).expanduser()
    if not path.is_file():
        existing = sorted(p.name for p in checkpoints.glob("*.ckpt"))
        raise FileNotFoundError(f"no checkpoint {path}; {checkpoints} has {existing or 'none'}")
    return path


class TestedScenes(NamedTuple):
    """A folder of predictions: of one checkpoint, split and protocol.

    Attributes:
        folder: holds `<scene>.npy`.
        checkpoint_hash: `file_hash` of the checkpoint.
        split: what was tested.
    """

    folder: Path
    checkpoint_hash: str
    split: str


def newest_prediction(folder: str | Path, split: str, scene: str) -> tuple[TestedScenes, str]:
    """The newest prediction of a scene in a run folder, of whichever checkpoint and protocol.

    Args:
        folder: the run folder.
        split: the split that was tested.
        scene: its name; the empty string takes the first scene.

    Returns:
        The test that it comes from, and the scene's name.

    Raises:
        FileNotFoundError: lists the scenes that have predictions.
    """
    tested = Path(folder).expanduser().glob(f"predictions/*/{split}/*/{PROTOCOL}")
    for protocol in sorted(tested, key=lambda path: path.stat().st_mtime, reverse=True):
        predictions = protocol.parent
        files = predictions.rglob("*.npy")
        names = sorted(str(path.relative_to(predictions).with_suffix("")) for path in files)
        chosen = scene or (names[0] if names else "")
        if chosen in names:
            return TestedScenes(predictions, predictions.parents[1].name, split), chosen
        raise FileNotFoundError(
            f"{predictions} has no prediction of scene {scene!r}; it has {', '.join(names[:12])}"
        )
    raise FileNotFoundError(
        f"{folder} has no predictions of split {split}. Make them: python test.py run={folder} "
        f"split={split}"
    )
