"""Is a data set whole and sane? `python -m data_prep.verify PATH`.

Recognizes what lies there, counts the scenes of every split, reads some of them (`scenes=20` of
each split, or `scenes=all`), and lists what is missing or wrong: units, ranges, copies, scenes that
two splits share, labels outside the map, files that differ from their checksums. Ends with status 1
if anything is. Options: `num_workers=<cores>`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from data_prep.arguments import count, parse_arguments
from data_prep.checks import SceneFacts, check_scene, check_splits
from data_prep.preparation import MANIFEST
from pc3d.cli.errors import USER_ERRORS, message
from pc3d.data.datasets import S3DIS, Custom, NuScenes, ScanNet, SemanticKITTI
from pc3d.data.datasets.base import SPLITS
from pc3d.data.datasets.custom import DESCRIPTION
from pc3d.data.datasets.layout import read_prepared
from pc3d.data.datasets.reader import LayoutReader
from pc3d.io.reading import read_json
from pc3d.utils.files import file_hash
from pc3d.utils.parallel import parallel_map

_MAX_SHOWN = 20


def recognize(root: Path) -> LayoutReader:
    """The reader of what lies at a folder.

    Raises:
        FileNotFoundError: nothing that is known; the message lists what is.
    """
    prepared = read_prepared(root) or {"dataset": "", "settings": {}}
    title, settings = prepared["dataset"], prepared["settings"]
    if title == Custom.title:  # its settings are those of the description that lies there
        settings = {}
    if (root / "v1.0-mini").is_dir() and not (root / "v1.0-trainval").is_dir():
        settings = {"version": "v1.0-mini"}
    signs: tuple[tuple[type[LayoutReader], Sequence[str]], ...] = (
        (Custom, (DESCRIPTION,)),
        (SemanticKITTI, ("sequences/*/velodyne", "sequences/*/*/coord.npy")),
        (S3DIS, ("Area_*/*/Annotations", "Area_*/*/coord.npy")),
        (NuScenes, ("v1.0-*/sample_data.json", "train/*/intensity.npy", "val/*/intensity.npy")),
        (ScanNet, ("scans/scene*", "scans_test/scene*", "train/*/coord.npy", "val/*/coord.npy")),
    )
    for reader, patterns in signs:
        seen = any(next(root.glob(pattern), None) is not None for pattern in patterns)
        if reader.title == title or (seen and not title):
            build: Callable[..., LayoutReader] = reader
            return build(root, **settings)
    expected = "\n".join(f"{reader.title}:\n{reader.expected}" for reader, _ in signs)
    raise FileNotFoundError(f"{root}: no data set that is known. Expected one of\n{expected}")


def verify(reader: LayoutReader, num_scenes: int | None, num_workers: int) -> list[str]:
    """Check a data set and print what it looks like.

    Args:
        reader: of the data set.
        num_scenes: scenes of every split that are read, evenly spread; None for all.
        num_workers: processes; 0 works in this one.

    Returns:
        What is wrong, a sentence each.
    """
    problems: list[str] = []
    scenes: dict[str, list[str]] = {}
    for split in SPLITS:
        try:
            scenes[split] = reader.scenes(split)
        except (ValueError, OSError) as error:
            scenes[split] = []
            if split != "test" or not isinstance(error, FileNotFoundError):  # many do without test
                problems.append(str(error).partition("\nDownload")[0])
    jobs = [(s, split) for split, names in scenes.items() for s in _spread(names, num_scenes)]
    facts = _read_all(reader, jobs, num_workers)
    problems += [problem for fact in facts for problem in fact.problems]
    places = {s: s.partition("_")[0] for names in scenes.values() for s in names}
    problems += check_splits(scenes, facts, places if isinstance(reader, ScanNet) else {})
    problems += check_manifest(reader.root, [scene for scene, _ in jobs])
    console = Console(soft_wrap=True)
    console.print(f"{reader.title} at {reader.root}: {type(reader.layout).__name__}", markup=False)
    console.print(_split_table(reader, scenes, facts))
    console.print(_label_table(reader, facts))
    for split, names in scenes.items():
        whole = reader.official.get(split, 0)
        if len(names) < whole:
            console.print(f"{split}: {len(names):,} of {whole:,} scenes are there")
    return list(dict.fromkeys(problems))


def _spread(names: Sequence[str], number: int | None) -> Sequence[str]:
    step = 1 if number is None else max(1, -(-len(names) // max(1, number)))
    return names[::step]


def _read_all(
    reader: LayoutReader, jobs: Sequence[tuple[str, str]], num_workers: int
) -> list[SceneFacts]:
    return list(parallel_map(partial(_check, reader), jobs, num_workers, "reading"))


def _check(reader: LayoutReader, job: tuple[str, str]) -> SceneFacts:
    return check_scene(reader, *job)


def check_manifest(root: Path, scenes: Sequence[str]) -> list[str]:
    """Compare prepared scenes with the checksums of their manifest, if there is one."""
    path = root / MANIFEST
    if not path.is_file():
        return []
    manifest = read_json(path)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("scenes"), dict):
        return [f"{path}: not what data_prep writes there. Prepare again"]
    read = set(scenes)
    known = {scene for record in manifest["scenes"].values() for scene in _scenes(record)}
    problems = [f"{root}: scene {s} is not in {MANIFEST}. Prepare again" for s in read - known]
    for folder, record in manifest["scenes"].items():
        if not (root / folder).is_dir():
            problems.append(f"{root / folder}: in {MANIFEST}, but not there. Prepare again")
        elif not read.isdisjoint(_scenes(record)):
            for name, facts in record["arrays"].items():
                file = root / folder / f"{name}.npy"
                if not file.is_file() or file_hash(file, 64) != facts["sha256"]:
                    problems.append(f"{file}: missing, or not what {MANIFEST} says. Prepare again")
    return problems


def _scenes(record: Mapping[str, Any]) -> list[str]:
    """The scenes that a file became."""
    return [f"{record['scene']}/{part}" for part in record.get("parts", [])] or [record["scene"]]


def _split_table(
    reader: LayoutReader, scenes: Mapping[str, Sequence[str]], facts: Sequence[SceneFacts]
) -> Table:
    table = Table()
    for column in ("split", "scenes", "of the whole", "read", "points"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for split, names in scenes.items():
        read = [fact for fact in facts if fact.split == split]
        points = sum(fact.num_points for fact in read)
        whole = f"{reader.official[split]:,}" if split in reader.official else ""
        table.add_row(split, f"{len(names):,}", whole, f"{len(read):,}", f"{points:,}")
    return table


def _label_table(reader: LayoutReader, facts: Sequence[SceneFacts]) -> Table:
    """Share of every class among the labelled points that were read, by split."""
    table = Table("class")
    columns = {}
    for split in SPLITS:
        counts = [f.labels for f in facts if f.split == split and f.labels is not None]
        if counts:
            columns[split] = np.sum(counts, axis=0)
            table.add_column(f"{split} %", justify="right")
    for index, name in enumerate(reader.spec.class_names):
        shares = [counts[index] / max(1, counts.sum()) for counts in columns.values()]
        table.add_row(name, *(f"{100 * share:.2f}" if share else "none" for share in shares))
    return table


def run_program(arguments: Sequence[str]) -> int:
    """Run from a command line; returns the exit status."""
    console = Console(stderr=True, soft_wrap=True)
    path, *rest = [a if "=" in a else f"root={a}" for a in arguments] or [""]
    options = {"root": None, "scenes": "20", "num_workers": str(os.cpu_count() or 1)}
    try:
        values = parse_arguments([path, *rest] if path else [], options)
        number = None if values["scenes"] == "all" else count("scenes", values["scenes"])
        reader = recognize(Path(values["root"]).expanduser())
        problems = verify(reader, number, count("num_workers", values["num_workers"]))
    except (*USER_ERRORS, OSError) as error:
        console.print(f"data_prep.verify: {message(error)}", style="red", markup=False)
        return 2
    for problem in problems[:_MAX_SHOWN]:
        console.print(problem, style="red", markup=False)
    hidden = len(problems) - _MAX_SHOWN
    if hidden > 0:
        console.print(f"... and {hidden} more", style="red")
    console.print(f"{len(problems)} problems" if problems else "no problems found")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(run_program(sys.argv[1:]))
