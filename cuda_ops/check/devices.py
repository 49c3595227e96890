"""Devices by their names on a command line."""

from __future__ import annotations

import torch

KINDS = ("cpu", "cuda")


def device_of(name: str) -> torch.device:
    """The device by its name, `cpu`, `cuda` or `cuda:N`; by default a GPU if there is one.

    Raises:
        ValueError: no such device here.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in KINDS or (index and not (index.isascii() and index.isdigit())):
        raise ValueError(f"device must be cpu, cuda or cuda:N; got {name!r}")
    if kind == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError(f"device={name}: torch {torch.__version__} finds no GPU here")
    if int(index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device={name}: GPUs here: {torch.cuda.device_count()}")
    return torch.device("cuda", int(index or 0))
