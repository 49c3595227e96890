"""Scenes of a test view by view: in order, one at a time, shared out by scene."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from pc3d.data.collate import collate
from pc3d.data.datasets import SampleKey, ScanNet, SceneDataset, SemanticKITTI
from pc3d.data.transforms import CenterShift, RandomDropout, RandomScale
from pc3d.data.view_dataset import ViewDataset, ViewKey, collate_view
from pc3d.data.views import View, Voting
from pc3d.data.voxelize import Voxelize

VIEWS = (View(), View(angle=90), View(scale=1.1, flip="x"))


def make(reader, split="train", features=("color", "xyz"), **options) -> ViewDataset:
    arguments = {
        "transforms": (CenterShift(),),
        "voxelize": Voxelize(voxel_size=0.5, features=features),
        "voting": Voting(views=VIEWS),
        "seed": 3,
    }
    return ViewDataset(reader, split, **{**arguments, **options})


def test_the_single_pass_is_what_evaluation_sees(scannet_root):
    """Bit for bit, also where the transforms draw."""
    reader, transforms = ScanNet(scannet_root), (CenterShift(), RandomScale())
    voxelize = Voxelize(voxel_size=0.5, features=("color", "xyz"))
    evaluated = SceneDataset(reader, "train", transforms, voxelize, seed=3)
    tested = make(reader, voting=Voting(), transforms=transforms)
    for scene in range(2):
        expected = collate([evaluated[SampleKey(0, scene)]])
        found = collate_view([tested[ViewKey(scene, 0)]])
        assert (found.view, found.num_views, found.feats, found.distance) == (0, 1, None, None)
        assert torch.equal(found.batch.voxels.feats, expected.voxels.feats)
        assert torch.equal(found.batch.voxels.coords.indices, expected.voxels.coords.indices)
        assert torch.equal(found.batch.point2voxel, expected.point2voxel)
        assert torch.equal(found.batch.points.segment, expected.points.segment)


def test_views_act_after_the_eval_transforms_and_before_the_features(scannet_root):
    plain, turned, scaled = (make(ScanNet(scannet_root))[ViewKey(0, view)] for view in range(3))
    np.testing.assert_array_equal(turned.voxels.points.xyz[:, 0], -plain.voxels.points.xyz[:, 1])
    np.testing.assert_array_equal(turned.voxels.points.segment, plain.voxels.points.segment)
    assert [sample.view for sample in (plain, turned, scaled)] == [0, 1, 2]
    xyz = scaled.voxels.points.xyz.astype(np.float64)
    point2voxel, num_voxels = scaled.voxels.point2voxel, scaled.voxels.num_voxels
    mean_x = np.bincount(point2voxel, xyz[:, 0], num_voxels) / np.bincount(point2voxel)
    np.testing.assert_allclose(scaled.voxels.feats[:, 3], mean_x, rtol=1e-5, atol=1e-6)


def test_fragments_come_with_the_features_of_the_points_in_the_view(scannet_root):
    voting = Voting(views=VIEWS, fragments=True)
    sample = make(ScanNet(scannet_root), voting=voting)[ViewKey(1, 2)]
    assert sample.feats.shape == (61, 6)
    np.testing.assert_array_equal(sample.feats[:, 3:], sample.voxels.points.xyz)


def test_distance_is_that_of_the_file(kitti_root):
    """Whatever evaluation does to the points: centring would move the sensor."""
    reader = SemanticKITTI(kitti_root)
    for view in range(3):
        sample = make(reader, "val", ("intensity",))[ViewKey(0, view)]
        raw = reader.read("08/000007", "val").xyz.astype(np.float64)
        expected = np.sqrt(raw[:, 0] ** 2 + raw[:, 1] ** 2 + raw[:, 2] ** 2)
        np.testing.assert_allclose(sample.distance, expected, rtol=1e-6)
        assert sample.distance.dtype == np.float32


def test_transforms_that_lose_or_reorder_points_are_refused(scannet_root):
    reader = ScanNet(scannet_root)
    with pytest.raises(ValueError, match=r"scene0000_00: .*turned 60 points into 30.*augment"):
        make(reader, transforms=(RandomDropout(ratio=0.5, p=1.0),))[ViewKey(0, 0)]
    reverse = lambda sample, rng: sample.select(np.arange(len(sample))[::-1])  # noqa: E731
    with pytest.raises(ValueError, match="changed their order"):
        make(reader, transforms=(reverse,))[ViewKey(0, 0)]


def test_scenes_are_shared_out_whole_whatever_is_done(kitti_root):
    reader = SemanticKITTI(kitti_root, sequences={"train": ["00"]})
    dataset = make(reader, features=("intensity",))
    assert dataset.scenes == ("00/000000", "00/000001", "00/000002")
    assert dataset.keys(0, 1) == [ViewKey(s, v) for s in range(3) for v in range(3)]
    assert dataset.keys(0, 2) == [ViewKey(s, v) for s in (0, 2) for v in range(3)]
    assert dataset.keys(1, 2) == [ViewKey(1, v) for v in range(3)]
    done = {"00/000000"}.__contains__
    assert dataset.keys(0, 2, done) == [ViewKey(2, v) for v in range(3)]
    assert dataset.keys(1, 2, done) == [ViewKey(1, v) for v in range(3)]
    assert dataset.keys(1, 2, lambda scene: True) == []


def test_a_split_without_scenes_is_refused(tmp_path):
    (tmp_path / "scans").mkdir()
    with pytest.raises(ValueError, match="split 'train' has no scenes"):
        make(ScanNet(tmp_path))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_keeps_the_order_and_makes_one_view_at_a_time(scannet_root, num_workers):
    made = []

    class Counted(View):
        def __call__(self, sample):
            made.append(sample.name)
            return super().__call__(sample)

    dataset = make(ScanNet(scannet_root), voting=Voting(views=(Counted(), Counted(scale=2.0))))
    loader = DataLoader(
        dataset,
        batch_size=1,
        sampler=dataset.keys(0, 1),
        collate_fn=collate_view,
        num_workers=num_workers,
    )
    seen = []
    for number, view in enumerate(loader):
        seen.append((view.batch.points.names[0], view.view, view.num_views))
        if num_workers == 0:
            assert len(made) == number + 1, "views are made before they are asked for"
    scenes = ("scene0000_00", "scene0001_01")
    assert seen == [(scene, view, 2) for scene in scenes for view in range(2)]
