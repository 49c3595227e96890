"""Mix3D: which scenes become one, and what the one scene is."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pc3d.data.datasets import SampleKey, ScanNet, SceneDataset
from pc3d.data.samplers import VoxelBudgetBatchSampler, pack
from pc3d.data.transforms import CenterShift, LaserMix, RandomDropout, RandomRotate
from pc3d.data.voxelize import Voxelize

SIZES = np.random.default_rng(0).integers(20, 400, 57).tolist()


def keys_of_epoch(epoch: int = 0, sizes=SIZES, max_voxels=900, max_scenes=5, **options):
    sampler = VoxelBudgetBatchSampler(sizes, max_voxels, max_scenes, **options)
    sampler.set_epoch(epoch)
    return list(sampler)


def scenes(batch) -> list[int]:
    """The scenes of a batch in order, merged or not."""
    merged = [(key.scene_index, key.merged_with) for key in batch]
    return [scene for pair in merged for scene in pair if scene is not None]


@pytest.mark.parametrize("mix3d", [0.3, 1.0])
@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_hold_the_same_scenes_with_and_without(mix3d, shuffle):
    for epoch in range(4):
        plain = keys_of_epoch(epoch, shuffle=shuffle)
        mixed = keys_of_epoch(epoch, shuffle=shuffle, mix3d=mix3d)
        assert [scenes(batch) for batch in mixed] == [scenes(batch) for batch in plain]
        assert all(key.epoch == epoch for batch in mixed for key in batch)
        assert all(key.merged_with is None for batch in plain for key in batch)


def test_a_batch_is_merged_in_pairs_or_not_at_all():
    """(0, 1), (2, 3), ... in the order of the batch; an odd last one stays alone."""
    seen = Counter()
    for epoch in range(20):
        for batch in keys_of_epoch(epoch, mix3d=0.5):
            order = scenes(batch)
            merged = [(key.scene_index, key.merged_with) for key in batch]
            pairs = [tuple((*order, None)[i : i + 2]) for i in range(0, len(order), 2)]
            assert merged in (pairs, [(scene, None) for scene in order])
            seen[len(order), merged == pairs] += 1
    assert {(5, True), (5, False), (4, True), (4, False)} <= set(seen)


def test_pairs_follow_the_order_of_the_batch():
    five, *_ = (batch for batch in pack(SIZES, 900, 5) if len(batch) == 5)
    batches = keys_of_epoch(mix3d=1.0, shuffle=False)
    (keys,) = (keys for keys in batches if scenes(keys)[0] == five[0])
    a, b, c, d, e = five
    assert keys == [SampleKey(0, a, b), SampleKey(0, c, d), SampleKey(0, e)]


def test_batches_are_merged_with_the_probability():
    batches = [batch for epoch in range(60) for batch in keys_of_epoch(epoch, mix3d=0.8)]
    merged = [any(key.merged_with is not None for key in batch) for batch in batches]
    assert len(merged) > 700
    assert np.mean(merged) == pytest.approx(0.8, abs=0.06)
    assert not any(k.merged_with is not None for b in keys_of_epoch(mix3d=0.0) for k in b)


@pytest.mark.parametrize("world_size", [2, 4])
def test_what_is_merged_does_not_depend_on_the_processes(world_size):
    """Sixteen batches, dealt in turn to one process or to several."""
    options = {"sizes": [10] * 64, "max_voxels": 45, "max_scenes": 4, "mix3d": 0.5}
    alone = keys_of_epoch(3, **options)
    shares = [
        keys_of_epoch(3, rank=rank, world_size=world_size, **options) for rank in range(world_size)
    ]
    dealt = [batch for turn in zip(*shares, strict=True) for batch in turn]
    assert dealt == alone and len(alone) == 16


def test_merging_follows_seed_and_epoch():
    first = keys_of_epoch(2, mix3d=0.5)
    assert keys_of_epoch(2, mix3d=0.5) == first
    assert len({str([len(b) for b in keys_of_epoch(e, mix3d=0.5)]) for e in range(5)}) == 5
    assert [len(b) for b in keys_of_epoch(2, mix3d=0.5, seed=1)] != [len(b) for b in first]


def test_without_shuffle_every_epoch_merges_the_same():
    pairs = [
        [[(k.scene_index, k.merged_with) for k in b] for b in keys_of_epoch(e, **options)]
        for options in [{"mix3d": 0.5, "shuffle": False}]
        for e in range(4)
    ]
    assert pairs[0] == pairs[1] == pairs[2] == pairs[3]
    assert len({len(batch) for batch in pairs[0]}) > 1


def test_one_scene_per_batch_cannot_be_merged():
    with pytest.raises(ValueError, match=r"max_scenes to at least 2"):
        keys_of_epoch(max_scenes=1, mix3d=0.1)


TRANSFORMS = (CenterShift(), RandomRotate(p=1.0), RandomDropout(p=0.5))
KEYS = [(epoch, a, b) for epoch in range(3) for a, b in ((0, 1), (1, 0))]


@pytest.fixture
def make_dataset(scannet_root, write_scannet_scene):
    write_scannet_scene(scannet_root / "scans", "scene0002_00", 90, np.resize([3, 7, 0], 90), 5)

    def make(**options) -> SceneDataset:
        voxelize = Voxelize(voxel_size=0.5, features=("color", "xyz"))
        arguments = {"transforms": TRANSFORMS, "seed": 3, **options}
        return SceneDataset(ScanNet(scannet_root), "train", voxelize=voxelize, **arguments)

    return make


@pytest.mark.parametrize(("epoch", "first", "second"), KEYS)
def test_a_merged_scene_is_the_points_of_both_voxelized_once(epoch, first, second, make_dataset):
    """Each is transformed as it would be alone; voxels are the union, none twice."""
    dataset = make_dataset()
    merged = dataset[SampleKey(epoch, first, second)]
    alone = [dataset[SampleKey(epoch, index)] for index in (first, second)]
    points = [voxels.points for voxels in alone]
    for field in ("xyz", "color", "segment"):
        expected = np.concatenate([getattr(p, field) for p in points])
        np.testing.assert_array_equal(getattr(merged.points, field), expected)
    assert merged.points.row.tolist() == points[0].row.tolist() + [-1] * len(points[1])
    assert merged.points.name == f"{points[0].name}+{points[1].name}"
    assert merged.points.origin.tolist() == points[0].origin.tolist()
    cells = np.floor(merged.points.xyz.astype(np.float64) / 0.5)
    np.testing.assert_array_equal(merged.indices[merged.point2voxel], cells)
    union = {tuple(row) for voxels in alone for row in voxels.indices.tolist()}
    assert sorted(map(tuple, merged.indices.tolist())) == sorted(union)
    assert merged.num_voxels < sum(voxels.num_voxels for voxels in alone), "they overlap"
    for row in range(merged.num_voxels):
        votes = Counter(merged.points.segment[merged.point2voxel == row].tolist())
        votes.pop(-1, None)
        best = min(votes, key=lambda label: (-votes[label], label)) if votes else -1
        assert merged.segment[row] == best


def test_a_merged_scene_is_cropped_like_any_other(make_dataset):
    dataset = make_dataset(max_voxels=20)
    assert dataset[SampleKey(0, 0, 1)].num_voxels == 20


def test_scenes_with_different_fields_are_not_merged(make_dataset):
    dataset = make_dataset()
    whole = dataset.reader.read
    dataset.reader.read = lambda scene, split: (
        whole(scene, split).with_(segment=None) if scene == "scene0001_01" else whole(scene, split)
    )
    with pytest.raises(ValueError, match="scene0000_00 has 'segment', and scene0001_01 has not"):
        dataset[SampleKey(0, 0, 1)]


class Swap:
    """A mix that returns the other scene, and remembers which."""

    def __init__(self) -> None:
        self.drawn: list[str] = []

    def __call__(self, sample, others, rng):
        assert others.spec.name == "scannet20"
        self.drawn.append(others.draw(rng).name)
        return sample


def test_mixes_draw_any_other_scene_before_the_transforms(make_dataset):
    dataset = make_dataset(mixes=(Swap(),))
    for epoch in range(300):
        dataset[SampleKey(epoch, 1)]
    counts = Counter(dataset.mixes[0].drawn)
    assert set(counts) == {"scene0000_00", "scene0002_00"}
    assert counts["scene0000_00"] == pytest.approx(150, abs=45)


def test_other_scenes_are_of_the_same_split(make_dataset):
    dataset, asked = make_dataset(mixes=(Swap(),)), []
    whole = dataset.reader.read
    dataset.reader.read = lambda scene, split: asked.append(split) or whole(scene, split)
    dataset[SampleKey(0, 0)]
    assert asked == ["train", "train"]


def test_a_scene_that_is_alone_is_mixed_with_itself(make_dataset):
    dataset = make_dataset(mixes=(Swap(),))
    dataset.scenes = dataset.scenes[:1]
    dataset[SampleKey(0, 0)]
    assert dataset.mixes[0].drawn == ["scene0000_00"]


def test_a_mixed_item_is_a_function_of_seed_epoch_and_index(make_dataset):
    mixes = (LaserMix(pitch=(-30.0, 80.0)),)
    first = make_dataset(mixes=mixes)[SampleKey(2, 1)]
    dataset = make_dataset(mixes=mixes)
    dataset[SampleKey(0, 0)]
    again = dataset[SampleKey(2, 1)]
    np.testing.assert_array_equal(first.feats, again.feats)
    assert first.points.name == again.points.name and "+" in first.points.name
    others = {dataset[SampleKey(epoch, 1)].points.name for epoch in range(12)}
    assert len(others) == 2, "another scene in other epochs"


def test_mixes_run_before_transforms_and_merging(make_dataset):
    """A mix sees the scene as its file holds it, also in scenes that are merged."""
    seen = []

    def look(sample, others, rng):
        seen.append(sample)
        return sample

    dataset = make_dataset(mixes=(look,))
    dataset[SampleKey(0, 0, 2)]
    for sample, scene in zip(seen, ("scene0000_00", "scene0002_00"), strict=True):
        np.testing.assert_array_equal(sample.xyz, dataset.reader.read(scene, "train").xyz)
