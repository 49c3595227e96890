"""What point files hold and what they are taken for, before anything is prepared from them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from pc3d.data.columns import FIELDS, to_arrays
from pc3d.data.datasets.base import SPLITS
from pc3d.data.datasets.custom import DescribedFile, Listing, PointFiles
from pc3d.data.datasets.description import Description
from pc3d.data.datasets.layout import unlabelled_sample
from pc3d.data.features import FEATURES
from pc3d.data.sample import bounds
from pc3d.io.cloud import Chunk
from pc3d.utils.parallel import parallel_map

_MANY_POINTS = 2_000_000
_MAX_SIDE = 20_000.0  # metres
_MIN_SIDE = 0.5
_CELL = 1.0  # metres
_CELLS_PER_SIDE = 50
_VOXEL_SIZES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)  # metres


class Shape(NamedTuple):
    """Where the points of a file are.

    Attributes:
        num_points: how many.
        size: metres, along x, y and z.
        density: points per square metre of the ground that has any.
    """

    num_points: int
    size: tuple[float, ...]
    density: float


@dataclass
class FileFacts:
    """What a file holds, as far as it can be read.

    Attributes:
        path: from the folder of the data.
        splits: those that it is in.
        shape: where its points are.
        fields: from fields to the columns that they are made of.
        unused: columns that nothing is made of.
        intensity: smallest and largest, as it is read.
        labels: points of every id, as the file has them.
        remarks: what was assumed or looks odd, a sentence each.
        problems: what is wrong, a sentence each.
    """

    path: str
    splits: tuple[str, ...]
    shape: Shape | None = None
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    intensity: tuple[float, float] | None = None
    labels: Counter[int] | None = None
    remarks: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def survey_file(listing: Listing, job: tuple[str, tuple[str, ...]]) -> FileFacts:
    """Look at a file, in two passes and parts. What cannot be read is a problem.

    Args:
        listing: of the folder.
        job: the scene that the file is, and the splits that it is in.
    """
    scene, splits = job
    path = listing.file_of[scene]
    facts = FileFacts(path.relative_to(listing.root).as_posix(), splits)
    try:
        file = PointFiles(listing).open(scene)
        facts.fields = file.fields
        facts.unused = [name for name in file.cloud.columns if name not in file.columns]
        facts.remarks += file.cloud.remarks
        _look(file, facts)
    except (ValueError, OSError) as error:
        facts.problems.append(str(error))
        return facts
    _judge(facts, listing.description, path)
    return facts


def _look(file: DescribedFile, facts: FileFacts) -> None:
    """Find shape, labels and ranges.

    Raises:
        ValueError: a file that could not be prepared either, whatever the description says of ids.
    """
    num_points, low, high = 0, np.full(3, np.inf), np.full(3, -np.inf)

    def extend(chunk: Chunk) -> None:
        nonlocal num_points, low, high
        if not np.isfinite(chunk.xyz).all():
            raise ValueError(f"{file.cloud.path}: NaN or infinite coordinates. Remove such points")
        corners = bounds(chunk.xyz)
        low, high = np.minimum(low, corners[0]), np.maximum(high, corners[1])
        num_points += len(chunk.xyz)

    scales, remarks = file.scales(extend)
    side = float((high - low)[:2].max())
    cell = min(_CELL, side / _CELLS_PER_SIDE) or _CELL
    occupied = np.empty(0, np.int64)  # row and column of a cell in one number
    labels: Counter[int] = Counter()
    ranges = []
    for chunk in file.cloud.chunks(file.columns):
        arrays, found = to_arrays(
            chunk.xyz, chunk.columns, file.fields, scales, str(file.cloud.path)
        )
        unlabelled_sample(facts.path, arrays, [file.cloud.path])  # refuses bad values
        remarks += found
        cells = np.floor((chunk.xyz[:, :2] - low[:2]) / cell).astype(np.int64)
        occupied = np.union1d(occupied, (cells[:, 0] << 32) + cells[:, 1])
        if "label" in arrays:
            ids, counts = np.unique(arrays["label"], return_counts=True)
            labels.update(dict(zip(ids.tolist(), counts.tolist(), strict=True)))
        if "intensity" in arrays:
            ranges.append((float(arrays["intensity"].min()), float(arrays["intensity"].max())))
    density = num_points / (len(occupied) * cell**2)
    facts.shape = Shape(num_points, tuple((high - low).tolist()), density)
    facts.labels = labels if "label" in file.fields else None
    facts.intensity = (min(r[0] for r in ranges), max(r[1] for r in ranges)) if ranges else None
    facts.remarks += dict.fromkeys(remarks)


def _judge(facts: FileFacts, description: Description, path: Path) -> None:
    """Say what is odd, and what is wrong."""
    assert facts.shape is not None
    side = max(facts.shape.size)
    if not _MIN_SIDE <= side <= _MAX_SIDE:
        facts.remarks.append(f"extends over {side:,.3f} m. Are its coordinates metres?")
    unlabelled = [split for split in facts.splits if split != "test"]
    if facts.labels is None:
        if unlabelled:
            columns = [*(c for names in facts.fields.values() for c in names), *facts.unused]
            facts.problems.append(
                f"{path}: no labels, and only the test split does without. Its columns are "
                f"{', '.join(columns) or 'only x, y and z'}; say which holds labels: "
                "`columns: {label: ...}`"
            )
        return
    unknown = description.unknown_ids(facts.labels)
    if unknown:
        shown = ", ".join(f"{i} ({n:,} points)" for i, n in sorted(unknown.items())[:8])
        facts.problems.append(
            f"{path}: ids that {description.path} does not know: {shown}. Add them to a class, or "
            "to `ignore`"
        )
    scored = {i for c in description.classes for i in c.ids}
    if scored.isdisjoint(facts.labels):
        facts.remarks.append("no point is of any class")


def suggest_voxel_size(densities: Sequence[float]) -> float:
    """About twice the distance between points of the median file, which most networks do well at.

    Args:
        densities: points per square metre, at least one.
    """
    spacing = 1 / sqrt(float(np.median(densities)))
    return next((size for size in _VOXEL_SIZES if size >= 2 * spacing), _VOXEL_SIZES[-1])


def report(listing: Listing, tile: float | None, num_workers: int) -> int:
    """Look at all files of a folder and print what was found.

    Args:
        listing: of the folder.
        tile: metres, what files are going to be cut into.
        num_workers: processes; 0 works in this one.

    Returns:
        1 if anything is wrong, else 0.

    Raises:
        ValueError, FileNotFoundError: splits from which no file can be told.
    """
    splits: dict[str, tuple[str, ...]] = defaultdict(tuple)
    problems = []
    for split in SPLITS:
        try:
            for path in listing.files(split):
                splits[listing.name(path)] += (split,)
        except FileNotFoundError as error:
            if split != "test" or split in listing.patterns:
                problems.append(str(error))
    jobs = list(splits.items())
    files = list(parallel_map(partial(survey_file, listing), jobs, num_workers, "looking"))
    problems += [problem for facts in files for problem in facts.problems]
    console = Console(soft_wrap=True)
    console.print(f"{listing.root}, described by {listing.description.path}", markup=False)
    if files:
        console.print(_file_table(files))
        for facts in files:
            labels = _histogram(facts.labels, listing.description)
            console.print(f"{facts.path}: labels {labels}", markup=False)
        console.print(_column_table(files))
        console.print(_label_table(files, listing.description))
        for line in _advice(files, tile):
            console.print(line, markup=False)
    for problem in problems:
        console.print(problem, style="red", markup=False)
    console.print(f"{len(problems)} problems" if problems else "no problems found")
    return 1 if problems else 0


def _file_table(files: Sequence[FileFacts]) -> Table:
    table = Table()
    for column in ("file", "splits"):
        table.add_column(column, overflow="fold")
    for column in ("points", "size in m", "per m²", "intensity"):
        table.add_column(column, justify="right", no_wrap=True)
    for facts in files:
        cells = ["?"] * 4
        if facts.shape is not None:
            low, high = facts.intensity or (0.0, 0.0)
            cells = [
                f"{facts.shape.num_points:,}",
                " x ".join(_metres(side) for side in facts.shape.size),
                f"{facts.shape.density:,.1f}",
                f"{low:.3g}..{high:.3g}" if facts.intensity else "none",
            ]
        table.add_row(facts.path, ", ".join(facts.splits), *cells)
    return table


def _metres(side: float) -> str:
    return f"{side:,.0f}" if side >= 10 else f"{side:.2g}"


def _histogram(labels: Counter[int] | None, description: Description) -> str:
    if labels is None:
        return "none"
    shares: Counter[str] = Counter()
    for raw, number in labels.items():
        shares[_class_of(raw, description)] += number
    total = labels.total()
    return ", ".join(f"{name} {100 * n / total:.1f} %" for name, n in shares.most_common())


def _class_of(raw: int, description: Description) -> str:
    name = next((c.name for c in description.classes if raw in c.ids), None)
    if name is not None:
        return name
    return f"{raw} unknown" if description.unknown_ids({raw: 1}) else "ignored"


def _column_table(files: Sequence[FileFacts]) -> Table:
    """What columns are taken for, and in how many files."""
    counts: Counter[tuple[str, str]] = Counter()
    for facts in files:
        counts.update((name, ", ".join(columns)) for name, columns in facts.fields.items())
    table = Table("taken for", "columns", "files")
    for (name, columns), number in sorted(counts.items(), key=lambda c: FIELDS.index(c[0][0])):
        table.add_row(name, columns, str(number))
    unused = dict.fromkeys(name for facts in files for name in facts.unused)
    if unused:
        number = sum(bool(facts.unused) for facts in files)
        table.add_row("not used", ", ".join(unused), str(number))
    return table


def _label_table(files: Sequence[FileFacts], description: Description) -> Table:
    """Points of every id, by split."""
    totals = {
        split: sum((f.labels for f in files if split in f.splits and f.labels), Counter())
        for split in SPLITS
    }
    table = Table("id", "class")
    for split in SPLITS:
        table.add_column(f"{split} points", justify="right")
    raw_ids = {raw for counts in totals.values() for raw in counts}
    expected = {raw for c in description.classes for raw in c.ids}
    for raw in sorted(raw_ids | expected):
        unknown = bool(description.unknown_ids({raw: 1}))
        numbers = [f"{totals[split][raw]:,}" if totals[split][raw] else "" for split in SPLITS]
        style = "red" if unknown else None
        table.add_row(str(raw), _class_of(raw, description), *numbers, style=style)
    return table


def _advice(files: Sequence[FileFacts], tile: float | None) -> Iterable[str]:
    by_remark: dict[str, list[str]] = defaultdict(list)
    for facts in files:
        for remark in facts.remarks:
            by_remark[remark].append(facts.path)
    for remark, paths in by_remark.items():
        names = ", ".join(paths[:3]) + (f", ... ({len(paths)} files)" if len(paths) > 3 else "")
        yield f"{names}: {remark}"
    shapes = [facts.shape for facts in files if facts.shape is not None]
    if not shapes:
        return
    large = max(shape.num_points for shape in shapes)
    if large > _MANY_POINTS and tile is None:
        yield f"training reads scenes whole, and one has {large:,} points: cut them with tile=..."
    in_all = [
        name
        for name, feature in FEATURES.items()
        if feature.field == "xyz" or all(feature.field in facts.fields for facts in files)
    ]
    yield f"features that all files have: {', '.join(in_all)}"
    suggested = suggest_voxel_size([shape.density for shape in shapes])
    yield f"suggested: dataset.voxel_size={suggested:g}"
