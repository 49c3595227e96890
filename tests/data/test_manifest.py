"""Sizes of scenes, and when they are measured again."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest

from pc3d.data.datasets import S3DIS, ScanNet, SemanticKITTI
from pc3d.data.manifest import class_counts, largest_extent, scene_sizes
from pc3d.data.voxelize import Voxelize
from tests.data.fixtures import tsv, write_annotated_scene


class Counting(ScanNet):
    """Remembers which scenes were read."""

    def __init__(self, root, **options):
        super().__init__(root, **options)
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


def test_a_touched_label_table_counts_the_classes_again(tmp_path):
    root = tmp_path / "scannet"
    write_annotated_scene(root, "scene0000_00", [5] * 9, [("wall", [5])])
    (root / "scannetv2-labels.combined.tsv").write_bytes(tsv())
    reader = Counting(root, labels="aggregation")
    for touched in (False, False, True):
        if touched:
            os.utime(root / "scannetv2-labels.combined.tsv", ns=(1, 1))
        assert class_counts(reader, "train", 0.5, tmp_path)[0] == 9
    assert len(reader.seen) == 2


def test_options_of_a_reader_have_their_own_counts(tmp_path):
    folder = tmp_path / "s3dis" / "Area_5" / "office_1" / "Annotations"
    folder.mkdir(parents=True)
    (folder / "stairs_1.txt").write_text("1 2 3 10 20 30\n")
    (folder / "wall_1.txt").write_text("1 2 4 10 20 30\n")
    counts = [
        sum(class_counts(S3DIS(tmp_path / "s3dis", stairs=stairs), "val", 0.5, tmp_path))
        for stairs in ("clutter", "ignore", "clutter")
    ]
    assert counts == [2, 1, 2]


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


def test_what_was_measured_before_a_bad_file_is_kept(scannet_root, tmp_path):
    path = ScanNet(scannet_root).source_files("scene0001_01")[0]
    content = path.read_bytes()
    path.write_bytes(content[:50])
    reader = Counting(scannet_root)
    with pytest.raises(ValueError, match="scene0001_01"):
        scene_sizes(reader, "train", 0.5, tmp_path)
    path.write_bytes(content)
    scene_sizes(reader, "train", 0.5, tmp_path)
    assert reader.seen == ["scene0000_00", "scene0001_01", "scene0001_01"]


def test_a_bad_file_is_named_by_the_pool(scannet_root, tmp_path):
    path = ScanNet(scannet_root).source_files("scene0001_01")[0]
    path.write_bytes(b"ply\nnot really")
    with pytest.raises(ValueError, match=r"scene0001_01_vh_clean_2\.ply"):
        scene_sizes(ScanNet(scannet_root), "train", 0.5, tmp_path, num_workers=1)


def counts_by_hand(reader) -> list[int]:
    """Of the 20 classes, point by point."""
    counts = [0] * 20
    for scene in ScanNet(reader.root).scenes("train"):
        for label in ScanNet(reader.root).read(scene, "train").segment.tolist():
            if label >= 0:
                counts[label] += 1
    return counts


def test_classes_are_counted_with_the_sizes(scannet_root, tmp_path):
    reader = Counting(scannet_root)
    scene_sizes(reader, "train", 0.5, tmp_path)
    counts = class_counts(reader, "train", 0.5, tmp_path)
    assert counts == counts_by_hand(reader)
    assert len(set(counts)) > 2 and 0 < sum(counts) < 121  # some points are unlabelled
    assert len(reader.seen) == 2, "nothing is read again"


def test_a_cache_without_counts_still_serves_for_sizes(scannet_root, tmp_path):
    """Written before classes were counted: sizes are taken from it, counts are measured."""
    reader = Counting(scannet_root)
    first = scene_sizes(reader, "train", 0.5, tmp_path)
    path = next(tmp_path.glob("Counting-*.json"))
    old = {
        scene: {key: entry[key] for key in ("files", "num_points", "num_voxels")}
        for scene, entry in json.loads(path.read_text()).items()
    }
    path.write_text(json.dumps(old))
    assert scene_sizes(reader, "train", 0.5, tmp_path) == first
    assert len(reader.seen) == 2
    assert class_counts(reader, "train", 0.5, tmp_path) == counts_by_hand(reader)
    assert len(reader.seen) == 4


def test_a_cache_without_extents(scannet_root, tmp_path):
    """Written before they were measured: scenes are measured again, once."""
    reader = Counting(scannet_root)
    extent = largest_extent(reader, "train", 0.5, tmp_path)
    path = next(tmp_path.glob("Counting-*.json"))
    entries = json.loads(path.read_text())
    for entry in entries.values():
        del entry["extent"]
    path.write_text(json.dumps(entries))
    scene_sizes(reader, "train", 0.5, tmp_path)
    assert len(reader.seen) == 2
    assert largest_extent(reader, "train", 0.5, tmp_path) == extent
    assert largest_extent(reader, "train", 0.5, tmp_path) == extent
    assert len(reader.seen) == 4
    boxes = [np.ptp(reader.read(s, "train").xyz[:, :2], axis=0) for s in reader.scenes("train")]
    assert extent == np.max(boxes) and len({float(box.max()) for box in boxes}) == 2


def test_counts_belong_to_their_label_space(scannet_root, tmp_path):
    """A reader of the same files with another map of labels does not get these counts."""
    reader = Counting(scannet_root)
    class_counts(reader, "train", 0.5, tmp_path)
    other_map = {**reader.spec.raw_to_class, 40: 3}
    reader.spec = replace(reader.spec, raw_to_class=other_map)
    class_counts(reader, "train", 0.5, tmp_path)
    assert len(reader.seen) == 4
    scene_sizes(reader, "train", 0.5, tmp_path)
    assert len(reader.seen) == 4


def test_scenes_without_labels_count_nothing(scannet_root, tmp_path):
    assert class_counts(ScanNet(scannet_root), "test", 0.5, tmp_path) == [0] * 20
