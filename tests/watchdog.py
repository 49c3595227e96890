"""A test that waits for ever fails instead."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def watchdog(seconds: int) -> Iterator[None]:
    """Raise `TimeoutError` in the block after some seconds; where there are no alarms, wait."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def bark(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"still waiting after {seconds} s")

    before = signal.signal(signal.SIGALRM, bark)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
