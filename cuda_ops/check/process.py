"""Programs that this one starts: within a limit of time, after which nothing of them is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Done(NamedTuple):
    """How a program ended: its status, None if it was given up, and what it wrote."""

    status: int | None
    output: str


def run_within(
    seconds: float,
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Done:
    """Run a program, and end it with all that it has started when time is up.

    Args:
        seconds: the limit.
        command: program and arguments.
        environment: variables in place of those of this process.
        folder: where it runs, instead of here.

    Raises:
        OSError: it cannot be started.
    """
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # so that what it starts can be ended with it
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except BaseException as error:  # an interrupt must not leave it running on the GPU either
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        return Done(None, output)
    return Done(process.returncode, output)
