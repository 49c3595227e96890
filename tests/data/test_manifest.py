"""Sizes of scenes, and when they are measured again."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from pc3d.data.datasets import ScanNet, SemanticKITTI
from pc3d.data.manifest import scene_sizes
from pc3d.data.voxelize import Voxelize


class Counting(ScanNet):
    """Remembers which scenes were read."""

    def __init__(self, root):
        super().__init__(root)
        self.seen = []

    def read(self, scene, split):
        self.seen.append(scene)
        return super().read(scene, split)


def test_sizes_agree_with_voxelization(kitti_root, tmp_path):
    reader = SemanticKITTI(kitti_root, sequences={"train": ["00"]})
    sizes = scene_sizes(reader, "train", 5.0, tmp_path)
    voxelize = Voxelize(voxel_size=5.0, features=("xyz",))
    scenes = [reader.read(scene, "train") for scene in reader.scenes("train")]
    assert [s.num_points for s in sizes] == [len(s) for s in scenes] == [50, 51, 52]
    assert [s.num_voxels for s in sizes] == [voxelize(s).num_voxels for s in scenes]


def test_only_changed_scenes_are_measured_again(scannet_root, tmp_path, write_scannet_scene):
    reader = Counting(scannet_root)
    first = scene_sizes(reader, "train", 0.5, tmp_path)
    assert reader.seen == ["scene0000_00", "scene0001_01"]
    assert scene_sizes(reader, "train", 0.5, tmp_path) == first
    assert len(reader.seen) == 2
    write_scannet_scene(scannet_root / "scans", "scene0001_01", 33, np.full(33, 5))
    write_scannet_scene(scannet_root / "scans", "scene0002_00", 21, np.full(21, 5))
    changed = scene_sizes(reader, "train", 0.5, tmp_path)
    assert reader.seen[2:] == ["scene0001_01", "scene0002_00"]
    assert changed[0] == first[0]
    assert [s.num_points for s in changed] == [60, 33, 21]


def test_a_touched_file_is_measured_again(scannet_root, tmp_path):
    reader = Counting(scannet_root)
    scene_sizes(reader, "train", 0.5, tmp_path)
    os.utime(reader.source_files("scene0000_00")[0], ns=(1, 1))
    scene_sizes(reader, "train", 0.5, tmp_path)
    assert reader.seen[2:] == ["scene0000_00"]


def test_voxel_size_split_and_root_have_their_own_files(scannet_root, tmp_path):
    reader = Counting(scannet_root)
    coarse = scene_sizes(reader, "train", 1.0, tmp_path)
    fine = scene_sizes(reader, "train", 0.1, tmp_path)
    scene_sizes(reader, "val", 0.1, tmp_path)
    assert coarse[0].num_voxels < fine[0].num_voxels
    assert len(list(tmp_path.glob("ScanNet-*.json")) + list(tmp_path.glob("Counting-*.json"))) == 3


def test_damaged_cache_is_replaced(scannet_root, tmp_path, caplog):
    reader = Counting(scannet_root)
    first = scene_sizes(reader, "train", 0.5, tmp_path)
    path = next(tmp_path.glob("Counting-*.json"))
    path.write_text(path.read_text()[:40])
    assert scene_sizes(reader, "train", 0.5, tmp_path) == first
    assert "damaged" in caplog.text
    json.loads(path.read_text())
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == [path.name]


def test_a_pool_of_processes_gives_the_same(scannet_root, tmp_path):
    reader = ScanNet(scannet_root)
    alone = scene_sizes(reader, "train", 0.5, tmp_path / "a")
    assert scene_sizes(reader, "train", 0.5, tmp_path / "b", num_workers=2) == alone


def test_a_bad_file_is_named_by_the_pool(scannet_root, tmp_path):
    path = ScanNet(scannet_root).source_files("scene0001_01")[0]
    path.write_bytes(b"ply\nnot really")
    with pytest.raises(ValueError, match=r"scene0001_01_vh_clean_2\.ply"):
        scene_sizes(ScanNet(scannet_root), "train", 0.5, tmp_path, num_workers=1)
