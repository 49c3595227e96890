"""Errors of the user as one message; a traceback only on request."""

from __future__ import annotations

import functools
import os
import re
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
_REASON = re.compile(r"(?:killed by signal: |with )([\w ]+)")
_WORKER_DIED = re.compile(r"DataLoader worker \(pid.*\) (is killed by signal|exited unexpectedly)")


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
    if _WORKER_DIED.search(text):
        return _worker_death(error)
    if "DataLoader worker process" in text:  # torch puts the worker's traceback before its message
        name = type(error).__name__ + ": "
        text = text.rsplit(name, 1)[-1]
    return text.strip() or type(error).__name__


def _worker_death(error: BaseException) -> str:
    """What ended a worker, from torch's messages; the signal may be in the cause, or lost."""
    texts = [str(e) for e in (error, error.__cause__) if e is not None]
    reason = next(filter(None, map(_REASON.search, texts)), None)
    how = f" ({reason.group(1)})" if reason else ""
    if reason and reason.group(1) not in ("Killed", "Bus error"):
        return f"a data worker died{how}; with num_workers=0 the fault shows where it is"
    return (
        f"a data worker was killed{how}: most likely memory ran out. What loading needs was said "
        "at the start. Lower num_workers or dataset.max_voxels, or allow more memory: containers "
        "and batch systems have limits of their own."
    )
