"""Generated data sets in the layouts of real ones: `python -m data_prep.synthetic out=PATH`.

Keys:
    kind: rooms (ScanNet's raw layout, the default), s3dis (offices in S3DIS's layout) or streets
        (LiDAR scans in SemanticKITTI's layout).
    out: the folder to write to.
    Any other key is a parameter of the kind's function: `generate`, `generate_s3dis`,
    `generate_streets`. docs/synthetic.md says what comes out.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from data_prep.rooms.layout import furnish
from data_prep.rooms.models import ModelLibrary, open_library, with_models
from data_prep.rooms.offices import OFFICE_ROOMS, furnish_office
from data_prep.rooms.s3dis import room_names, write_alignment, write_room
from data_prep.rooms.scanner import scan
from data_prep.rooms.writer import write_scene
from data_prep.streets.sensor import Beams
from data_prep.streets.sequence import Drive, write_scan, write_sequence
from data_prep.whole_set import MARKER, SetPlan, write_set

VERSION = 2
"""Of the generator of rooms. Count it up with every change that changes the rooms."""
S3DIS_VERSION = 1
STREETS_VERSION = 1
# Numbers of the first scene of each split: scenes of different splits never share a number, and
# a scene's name does not depend on how many there are.
_FIRST_SCENE = {"train": 0, "val": 5000, "test": 7500}
_NUM_AREAS = 6
_AREA_PITCH = 12.0  # metres between the rooms of an area
# SemanticKITTI's official split.
_SEQUENCES = {"train": (0, 1, 2, 3, 4, 5, 6, 7, 9, 10), "val": (8,), "test": tuple(range(11, 22))}
# Besides the seed, so that no two random streams of the kinds are the same.
_S3DIS_STREAM, _MODELS_STREAM = 100, 1


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
    meshes: str | Path | None = None,
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
        meshes: folder of OBJ models that take the place of furniture (`data_prep.rooms.models`).

    Returns:
        `root`.

    Raises:
        ValueError: a negative seed, a count that is negative or beyond the scene numbers of its
            split, a damaged model.
        FileExistsError: `root` holds scans that this program did not write.
    """
    counts = {"train": num_train, "val": num_val, "test": num_test}
    ends = [*list(_FIRST_SCENE.values())[1:], 10000]
    for (split, count), end in zip(counts.items(), ends, strict=True):
        _check_range(f"num_{split}", count, 0, end - _FIRST_SCENE[split])
    _check_range("seed", seed, 0)
    library = None if meshes is None else open_library(meshes)
    scenes = [_Scene(seed, split, k) for split, n in counts.items() for k in range(n)]

    def write_lists(folder: Path) -> None:
        for split in counts:
            names = [f"{scene.name}\n" for scene in scenes if scene.split == split]
            (folder / f"scannetv2_{split}.txt").write_text("".join(names), encoding="utf-8")

    plan = SetPlan(
        noun="rooms",
        settings={
            "version": VERSION,
            "seed": seed,
            **{f"num_{split}": count for split, count in counts.items()},
            **_library_settings(library),
        },
        folders=("scans",),
        jobs=[partial(_write_scene, scene, library) for scene in scenes],
        finish=write_lists,
    )
    return write_set(root, plan, num_workers)


def generate_s3dis(
    root: str | Path,
    num_rooms: int = 6,
    seed: int = 0,
    num_workers: int | None = None,
    meshes: str | Path | None = None,
) -> Path:
    """Generate six areas of offices in S3DIS's layout, unless they are there already.

    A room depends on nothing but seed, area and index.

    Args:
        root: folder of the set: `Area_1/` to `Area_6/` and `synthetic.json`.
        num_rooms: rooms of each area; their types take turns.
        seed: of the rooms, not negative.
        num_workers: as in `generate`.
        meshes: as in `generate`.

    Returns:
        `root`.

    Raises:
        ValueError: a negative number, a damaged model.
        FileExistsError: `root` holds areas that this program did not write.
    """
    _check_range("num_rooms", num_rooms, 0)
    _check_range("seed", seed, 0)
    library = None if meshes is None else open_library(meshes)
    kinds = [list(OFFICE_ROOMS)[k % len(OFFICE_ROOMS)] for k in range(num_rooms)]
    names = room_names(kinds)
    areas = {f"Area_{number}": number for number in range(1, _NUM_AREAS + 1)}

    def write_alignments(folder: Path) -> None:
        for area, number in areas.items():
            angles = {name: _angle(seed, number, k) for k, name in enumerate(names)}
            write_alignment(folder / area / f"{area}_alignmentAngle.txt", area, angles)

    plan = SetPlan(
        noun="rooms",
        settings={
            "kind": "s3dis",
            "version": S3DIS_VERSION,
            "seed": seed,
            "num_rooms": num_rooms,
            **_library_settings(library),
        },
        folders=tuple(areas),
        jobs=[
            partial(_write_office, f"{area}/{name}", (seed, number, k), library)
            for area, number in areas.items()
            for k, name in enumerate(names)
        ],
        finish=write_alignments,
    )
    return write_set(root, plan, num_workers)


def generate_streets(
    root: str | Path,
    num_train: int = 80,
    num_val: int = 10,
    num_test: int = 10,
    seed: int = 0,
    num_workers: int | None = None,
    num_azimuths: int = 2000,
    step: float = 1.0,
) -> Path:
    """Generate LiDAR scans of streets in SemanticKITTI's layout, unless they are there already.

    The scans of a split are dealt to its official sequences in turn. Each sequence is a street that
    is driven along. A scan depends on nothing but seed, sequence, frame and the sensor: more scans
    leave the first ones as they are, byte for byte.

    Args:
        root: folder of the set: `sequences/` and `synthetic.json`.
        num_train: scans of sequences 00-07, 09 and 10.
        num_val: scans of sequence 08.
        num_test: scans of sequences 11-21; they come with labels, too.
        seed: of the streets, not negative.
        num_workers: as in `generate`.
        num_azimuths: rays of a beam in a turn. 2000 is a real sensor's number.
        step: metres between scans.

    Returns:
        `root`.

    Raises:
        ValueError: a number out of range.
        FileExistsError: `root` holds sequences that this program did not write.
    """
    counts = {"train": num_train, "val": num_val, "test": num_test}
    for split, count in counts.items():
        _check_range(f"num_{split}", count, 0)
    _check_range("seed", seed, 0)
    beams, lengths = Beams(num_azimuths), _deal(counts)
    drives = {sequence: Drive(seed, sequence, step) for sequence in lengths}
    for sequence, drive in drives.items():
        drive.check_length(lengths[sequence])

    def write_sequences(folder: Path) -> None:
        for sequence, drive in drives.items():
            write_sequence(folder, drive, lengths[sequence])

    plan = SetPlan(
        noun="scans",
        settings={
            "kind": "streets",
            "version": STREETS_VERSION,
            "seed": seed,
            **{f"num_{split}": count for split, count in counts.items()},
            "num_azimuths": num_azimuths,
            "step": float(step),
        },
        folders=("sequences",),
        jobs=[
            partial(write_scan, drive=drive, frame=frame, beams=beams)
            for sequence, drive in drives.items()
            for frame in range(lengths[sequence])
        ],
        finish=write_sequences,
    )
    return write_set(root, plan, num_workers)


def _deal(counts: Mapping[str, int]) -> dict[int, int]:
    """Number of scans of every sequence."""
    lengths = {}
    for split, sequences in _SEQUENCES.items():
        for k, sequence in enumerate(sequences):
            lengths[sequence] = len(range(k, counts[split], len(sequences)))
    return dict(sorted(lengths.items()))


def _check_range(name: str, number: int, low: int, high: int | None = None) -> None:
    if number < low or (high is not None and number > high):
        expected = f"at least {low}" if high is None else f"in {low}..{high}"
        raise ValueError(f"{name} must be {expected}; got {number}")


def _library_settings(library: ModelLibrary | None) -> dict[str, Any]:
    if library is None:
        return {}
    return {"meshes": {"num_models": len(library), "sha256": library.digest}}


def _write_scene(scene: _Scene, library: ModelLibrary | None, folder: Path) -> int:
    """Generate one scene. Everything in it follows from seed, split and index, and the models."""
    seeds = (scene.seed, list(_FIRST_SCENE).index(scene.split), scene.index)
    rng = np.random.default_rng(seeds)
    room = furnish(rng, scene.index)
    if library is not None:
        room = with_models(np.random.default_rng((*seeds, _MODELS_STREAM)), room, library)
    points = scan(rng, room)
    write_scene(folder / "scans" / scene.name, room, points)
    return len(points.xyz)


def _write_office(
    name: str, seeds: tuple[int, int, int], library: ModelLibrary | None, folder: Path
) -> int:
    """Generate one room of S3DIS's layout from seed, area and index, and the models."""
    seed, area, index = seeds
    rng = np.random.default_rng((seed, _S3DIS_STREAM + area, index))
    kind = list(OFFICE_ROOMS)[index % len(OFFICE_ROOMS)]
    room = furnish_office(rng, kind)
    if library is not None:
        models = np.random.default_rng((seed, _S3DIS_STREAM + area, index, _MODELS_STREAM))
        room = with_models(models, room, library)
    turn = np.radians(_angle(*seeds))
    points = scan(rng, room, highest=np.radians(80.0), turn=turn)
    corner = _AREA_PITCH * (index % 8), _AREA_PITCH * (index // 8)
    write_room(folder / name, room, points, corner)
    return len(points.xyz)


def _angle(seed: int, area: int, index: int) -> int:
    """Whole degrees by which a room of S3DIS's layout is turned."""
    return int(np.random.default_rng((seed, _S3DIS_STREAM + area, index, 2)).integers(360))


_KINDS: Mapping[str, Callable[..., Path]] = {
    "rooms": generate,
    "s3dis": generate_s3dis,
    "streets": generate_streets,
}


def main(arguments: Sequence[str]) -> int:
    """Run from a command line of `key=value` arguments; returns the exit status."""
    console = Console(stderr=True)
    try:
        kind, root, options = _parse(arguments)
        _KINDS[kind](root, **options)
    except (ValueError, OSError) as error:
        console.print(f"data_prep.synthetic: {error}", style="red", markup=False)
        return 2
    console.print(f"{root}: {(root / MARKER).read_text(encoding='utf-8')}", markup=False)
    return 0


def _parse(arguments: Sequence[str]) -> tuple[str, Path, dict[str, Any]]:
    """The kind, the folder, and the options of the kind that are given on the command line."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    kind = given.pop("kind", "rooms")
    if kind not in _KINDS:
        raise ValueError(f"kind={kind} is unknown; expected one of {', '.join(_KINDS)}")
    parameters = dict(inspect.signature(_KINDS[kind]).parameters)
    del parameters["root"]
    for key in given:
        if key not in ("out", *parameters):
            known = ", ".join(("kind", "out", *parameters))
            shown = next(argument for argument in arguments if argument.startswith(key))
            raise ValueError(f"unknown argument {shown!r}; expected key=value with one of {known}")
    root = given.pop("out", "")
    if not root:
        raise ValueError("out=PATH is missing: the folder to write to")
    options = {key: _value(key, text, parameters[key].default) for key, text in given.items()}
    return kind, Path(root), options


def _value(key: str, text: str, default: int | float | None) -> int | float | str:
    """An option's value, of the type of its default; `num_workers` has none."""
    if key == "meshes":
        return text
    number = float if isinstance(default, float) else int
    try:
        return number(text)
    except ValueError:
        expected = "a number" if number is float else "an integer"
        raise ValueError(f"{key} must be {expected}; got {text!r}") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
