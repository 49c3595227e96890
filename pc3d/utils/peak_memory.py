"""The largest resident memory of a process."""

from __future__ import annotations

import sys
from pathlib import Path


def peak_mib(process: int | str = "self") -> float:
    """Largest resident set that a process had, in MiB; of another one only under Linux.

    Raises:
        OSError: the system does not say.
    """
    status = Path(f"/proc/{process}/status")
    if status.exists():
        # ru_maxrss starts at the size of the process that this one was forked from.
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    try:
        import resource
    except ModuleNotFoundError as error:
        raise OSError("this system does not say how much memory a process had") from error
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


class PeakMemory:
    """The largest resident memory of this process since now, not since it started.

    Linux lets a process forget its peak. Elsewhere the peak so far can only be told from a later
    one by being lower.
    """

    def __init__(self) -> None:
        self._before = 0.0
        try:
            # 5: "reset the peak resident set size" (proc(5))
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        except OSError:
            self._before = _peak_or_nothing()

    def mib(self) -> float | None:
        """MiB, or None where the system does not say, or the peak was before."""
        peak = _peak_or_nothing()
        return peak if peak > self._before else None


def _peak_or_nothing() -> float:
    try:
        return peak_mib()
    except OSError:
        return 0.0
