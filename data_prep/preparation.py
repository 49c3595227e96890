"""From released files to folders of arrays: parallel, resumable, whole scenes or none."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from data_prep.arguments import count, parse_arguments
from data_prep.scene_folder import read_record, remove_stale, write_scene
from pc3d.cli.errors import USER_ERRORS, message
from pc3d.data.datasets.base import check_split
from pc3d.data.datasets.layout import PREPARED, RECORD, Layout, read_prepared
from pc3d.data.datasets.reader import LayoutReader
from pc3d.data.manifest import file_states
from pc3d.utils.files import write_json, write_text

FORMAT = 1
"""Of the arrays. Count it up with every change that changes them; older scenes are made again."""
MANIFEST = "manifest.json"
REMARKS = "remarks.log"
_MAX_SHOWN = 10


@dataclass(frozen=True)
class Preparation:
    """What is prepared, and into what.

    Attributes:
        reader: of the data set, which knows its name and what its files look like.
        layout: reads the released files.
        folders: from the folder of a prepared scene, relative to `out`, to the scene.
        settings: what else the arrays depend on; a change makes all scenes anew.
    """

    reader: type[LayoutReader]
    layout: Layout
    folders: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)


def split_folders(pattern: str, layout: Layout, splits: str) -> dict[str, str]:
    """The folders of the scenes of some splits.

    Args:
        pattern: of a folder, with `{split}` and `{scene}`.
        layout: of the released files.
        splits: names with commas between them.
    """
    names = splits.split(",")
    for name in names:
        check_split(name)
    return {
        pattern.format(split=split, scene=scene): scene
        for split in names
        for scene in layout.scenes(split)
    }


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Attributes:
        num_made: scenes that this run wrote.
        num_kept: scenes that an earlier run had finished.
        num_unlabelled: scenes of all runs that have no labels.
        failures: from a scene to the reason why it could not be prepared.
    """

    num_made: int
    num_kept: int
    num_unlabelled: int
    failures: Mapping[str, str]


def prepare(preparation: Preparation, out: Path, num_workers: int) -> Result:
    """Write every scene as a folder of `.npy` arrays, and a manifest of all.

    A scene's folder appears when it is whole, with `scene.json`: number of points, sources with
    size and time, arrays with type, shape and SHA-256, labels, and what the reader remarked. A
    second run keeps scenes whose record fits sources, settings and format. `manifest.json` holds
    all records, `remarks.log` all remarks; a damaged scene is reported and the others go on.

    Args:
        preparation: what to do.
        out: folder of the prepared data set.
        num_workers: processes; 0 works in this one.

    Raises:
        FileNotFoundError: there are no scenes.
        ValueError: `out` lies within the released files, or they within it.
    """
    if not preparation.folders:
        reader, root = preparation.reader, preparation.layout.root
        raise FileNotFoundError(
            f"{root}: no scenes of {reader.title} are there. Expected:\n{reader.expected}\n"
            f"Download: {reader.download}"
        )
    out = out.absolute()
    raw = preparation.layout.root.absolute()
    if out == raw or out in raw.parents or raw in out.parents:
        raise ValueError(f"out={out} and raw={raw} must not contain each other")
    for parent in {(out / folder).parent for folder in preparation.folders}:
        remove_stale(parent)
    others = _other_records(preparation, out)
    pending = {*_pending(out), *preparation.folders}
    _write_prepared(preparation, out, pending)
    kept, todo = {}, {}
    for folder, scene in preparation.folders.items():
        record = read_record(out / folder)
        wanted = {"format": FORMAT, "settings": dict(preparation.settings)}
        layout = preparation.layout
        wanted["sources"] = file_states([*layout.files(scene), *layout.shared_files(scene)])
        if record is not None and wanted.items() <= record.items():
            kept[folder] = record
        else:
            todo[folder] = (scene, wanted)
            shutil.rmtree(out / folder, ignore_errors=True)  # of other settings or sources
    made: dict[str, Any] = {}
    failures: dict[str, str] = {}
    for folder, outcome in _run(preparation.layout, out, todo, num_workers):
        if isinstance(outcome, str):
            failures[todo[folder][0]] = outcome
        else:
            made[folder] = outcome
    records = {**others, **kept, **made}
    _write_manifest(preparation, out, records)
    # Read anew: another run may have begun to prepare other scenes.
    _write_prepared(preparation, out, {*_pending(out)} - {*kept, *made})
    num_unlabelled = sum(not record["labels"] for record in records.values())
    return Result(len(made), len(kept), num_unlabelled, failures)


def _other_records(preparation: Preparation, out: Path) -> dict[str, Any]:
    """Records of scenes that earlier runs prepared and this one does not ask for.

    Raises:
        ValueError: they were prepared with other settings.
    """
    folders = (path.parent for path in sorted(out.rglob(RECORD)))
    found = {folder.relative_to(out).as_posix(): read_record(folder) for folder in folders}
    others = {
        name: record
        for name, record in found.items()
        if record is not None and name not in preparation.folders
    }
    for name, record in others.items():
        if record["settings"] != dict(preparation.settings) or record["format"] != FORMAT:
            raise ValueError(
                f"{out / name} was prepared with {record['settings']}, and this run has "
                f"{dict(preparation.settings)}. Prepare all scenes in one way, or remove it."
            )
    return others


_Todo = Mapping[str, tuple[str, dict[str, Any]]]


def _run(
    layout: Layout, out: Path, todo: _Todo, num_workers: int
) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """(folder, its record or the reason why there is none) of every scene, as they finish."""
    console = Console(stderr=True)

    def shown(results: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
        return iter(track(results, "preparing", total=len(todo), console=console, transient=True))

    if num_workers == 0:
        yield from shown((f, write_scene(layout, out / f, *job)) for f, job in todo.items())
        return
    # Spawned, not forked: a forked child would inherit the locks of the progress bar's thread.
    pool = ProcessPoolExecutor(
        num_workers, mp_context=get_context("spawn"), initializer=_start, initargs=(layout,)
    )
    try:
        futures: dict[Future[Any], str] = {
            pool.submit(_prepare_there, out / folder, *job): folder for folder, job in todo.items()
        }
        yield from shown((futures[done], done.result()) for done in as_completed(futures))
    finally:
        pool.shutdown(cancel_futures=True)


_LAYOUT: list[Layout] = []
"""Of a worker process: sent once, since the tables of some data sets are large."""


def _start(layout: Layout) -> None:
    _LAYOUT.append(layout)


def _prepare_there(folder: Path, scene: str, wanted: dict[str, Any]) -> dict[str, Any] | str:
    return write_scene(_LAYOUT[0], folder, scene, wanted)


def _facts(preparation: Preparation) -> dict[str, Any]:
    return {
        "dataset": preparation.reader.title,
        "format": FORMAT,
        "settings": dict(preparation.settings),
        "raw": str(preparation.layout.root.absolute()),
        "versions": {name: version(name) for name in ("pc3d", "numpy")},
    }


def _pending(out: Path) -> list[str]:
    """Folders that runs were asked for and have not finished."""
    prepared = read_prepared(out)
    return [] if prepared is None else prepared["pending"]


def _write_prepared(preparation: Preparation, out: Path, pending: Collection[str]) -> None:
    """Say what is prepared and how, and what is not yet; readers refuse a folder until it is."""
    write_json(out / PREPARED, {**_facts(preparation), "pending": sorted(pending)})


def _write_manifest(preparation: Preparation, out: Path, records: Mapping[str, Any]) -> None:
    scenes = {folder: records[folder] for folder in sorted(records)}
    manifest = {
        **_facts(preparation),
        "num_points": sum(record["num_points"] for record in scenes.values()),
        "scenes": scenes,
    }
    write_json(out / MANIFEST, manifest)
    remarks = [remark for record in scenes.values() for remark in record["remarks"]]
    write_text(out / REMARKS, "".join(f"{remark}\n" for remark in remarks))


def run_program(
    name: str,
    options: Mapping[str, str | None],
    build: Callable[[dict[str, str]], Preparation],
    arguments: Sequence[str],
) -> int:
    """A preparation program: parse, prepare, report; returns the exit status.

    Args:
        name: of the module, for messages.
        options: its own options with their defaults, beside `raw`, `out` and `num_workers`.
        build: from the values of all options to what is prepared.
        arguments: the command line.
    """
    console = Console(stderr=True, soft_wrap=True)
    common = {"raw": None, "out": None, "num_workers": str(os.cpu_count() or 1)}
    try:
        values = parse_arguments(arguments, {**common, **options})
        num_workers = count("num_workers", values["num_workers"])
        out = Path(values["out"]).expanduser()
        result = prepare(build(values), out, num_workers)
    except (*USER_ERRORS, OSError) as error:
        console.print(f"{name}: {message(error)}", style="red", markup=False)
        return 2
    console.print(
        f"{out}: {result.num_made} scenes prepared, {result.num_kept} were there; "
        f"see {MANIFEST} and {REMARKS}",
        markup=False,
    )
    if result.num_unlabelled:
        console.print(f"{result.num_unlabelled} scenes have no labels: right for a test split only")
    for scene, reason in list(result.failures.items())[:_MAX_SHOWN]:
        console.print(f"{scene} failed: {reason}", style="red", markup=False)
    if result.failures:
        console.print(
            f"{len(result.failures)} scenes failed. Mend the files and run the same command again: "
            "only these are left to do.",
            style="red",
        )
    return 1 if result.failures else 0


def main(
    name: str,
    options: Mapping[str, str | None],
    build: Callable[[dict[str, str]], Preparation],
) -> None:
    """`run_program` with the command line of this process."""
    sys.exit(run_program(name, options, build, sys.argv[1:]))
