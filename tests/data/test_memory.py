"""What loading is said to need, beside batches as they are and systems as they could be."""

from __future__ import annotations

import pickle
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from pc3d.data import memory
from pc3d.data.collate import collate
from pc3d.data.datasets import ScanNet
from pc3d.data.features import num_channels
from pc3d.data.manifest import SceneSize
from pc3d.data.memory import Free, Load, Needed
from pc3d.data.samplers import exchange, pack
from pc3d.data.voxelize import Voxelize
from pc3d.data.workers import tensors_of

MIB, GIB = 2**20, 2**30


@pytest.mark.parametrize("features", [("color",), ("xyz", "normal", "height")], ids="+".join)
def test_bytes_of_a_batch_are_those_that_a_worker_sends(make_scene, features):
    voxelize = Voxelize(voxel_size=0.1, features=features)
    batch = collate([voxelize(make_scene(6000)), voxelize(make_scene(2500, seed=1))])
    size = SceneSize(8500, len(batch.voxels.coords))
    expected = memory.batch_bytes(size, num_channels(features))
    assert 2000 < size.num_voxels < 8000
    assert len(pickle.dumps(batch)) == pytest.approx(expected, rel=0.03)
    offsets_and_origins = 3 * 8 + 2 * 3 * 8
    assert sum(t.nbytes for t in tensors_of(batch)) == expected + offsets_and_origins


def test_the_largest_batch_in_numbers():
    sizes = [SceneSize(100, 50), SceneSize(90, 30), SceneSize(400, 100), SceneSize(10, 10)]
    # the two with most points, both whole: 400 + 100 points, 100 + 50 voxels
    assert memory.largest_batch(sizes, 1000, 2) == (500, 150)
    # cropped to 60 of 100 voxels the third has 240 points; no batch has more than 4 per voxel
    assert memory.largest_batch(sizes, 60, 2) == (240, 60)
    assert memory.largest_batch(sizes, 1000, 1) == (400, 100)
    # cropped to half of its voxels, a scene has half of its points, though another is denser
    assert memory.largest_batch([SceneSize(400, 200), SceneSize(90, 30)], 100, 1) == (200, 100)


def test_no_batch_is_larger_than_the_largest():
    rng = np.random.default_rng(0)
    voxels = rng.integers(5, 100, 60)
    sizes = [
        SceneSize(int(v * r), int(v)) for v, r in zip(voxels, rng.uniform(1, 6, 60), strict=True)
    ]
    for max_voxels, max_scenes in ((60, 3), (150, 2), (400, 9)):
        most = memory.largest_batch(sizes, max_voxels, max_scenes)
        cropped = [min(size.num_voxels, max_voxels) for size in sizes]
        packed = pack(cropped, max_voxels, max_scenes)
        for batch in exchange(packed, cropped, max_voxels, rng):
            points = sum(sizes[i].num_points * cropped[i] / sizes[i].num_voxels for i in batch)
            assert sum(cropped[i] for i in batch) <= most.num_voxels
            assert points <= most.num_points + 1


def test_the_largest_scene_is_that_of_the_largest_files(scannet_root, write_scannet_scene):
    write_scannet_scene(scannet_root / "scans", "scene0000_01", 90, np.full(90, 3), seed=4)
    reader = ScanNet(scannet_root)
    assert memory.largest_scene(reader, "train") == Load(SceneSize(90, 90), 90)
    assert memory.largest_scene(reader, "test").num_points == 60
    shutil.rmtree(scannet_root / "scans_test")
    with pytest.raises(ValueError, match="split 'test' has no scenes"):
        memory.largest_scene(reader, "test")


def test_what_loading_needs_in_numbers():
    one = 36 * 1000 + (32 + 4 * 3) * 400
    work = 2 * one + 200 * 5000
    loads = [Load(SceneSize(1000, 400), 5000)]
    assert memory.needed_bytes(loads, 3, num_workers=0) == (work, 0)
    shm = 7 * one  # two batches for each of three workers, and the one in use
    expected = Needed(3 * (50 * MIB + work) + shm, shm)
    assert memory.needed_bytes(loads, 3, num_workers=3) == expected
    loaded = [loads[0]._replace(more_per_point=16)]
    assert memory.needed_bytes(loaded, 3, num_workers=0) == (work + 2 * 16 * 1000, 0)
    assert memory.needed_bytes(loads * 2, 3, 3, num_processes=2) == (4 * expected.ram, 4 * shm)


def system(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal: 9000 kB\nMemFree: 100 kB\nMemAvailable:    5000 kB\n"}
VERSION_2 = {
    **MEMINFO,
    "proc/self/cgroup": "0::/job/step\n",
    "sys/fs/cgroup/job/step/memory.max": "max\n",
    "sys/fs/cgroup/job/step/memory.current": "7\n",
    "sys/fs/cgroup/job/memory.max": "3000000\n",
    "sys/fs/cgroup/job/memory.current": "2000000\n",
    "sys/fs/cgroup/job/memory.stat": "inactive_anon 77\ninactive_file 400000\nactive_file 3\n",
}
VERSION_1 = {
    **MEMINFO,
    "proc/self/cgroup": "5:cpu,cpuacct:/\n4:memory:/docker/1a:b\n0::/\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "1000000\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "700000\n",
    "sys/fs/cgroup/memory/memory.stat": "inactive_file 1\ntotal_rss 9\ntotal_inactive_file 50000\n",
}
NO_LIMIT = {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}
OVERDRAWN = {"sys/fs/cgroup/job/memory.current": "9000000\n"}


@pytest.mark.parametrize(
    "files, ram",
    [
        (MEMINFO, 5000 * 1024),
        (VERSION_2, 3_000_000 - 2_000_000 + 400_000),
        (VERSION_1, 1_000_000 - 700_000 + 50_000),
        (VERSION_1 | NO_LIMIT, 5000 * 1024),
        (VERSION_2 | OVERDRAWN, 0),
        (VERSION_2 | {"sys/fs/cgroup/job/step/memory.max": "8\n"}, 1),
        ({}, None),
    ],
    ids=["no group", "version 2", "version 1", "no limit", "overdrawn", "inner", "no Linux"],
)
def test_free_memory_is_within_the_limits_of_all_groups(tmp_path, files, ram):
    assert memory.free_bytes(system(tmp_path, files)) == Free(ram, None)


def test_free_shared_memory_is_that_of_its_file_system(tmp_path, monkeypatch):
    (tmp_path / "dev" / "shm").mkdir(parents=True)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: {tmp_path / "dev" / "shm": usage(9, 4, 5)}[path]
    )
    assert memory.free_bytes(tmp_path).shm == 5


def test_this_system_says_something_or_nothing():
    free = memory.free_bytes()
    assert all(amount is None or amount > 0 for amount in free)


def test_the_report_says_both():
    text = memory.report(Needed(3 * GIB, 80 * MIB), Free(None, 64 * MIB))
    assert text == (
        "loading needs up to 3.0 GiB of RAM (free: unknown), of which 80 MiB in /dev/shm "
        "(free: 64 MiB)"
    )


@pytest.mark.parametrize(
    "free, parts",
    [
        (Free(None, None), None),
        (Free(3 * GIB, 80 * MIB), None),
        (Free(2 * GIB, 80 * MIB), ["RAM has 2.0 GiB left, and loading may need 3.0 GiB"]),
        (Free(None, 64 * MIB), ["/dev/shm has 64 MiB left", "need 80 MiB", "--shm-size"]),
        (Free(GIB, 64 * MIB), ["RAM has", "/dev/shm has", "--shm-size"]),
    ],
)
def test_a_shortage_names_what_to_lower(free, parts):
    text = memory.shortage(Needed(3 * GIB, 80 * MIB), free, ["num_workers (4)", "max_voxels (9)"])
    if parts is None:
        assert text is None
    else:
        assert all(part in text for part in [*parts, "lower num_workers (4) or max_voxels (9)"])
        assert ("--shm-size" in text) == ("--shm-size" in parts)


def test_what_cannot_be_lowered_is_not_named():
    text = memory.shortage(Needed(GIB, 0), Free(MIB, 0), [])
    assert "1.0 GiB" in text and "lower" not in text and "shm" not in text
