"""Weights by name, and networks that are ready to label points."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import torch

from pc3d.inference.predictor import Predictor
from pc3d.models.weights import SUFFIX, read_weights
from pc3d.utils.run_folder import CONFIG, checkpoint_path


def shipped_weights() -> dict[str, Path]:
    """The weights that come with pc3d, by name."""
    folder = Path(str(files("pc3d"))) / "weights"
    return {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def find_weights(name: str | Path) -> Path:
    """The file that a name means.

    Args:
        name: of shipped weights, a file, or a run folder, of which the best checkpoint is taken.

    Raises:
        FileNotFoundError: there is none; the message says what there is.
    """
    shipped = shipped_weights()
    if str(name) in shipped:
        return shipped[str(name)]
    path = Path(name).expanduser()
    if (path / CONFIG).is_file():
        return checkpoint_path(path, "best")
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights {str(name)!r}: neither a file, nor a run folder, nor one that comes with "
            f"pc3d ({', '.join(shipped) or 'none'})"
        )
    return path


def load(name: str | Path, device: torch.device | str | None = None) -> Predictor:
    """A trained network that labels points.

    Args:
        name: `"rooms-s"` or `"als-s"`, a `.ckpt` or `.safetensors` file, or a run folder.
        device: where it runs; a GPU if there is one, unless said otherwise.

    Raises:
        FileNotFoundError: no such weights.
        ValueError: a damaged file, one that pc3d did not write, or no such device.
    """
    path = find_weights(name)
    return Predictor.of(read_weights(path), _device(device))


def _device(name: torch.device | str | None) -> torch.device:
    """The device of this name; a GPU if there is one, for none."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    known = ["cpu", *["cuda"] * bool(gpus), *gpus]
    if str(name) not in known:
        raise ValueError(f"device={name}: there are {', '.join(known)} on this machine")
    return torch.device(name)
