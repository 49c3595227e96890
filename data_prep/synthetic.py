"""Generated rooms in ScanNet's raw layout: `python -m data_prep.synthetic out=PATH`."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from data_prep.rooms.layout import furnish
from data_prep.rooms.scanner import scan
from data_prep.rooms.writer import write_scene

VERSION = 2
"""Of the generator. Count it up with every change that changes the rooms."""
MARKER = "synthetic.json"
"""The file that says that a set is complete, and of which settings."""
# Numbers of the first scene of each split: scenes of different splits never share a number, and
# a scene's name does not depend on how many there are.
_FIRST_SCENE = {"train": 0, "val": 5000, "test": 7500}


@dataclass(frozen=True)
class _Scene:
    seed: int
    split: str
    index: int

    @property
    def name(self) -> str:
        return f"scene{_FIRST_SCENE[self.split] + self.index:04d}_00"


def generate(
    root: str | Path,
    num_train: int = 80,
    num_val: int = 10,
    num_test: int = 10,
    seed: int = 0,
    num_workers: int | None = None,
) -> Path:
    """Generate furnished rooms, scanned and labelled, unless they are there already.

    A scene depends on nothing but seed, split and index: more scenes leave the first ones as they
    are, byte for byte. The set appears under `root` only when it is whole; `synthetic.json` is its
    last file.

    Args:
        root: folder of the set: `scans/`, `scannetv2_{train,val,test}.txt`, `synthetic.json`. A
            generated set of other settings there is replaced; other scans are refused.
        num_train: training scenes.
        num_val: validation scenes.
        num_test: test scenes; they come with labels, too.
        seed: of the rooms, not negative.
        num_workers: processes; None for one per core, 0 to work in this process. The processes
            import the main module, so a script that calls this needs the usual
            `if __name__ == "__main__":`.

    Returns:
        `root`.

    Raises:
        ValueError: a negative seed, a count that is negative or beyond the scene numbers of its
            split.
        FileExistsError: `root` holds scans that this program did not write.
    """
    root = Path(root)
    counts = {"train": num_train, "val": num_val, "test": num_test}
    _check_counts(counts)
    if seed < 0:
        raise ValueError(f"seed must not be negative; got {seed}")
    settings = {"version": VERSION, "seed": seed, **{f"num_{k}": n for k, n in counts.items()}}
    if _is_complete(root, settings):
        return root
    if (root / "scans").exists() and not (root / MARKER).exists():
        raise FileExistsError(
            f"{root / 'scans'} exists but {root / MARKER} does not, so these scans are not a "
            "generated set and will not be replaced. Choose another folder or remove them."
        )
    root.mkdir(parents=True, exist_ok=True)
    scenes = [_Scene(seed, split, k) for split, n in counts.items() for k in range(n)]
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=root))
    try:
        points = _write_scenes(partial / "scans", scenes, num_workers)
        for split in counts:
            names = [f"{scene.name}\n" for scene in scenes if scene.split == split]
            (partial / f"scannetv2_{split}.txt").write_text("".join(names), encoding="utf-8")
        summary = {**settings, "num_points": sum(points)}
        (partial / MARKER).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        _move_into_place(partial, root, settings)
    finally:
        shutil.rmtree(partial)
    return root


def _check_counts(counts: dict[str, int]) -> None:
    ends = [*list(_FIRST_SCENE.values())[1:], 10000]
    for (split, count), end in zip(counts.items(), ends, strict=True):
        room = end - _FIRST_SCENE[split]
        if not 0 <= count <= room:
            raise ValueError(f"num_{split} must be in 0..{room}; got {count}")


def _is_complete(root: Path, settings: dict[str, int]) -> bool:
    marker = root / MARKER
    if not marker.is_file():
        return False
    found = json.loads(marker.read_text(encoding="utf-8"))
    return settings.items() <= found.items()


def _move_into_place(partial: Path, root: Path, settings: dict[str, int]) -> None:
    """Swap the new set in: the old marker goes first, the new one comes last."""
    if _is_complete(root, settings):
        return  # another process was faster
    (root / MARKER).unlink(missing_ok=True)
    if (root / "scans").exists():
        shutil.rmtree(root / "scans")
    for path in sorted(partial.iterdir(), key=lambda path: path.name == MARKER):
        path.replace(root / path.name)


def _write_scenes(scans: Path, scenes: Sequence[_Scene], num_workers: int | None) -> list[int]:
    """Write every scene; returns their numbers of points."""
    num_workers = os.cpu_count() if num_workers is None else num_workers
    progress = Progress(console=Console(stderr=True), transient=True)
    with progress:
        task = progress.add_task("rooms", total=len(scenes))
        points = []
        for count in _results(scans, scenes, num_workers or 0):
            points.append(count)
            progress.advance(task)
    return points


def _results(scans: Path, scenes: Sequence[_Scene], num_workers: int) -> Iterator[int]:
    if num_workers == 0:
        yield from (_write(scans, scene) for scene in scenes)
        return
    # A forked child would inherit the locks of the threads that the parent may run.
    pool = ProcessPoolExecutor(num_workers, mp_context=get_context("spawn"))
    try:
        futures = [pool.submit(_write, scans, scene) for scene in scenes]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _write(scans: Path, scene: _Scene) -> int:
    """Generate one scene. Everything in it follows from seed, split and index."""
    split = list(_FIRST_SCENE).index(scene.split)
    rng = np.random.default_rng((scene.seed, split, scene.index))
    room = furnish(rng, scene.index)
    points = scan(rng, room)
    write_scene(scans / scene.name, room, points)
    return len(points.xyz)


def main(arguments: Sequence[str]) -> int:
    """Run from a command line of `key=value` arguments; returns the exit status."""
    console = Console(stderr=True)
    try:
        root, numbers = _parse(arguments)
        generate(root, **numbers)
    except (ValueError, FileExistsError) as error:
        console.print(f"data_prep.synthetic: {error}", style="red", markup=False)
        return 2
    console.print(f"{root}: {(root / MARKER).read_text(encoding='utf-8')}", markup=False)
    return 0


_INTEGERS = ("num_train", "num_val", "num_test", "seed", "num_workers")


def _parse(arguments: Sequence[str]) -> tuple[Path, dict[str, int]]:
    """The folder and the integers that are given on the command line."""
    out, numbers = "", {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in ("out", *_INTEGERS):
            known = ", ".join(("out", *_INTEGERS))
            raise ValueError(
                f"unknown argument {argument!r}; expected key=value with one of {known}"
            )
        if key == "out":
            out = value
        elif value.removeprefix("-").isdecimal():
            numbers[key] = int(value)
        else:
            raise ValueError(f"{key} must be an integer; got {value!r}")
    if not out:
        raise ValueError("out=PATH is missing: the folder to write the rooms to")
    return Path(out), numbers


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
