"""What may be wrong with a scene, or with the scenes of a split together."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pc3d.data.datasets.custom import Custom
from pc3d.data.datasets.reader import LayoutReader
from pc3d.data.datasets.s3dis import ReleasedS3DIS
from pc3d.data.datasets.scannet_released import ReleasedScanNet
from pc3d.data.sample import PointSample, bounds
from pc3d.data.spec import DatasetSpec
from pc3d.data.specs import SCANNET20
from pc3d.io.s3dis import count_points

_MAX_ROOM = 100.0  # metres
_MIN_ROOM = 0.5
_MAX_RANGE = 500.0
_MAX_SITE = 20_000.0


@dataclass(frozen=True)
class SceneFacts:
    """What one scene looks like.

    Attributes:
        scene: its name.
        split: its split.
        num_points: number of points; 0 if it cannot be read.
        labels: [C] points of every class, or None without labels.
        digest: of the coordinates, so that copies are found.
        problems: what is wrong, a sentence each.
    """

    scene: str
    split: str
    num_points: int
    labels: NDArray[np.int64] | None
    digest: str
    problems: tuple[str, ...]


def check_scene(reader: LayoutReader, scene: str, split: str) -> SceneFacts:
    """Read a scene and look at it. What cannot be read is a problem, not an error."""
    try:
        sample = reader.read(scene, split)
    except (ValueError, OSError) as error:
        return SceneFacts(scene, split, 0, None, "", (str(error),))
    is_scan = sample.color is None and sample.intensity is not None
    largest = 2 * _MAX_RANGE if is_scan else _MAX_ROOM
    if isinstance(reader, Custom):
        is_scan, largest = reader.spec.sensor == "lidar", _MAX_SITE
    problems = [f"{scene}: {problem}" for problem in _problems(sample, is_scan, largest)]
    layout = reader.layout
    try:
        if isinstance(layout, ReleasedS3DIS):
            problems += _points_left_out(layout, scene, len(sample))
        if isinstance(layout, ReleasedScanNet) and reader.spec is SCANNET20:
            problems += _labels_of_another_release(layout, scene, sample)
    except (ValueError, OSError) as error:
        problems.append(str(error))
    return SceneFacts(
        scene,
        split,
        len(sample),
        class_counts(sample.segment, reader.spec),
        hashlib.sha256(sample.xyz.tobytes()).hexdigest(),
        tuple(problems),
    )


def class_counts(segment: NDArray[np.int64] | None, spec: DatasetSpec) -> NDArray[np.int64] | None:
    """[C] labelled points of every class; None without labels."""
    if segment is None:
        return None
    return np.bincount(segment[segment >= 0], minlength=spec.num_classes)


def _problems(sample: PointSample, is_scan: bool, largest: float) -> Iterable[str]:
    low_corner, high_corner = bounds(sample.xyz)
    extent = float((high_corner - low_corner).max())
    if extent > largest:
        yield f"extends over {extent:,.0f} m. Are its coordinates millimetres? Expected metres"
    elif extent < _MIN_ROOM:
        yield f"extends over {extent:.3f} m only. Expected metres"
    if sample.color is not None:
        low, high = float(sample.color.min()), float(sample.color.max())
        if low < 0 or high > 255:
            yield f"colours lie in {low:g}..{high:g}; expected 0..255"
        elif high <= 1 and len(sample) > 100:
            yield f"colours lie in {low:g}..{high:g}: 0..1 instead of 0..255, or all black"
    if sample.intensity is not None and float(sample.intensity.max()) > 1:
        yield f"intensity reaches {float(sample.intensity.max()):g}; expected 0..1. Divide by 255?"
    if sample.normal is not None:
        length = np.linalg.norm(sample.normal, axis=1)
        bent = float((np.abs(length - 1) > 0.01).mean())
        if bent > 0.01:
            yield f"{bent:.1%} of the normals are not unit vectors"
    copies = 1 - len(np.unique(sample.xyz, axis=0)) / len(sample)
    if copies > 0.05:
        yield f"{copies:.1%} of the points stand at the same place as another"
    zero = int((sample.xyz == 0).all(axis=1).sum())
    if is_scan and zero > 1:
        yield f"{zero} points at the sensor itself: missing returns that should be left out"
    if sample.segment is not None and not (sample.segment >= 0).any():
        yield "no point has a label"


def _points_left_out(layout: ReleasedS3DIS, scene: str, num_points: int) -> Iterable[str]:
    """Points of a room that belong to none of its objects; only objects are read."""
    room = layout.root / scene
    path = room / f"{room.name}.txt"
    if not path.is_file():
        return  # missing or misnamed in places; nothing reads it
    total = count_points(path)
    if total != num_points:
        yield f"{scene}: {path.name} has {total:,} points, its objects together {num_points:,}"


def _labels_of_another_release(
    layout: ReleasedScanNet, scene: str, sample: PointSample
) -> Iterable[str]:
    """Whether `.labels.ply` says what the marked objects say; that of release v1 does not."""
    other = replace(layout, labels="aggregation")
    if sample.segment is None or not all(path.exists() for path in other.files(scene)[1:3]):
        return
    marked = other.arrays(scene)["segment20"]
    both = (sample.segment >= 0) & (marked >= 0)
    agreement = float((sample.segment == marked)[both].mean()) if both.any() else 1.0
    if agreement < 0.9:
        yield (
            f"{layout.label_path(scene)}: agrees with the marked objects at {agreement:.0%} of the "
            "points only. Labels of release v1 have other ids: download those of v2"
        )


def check_splits(
    scenes: Mapping[str, Sequence[str]], facts: Iterable[SceneFacts], place_of: Mapping[str, str]
) -> list[str]:
    """Scenes that two splits share, by name, by place, and by content.

    Args:
        scenes: names by split.
        facts: of scenes that were read.
        place_of: from a scene to the place that it shows, where several scenes show one.

    Returns:
        A sentence for each pair of splits that shares something. Two splits of the same scenes,
        such as validation and test of S3DIS, are one.
    """
    problems = []
    digests: dict[str, set[str]] = defaultdict(set)
    for fact in facts:
        if fact.digest:
            digests[fact.split].add(fact.digest)
    for one, other in combinations(scenes, 2):
        if set(scenes[one]) == set(scenes[other]):
            continue
        shared = sorted(set(scenes[one]) & set(scenes[other]))
        if shared:
            problems.append(_leak(one, other, f"{len(shared)} scenes", shared))
        places = [{place_of.get(s, s) for s in scenes[split]} for split in (one, other)]
        same = sorted((places[0] & places[1]) - set(shared))
        if same:
            problems.append(_leak(one, other, f"{len(same)} places", same))
        copies = len(digests[one] & digests[other])
        if copies and not shared:
            problems.append(f"{one} and {other} share {copies} scenes of the same coordinates")
    return problems


def _leak(one: str, other: str, what: str, names: Sequence[str]) -> str:
    return f"{one} and {other} share {what}: {', '.join(names[:5])}. Scores would be too good"
