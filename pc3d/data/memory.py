"""How much RAM and shared memory loading needs, and how much the system has left.

Workers hand batches over in shared memory, which is a file system of limited size (`/dev/shm`; 64
MiB in a Docker container unless it is told otherwise) and counts as RAM besides.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pc3d.data.datasets.base import SceneReader, listed_scenes
from pc3d.data.manifest import SceneSize

PREFETCH = 2
"""Batches that a worker has ready or in the making."""
BATCH_BYTES_PER_POINT = 36
"""Of a `Batch`: xyz 12, row 8, segment 8, point2voxel 8."""
BATCH_BYTES_PER_VOXEL = 32
"""Of a `Batch`, without features: indices 16, keys 8, segment 8."""
LOADING_BYTES_PER_POINT = 200
"""What reading, augmenting and voxelizing a scene takes at its peak, the result included: 182 to
210 bytes measured on rooms of 0.5 to 2 million points, with colour, under `augment=indoor`."""
WORKER_BYTES = 50 * 2**20
"""What a forked worker has for itself before it has read anything: 10 MiB measured, and more as it
touches what it shares with its parent."""


class Needed(NamedTuple):
    """Bytes that loading needs: `ram` of all processes together, of which `shm` in /dev/shm."""

    ram: int
    shm: int


class Free(NamedTuple):
    """Bytes that the system can give; None where it does not say."""

    ram: int | None
    shm: int | None


class Load(NamedTuple):
    """What a loader has to do at its hardest.

    Attributes:
        batch: the largest batch.
        num_points: of the largest scene, before it is cropped.
        more_per_point: bytes of a point in a batch, besides those of a `Batch`.
    """

    batch: SceneSize
    num_points: int
    more_per_point: int = 0


def largest_batch(sizes: Sequence[SceneSize], max_voxels: int, max_scenes: int) -> SceneSize:
    """What a training batch may hold at most, before augmentation.

    Args:
        sizes: of the scenes.
        max_voxels: budget of a batch, to which larger scenes are cropped.
        max_scenes: largest number of scenes in a batch.
    """
    cropped = [min(size.num_voxels, max_voxels) for size in sizes]
    points = [
        size.num_points * voxels / size.num_voxels
        for size, voxels in zip(sizes, cropped, strict=True)
    ]
    densest = max(size.num_points / size.num_voxels for size in sizes)
    num_voxels = min(max_voxels, sum(sorted(cropped)[-max_scenes:]))
    num_points = min(sum(sorted(points)[-max_scenes:]), densest * num_voxels)
    return SceneSize(round(num_points), num_voxels)


def largest_scene(reader: SceneReader, split: str) -> Load:
    """The load of single whole scenes: of the one whose files are the largest, and which is read.

    Raises:
        ValueError, FileNotFoundError: the split has no scenes, or the scene cannot be read.
    """
    scenes = listed_scenes(reader, split)

    def num_bytes(scene: str) -> int:
        return sum(path.stat().st_size for path in reader.source_files(scene) if path.exists())

    num_points = len(reader.read(max(scenes, key=num_bytes), split))
    return Load(SceneSize(num_points, num_voxels=num_points), num_points)


def batch_bytes(size: SceneSize, num_channels: int) -> int:
    """Bytes of the tensors of a `Batch` of this size."""
    per_voxel = BATCH_BYTES_PER_VOXEL + 4 * num_channels
    return BATCH_BYTES_PER_POINT * size.num_points + per_voxel * size.num_voxels


def needed_bytes(
    loads: Sequence[Load], num_channels: int, num_workers: int, num_processes: int = 1
) -> Needed:
    """What loading needs at most on this machine.

    Args:
        loads: one for every loader whose workers are there at the same time.
        num_channels: of the voxel features.
        num_workers: of every loader; 0 loads in the process itself, without shared memory.
        num_processes: that load, besides their workers.
    """
    ram = shm = 0
    for batch, num_points, more_per_point in loads:
        one = batch_bytes(batch, num_channels) + more_per_point * batch.num_points
        # While scenes are put together, a batch is there twice.
        at_work = 2 * one + LOADING_BYTES_PER_POINT * num_points
        if num_workers == 0:
            ram += at_work
        else:
            handed_over = one * (PREFETCH * num_workers + 1)  # and the one that is being used
            shm += handed_over
            ram += handed_over + num_workers * (WORKER_BYTES + at_work)
    return Needed(num_processes * ram, num_processes * shm)


def free_bytes(root: Path = Path("/")) -> Free:
    """What the system can still give, within the limits of the control groups of this process.

    Args:
        root: of the file system.
    """
    shm = root / "dev/shm"
    return Free(
        ram=min([*_available(root), *_group_rooms(root)], default=None),
        shm=shutil.disk_usage(shm).free if shm.is_dir() else None,
    )


def report(needed: Needed, free: Free) -> str:
    """What loading needs, beside what is free."""
    return (
        f"loading needs up to {show(needed.ram)} of RAM (free: {show(free.ram)}), of which "
        f"{show(needed.shm)} in /dev/shm (free: {show(free.shm)})"
    )


def shortage(needed: Needed, free: Free, levers: Sequence[str]) -> str | None:
    """A warning if more is needed than is free; None if not, or where that is unknown.

    Args:
        needed: by loading.
        free: in the system.
        levers: what can be lowered, with its values.
    """
    lacking = [
        f"{name} has {show(have)} left, and loading may need {show(want)}"
        for name, want, have in (("RAM", needed.ram, free.ram), ("/dev/shm", needed.shm, free.shm))
        if have is not None and want > have
    ]
    if not lacking:
        return None
    advice = [f"lower {' or '.join(levers)}"] if levers else ["free some, or cut large scenes"]
    if lacking[-1].startswith("/dev/shm"):
        advice.append("make /dev/shm larger (docker run --shm-size=...)")
    return f"{'; '.join(lacking)}: processes may be killed; {', or '.join(advice)}"


def show(num_bytes: int | None) -> str:
    """A number of bytes for people."""
    if num_bytes is None:
        return "unknown"
    return f"{num_bytes / 2**30:.1f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.0f} MiB"


def _available(root: Path) -> Iterator[int]:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _group_rooms(root: Path) -> Iterator[int]:
    """Bytes that every control group around this process may still use, of either version."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            folder, names = (
                root / "sys/fs/cgroup",
                ("memory.max", "memory.current", "inactive_file"),
            )
        elif "memory" in controllers.split(","):
            folder = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = folder / path.lstrip("/")
        # Within a container the path may be that of the host: then only the root is there.
        for level in (group, *group.parents):
            if level.is_relative_to(folder):
                yield from _room(level, *names)


def _room(group: Path, limit: str, usage: str, reclaimable: str) -> Iterator[int]:
    limits, used = _lines(group / limit), _lines(group / usage)
    if not limits or not used or limits[0] == "max":
        return
    cached = [
        line.split()[1]
        for line in _lines(group / "memory.stat")
        if line.startswith(f"{reclaimable} ")
    ]
    yield max(0, int(limits[0]) - int(used[0]) + sum(map(int, cached)))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux, or not for us to know
        return []
