"""A generated set appears in its folder whole or not at all, whatever it holds."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

MARKER = "synthetic.json"
"""The file that says that a set is complete, and of which settings."""
_COUNTED = "num_points"  # in the marker, but no setting

Job = Callable[[Path], int]
"""Writes a scene below a folder and returns its number of points. It can be pickled."""


@dataclass(frozen=True)
class SetPlan:
    """What is to be generated.

    Attributes:
        noun: what the scenes are called on the progress bar.
        settings: all that the set follows from, as JSON has it; `kind` is there unless it is
            ScanNet's rooms.
        folders: what the set has in its root besides files: made, replaced and guarded.
        jobs: one for each scene; they may run in any order.
        finish: writes what belongs to no single scene into the folder that it is given.
    """

    noun: str
    settings: Mapping[str, Any]
    folders: Sequence[str]
    jobs: Sequence[Job]
    finish: Callable[[Path], None]


def write_set(root: str | Path, plan: SetPlan, num_workers: int | None) -> Path:
    """Write a set unless it is there already. `synthetic.json` is its last file.

    Args:
        root: folder of the set. A generated set of the same kind there is replaced.
        plan: the set.
        num_workers: processes; None for one per core, 0 to work in this process. The processes
            import the main module, so a script that calls this needs the usual
            `if __name__ == "__main__":`.

    Returns:
        `root`.

    Raises:
        FileExistsError: `root` holds data that this program did not write, or another kind of set.
    """
    root = Path(root)
    if _is_complete(root, plan.settings):
        return root
    _refuse_others(root, plan)
    root.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=root))
    try:
        for folder in plan.folders:
            (partial / folder).mkdir()
        points = _run_jobs(partial, plan, num_workers)
        plan.finish(partial)
        summary = {**plan.settings, _COUNTED: sum(points)}
        (partial / MARKER).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        _move_into_place(partial, root, plan)
    finally:
        shutil.rmtree(partial)
    return root


def _settings_of(root: Path) -> dict[str, Any] | None:
    """The settings of the set in a folder; None where no set is complete."""
    marker = root / MARKER
    if not marker.is_file():
        return None
    found = json.loads(marker.read_text(encoding="utf-8"))
    return {key: value for key, value in found.items() if key != _COUNTED}


def _is_complete(root: Path, settings: Mapping[str, Any]) -> bool:
    return _settings_of(root) == settings


def _refuse_others(root: Path, plan: SetPlan) -> None:
    found = _settings_of(root)
    if found is None:
        for folder in plan.folders:
            if (root / folder).exists():
                raise FileExistsError(
                    f"{root / folder} exists but {root / MARKER} does not, so these scans are not "
                    "a generated set and will not be replaced. Choose another folder or remove "
                    "them."
                )
    elif found.get("kind") != plan.settings.get("kind"):
        raise FileExistsError(
            f"{root} holds a generated set of another kind ({found.get('kind', 'rooms')}); "
            "choose another folder or remove it."
        )


def _move_into_place(partial: Path, root: Path, plan: SetPlan) -> None:
    """Swap the new set in: the old marker goes first, the new one comes last."""
    if _is_complete(root, plan.settings):
        return  # another process was faster
    (root / MARKER).unlink(missing_ok=True)
    for folder in plan.folders:
        if (root / folder).exists():
            shutil.rmtree(root / folder)
    for path in sorted(partial.iterdir(), key=lambda path: path.name == MARKER):
        path.replace(root / path.name)


def _run_jobs(folder: Path, plan: SetPlan, num_workers: int | None) -> list[int]:
    """Write every scene; returns their numbers of points."""
    num_workers = os.cpu_count() if num_workers is None else num_workers
    progress = Progress(console=Console(stderr=True), transient=True)
    with progress:
        task = progress.add_task(plan.noun, total=len(plan.jobs))
        points = []
        for count in _results(folder, plan.jobs, num_workers or 0):
            points.append(count)
            progress.advance(task)
    return points


def _results(folder: Path, jobs: Sequence[Job], num_workers: int) -> Iterator[int]:
    if num_workers == 0:
        yield from (job(folder) for job in jobs)
        return
    # A forked child would inherit the locks of the threads that the parent may run.
    pool = ProcessPoolExecutor(num_workers, mp_context=get_context("spawn"))
    try:
        futures = [pool.submit(job, folder) for job in jobs]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)
