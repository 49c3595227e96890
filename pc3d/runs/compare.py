"""Two tested runs: finding their results, and whether they may be compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pc3d.runs.grouping import short_names
from pc3d.runs.reading import run_folders
from pc3d.runs.results import TestResult, differences, read_result, read_results
from pc3d.utils.run_folder import CONFIG

_MAX_SHOWN = 20


def find_results(run: str, folder: Path, split: str, metric: str) -> list[TestResult]:
    """The results of a run that are of a split, and of a metric where one is given.

    Args:
        run: a run folder, the name of one below `folder`, or the JSON file of a test.
        folder: where names are looked for.
        split: that was tested.
        metric: its full name (`"test/miou_point_tta13"`), or empty.

    Raises:
        FileNotFoundError: no such run, or no such test of it.
        ValueError: the file is no result, or of another split.
    """
    path = Path(run).expanduser()
    if path.is_file():
        results, problems = [TestResult(path, read_result(path))], list[str]()
    else:
        path = path if (path / CONFIG).is_file() else _named(run, folder)
        results, problems = read_results(path)
    found = [r for r in results if r.split == split and metric in ("", r.metric)]
    if not found:
        others = ", ".join(sorted({f"{r.metric} (split {r.split})" for r in results})) or "no tests"
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise FileNotFoundError(
            f"{path} has no test of split {split}{f' with {metric}' if metric else ''}; it has "
            f"{others}. Test it: python test.py run={path} split={split}{lines}"
        )
    return found


def _named(run: str, folder: Path) -> Path:
    folders = sorted(run_folders(folder)) if folder.is_dir() else []
    names = short_names(folders)
    found = [
        path
        for path, name in zip(folders, names, strict=True)
        if run == name or path.name == run or path.as_posix().endswith(f"/{run}")
    ]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(str(path) for path in found)
        raise ValueError(f"{run} may be {listed}; say which")
    shown = ", ".join(names[:_MAX_SHOWN]) + ", ..." * (len(names) > _MAX_SHOWN)
    raise FileNotFoundError(
        f"{run} is neither a run folder, nor the JSON file of a test, nor the name of a run in "
        f"{folder}, which has {shown or 'none'}"
    )


def pair(ours: Sequence[TestResult], theirs: Sequence[TestResult]) -> tuple[TestResult, TestResult]:
    """The one result of each that was measured as the other was: same split, scenes, protocol.

    Raises:
        ValueError: none, with what differs; or several, with how to say which.
    """
    pairs = [(a, b) for a in ours for b in theirs if not differences(a, b)]
    if len(pairs) == 1:
        return pairs[0]
    if pairs:
        listed = "\n  ".join(f"{a.path} {b.path}" for a, b in pairs)
        raise ValueError(
            f"there are {len(pairs)} pairs of tests; say metric=... or name two files:\n  {listed}"
        )
    a, b = ours[-1], theirs[-1]
    reasons = "\n  ".join(differences(a, b))
    raise ValueError(f"{a.path} and {b.path} cannot be compared:\n  {reasons}")
