"""Check a folder of predictions before it is uploaded to a benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_MAX_SHOWN = 20


def validate_submission(
    folder: str | Path,
    pattern: str,
    expected: Mapping[Path, T],
    problems_of: Callable[[Path, T], list[str]],
) -> int:
    """Check that a folder holds exactly the expected files, and check each of them.

    Args:
        folder: searched with all its subfolders.
        pattern: only files that match it are looked at, as in `Path.rglob`, e.g. `"*.txt"`.
        expected: what is known about every file, keyed by its path.
        problems_of: from a path and what is known about it to descriptions of what is wrong.

    Returns:
        Number of files.

    Raises:
        ValueError: missing or superfluous files, or problems of a file; the message lists them.
    """
    found = set(Path(folder).rglob(pattern))
    problems = [f"{path}: missing" for path in sorted(expected.keys() - found)]
    problems += [f"{path}: not a scene of this split" for path in sorted(found - expected.keys())]
    for path in sorted(expected.keys() & found):
        problems += [f"{path}: {problem}" for problem in problems_of(path, expected[path])]
    if problems:
        shown = problems[:_MAX_SHOWN] + ["..."] * (len(problems) > _MAX_SHOWN)
        raise ValueError(
            f"{folder} is not a valid submission, {len(problems)} problems:\n  "
            + "\n  ".join(shown)
        )
    return len(expected)
