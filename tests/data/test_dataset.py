"""Items of a dataset: what their randomness depends on, and loading them in workers."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from pc3d.data.collate import collate
from pc3d.data.datasets import SampleKey, ScanNet, SceneDataset, SemanticKITTI
from pc3d.data.samplers import VoxelBudgetBatchSampler
from pc3d.data.transforms import ChromaticJitter, RandomDropout, RandomRotate
from pc3d.data.voxelize import Voxelize

TRANSFORMS = (RandomRotate(p=1.0), RandomDropout(p=0.5), ChromaticJitter())


def make_dataset(root, **options) -> SceneDataset:
    voxelize = Voxelize(voxel_size=0.5, features=("color", "xyz"))
    arguments = {"split": "train", "transforms": TRANSFORMS, "seed": 3, **options}
    return SceneDataset(ScanNet(root), voxelize=voxelize, **arguments)


def same(a, b) -> bool:
    return a.feats.tolist() == b.feats.tolist() and a.points.row.tolist() == b.points.row.tolist()


def test_an_item_is_a_function_of_seed_epoch_and_index(scannet_root):
    dataset = make_dataset(scannet_root)
    item = dataset[SampleKey(2, 1)]
    dataset[SampleKey(0, 0)]  # requests in between change nothing
    np.random.default_rng().random()
    torch.rand(1)
    assert same(dataset[SampleKey(2, 1)], item)
    assert same(make_dataset(scannet_root)[SampleKey(2, 1)], item)
    assert not same(dataset[SampleKey(3, 1)], item)
    assert not same(make_dataset(scannet_root, seed=4)[SampleKey(2, 1)], item)


def test_scenes_of_one_epoch_draw_apart(kitti_root):
    """Two equal files are augmented differently."""
    frames = {"train": ["00/000000", "00/000000"]}
    dataset = SceneDataset(
        SemanticKITTI(kitti_root, frames=frames),
        "train",
        (RandomRotate(p=1.0),),
        Voxelize(voxel_size=1.0, features=("xyz",)),
    )
    assert not same(dataset[SampleKey(0, 0)], dataset[SampleKey(0, 1)])


def test_crop_is_applied_only_on_request(scannet_root):
    whole = make_dataset(scannet_root)[SampleKey(0, 0)]
    assert whole.num_voxels > 20
    assert make_dataset(scannet_root, max_voxels=20)[SampleKey(0, 0)].num_voxels == 20


def test_split_without_scenes_is_refused(tmp_path):
    (tmp_path / "scans").mkdir()
    with pytest.raises(ValueError, match="split 'train' has no scenes"):
        make_dataset(tmp_path)


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_give_what_the_main_process_gives(scannet_root, start):
    """Also after torch used threads here, which hangs forked kernels that open threads."""
    torch.rand(400, 400) @ torch.rand(400, 400)
    dataset = make_dataset(scannet_root, max_voxels=30)
    batches = VoxelBudgetBatchSampler([30, 30], 60, 1)
    options = {"batch_sampler": batches, "collate_fn": collate}
    alone = list(DataLoader(dataset, **options))
    parallel = DataLoader(
        dataset, num_workers=2, multiprocessing_context=start, timeout=120, **options
    )
    for batch, expected in zip(parallel, alone, strict=True):
        assert batch.points.names == expected.points.names
        torch.testing.assert_close(batch.voxels.feats, expected.voxels.feats, rtol=0, atol=0)
        assert torch.equal(batch.voxels.coords.indices, expected.voxels.coords.indices)
        assert torch.equal(batch.point2voxel, expected.point2voxel)


def test_an_error_in_a_worker_names_the_file(scannet_root):
    dataset = make_dataset(scannet_root)
    path = ScanNet(scannet_root).source_files("scene0001_01")[1]
    path.write_bytes(b"not a ply file")
    loader = DataLoader(
        dataset,
        sampler=[SampleKey(0, 1)],
        num_workers=1,
        collate_fn=collate,
    )
    with pytest.raises(ValueError, match=r"scene0001_01_vh_clean_2\.labels\.ply"):
        list(loader)


def test_a_dataset_pickles_small(scannet_root):
    assert len(pickle.dumps(make_dataset(scannet_root))) < 20_000
