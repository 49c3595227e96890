"""Errors of the user as one message; a traceback only on request."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning.utilities.exceptions import MisconfigurationException

P = ParamSpec("P")
R = TypeVar("R")

USER_ERRORS = (
    ValueError,
    OSError,  # missing, forbidden, a folder in place of a file, a full disk: it names the file
    RuntimeError,
    HydraException,
    OmegaConfBaseException,
    MisconfigurationException,
)
TRACEBACK = "PC3D_TRACEBACK"


def report_errors(program: Callable[P, R]) -> Callable[P, R]:
    """Turn errors of the user into a message on stderr and exit status 1."""

    @functools.wraps(program)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if os.environ.get(TRACEBACK) == "1":
            return program(*args, **kwargs)
        try:
            return program(*args, **kwargs)
        except USER_ERRORS as error:
            sys.stderr.write(f"error: {message(error)}\n({TRACEBACK}=1 shows the traceback)\n")
            raise SystemExit(1) from error

    return wrapped


def message(error: BaseException) -> str:
    """The innermost explanation: what Hydra or a data worker wrapped."""
    while isinstance(error, HydraException) and error.__cause__ is not None:
        error = error.__cause__
    text = str(error)
    if "DataLoader worker process" in text:  # torch puts the worker's traceback before its message
        name = type(error).__name__ + ": "
        text = text.rsplit(name, 1)[-1]
    return text.strip() or type(error).__name__
