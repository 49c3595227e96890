"""What a long check is at, on stderr: where a run that is killed has spent its time."""

from __future__ import annotations

import sys
import time

START = time.monotonic()


def tell(what: str) -> None:
    """Write a line with the seconds since this program started."""
    sys.stderr.write(f"[{time.monotonic() - START:5.0f} s] {what}\n")
    sys.stderr.flush()
