"""Data workers end, whatever happens in them or around them."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch.utils.data import DataLoader

import cuda_ops
from pc3d.data.collate import collate
from pc3d.data.datasets import ScanNet, SceneDataset
from pc3d.data.samplers import VoxelBudgetBatchSampler
from pc3d.data.transforms import ElasticDistortion, RandomRotate
from pc3d.data.voxelize import Voxelize
from pc3d.data.workers import collate_shared, tensors_of
from pc3d.nn import SubmanifoldConv3d
from pc3d.sparse import Batch
from tests.watchdog import watchdog


def make_loader(root, num_workers: int, **options) -> DataLoader:
    """Batches of one of two scenes."""
    transforms = (RandomRotate(p=1.0), ElasticDistortion(p=1.0))
    voxelize = Voxelize(voxel_size=0.2, features=("color", "xyz"))
    return DataLoader(
        SceneDataset(ScanNet(root), "train", transforms, voxelize, max_voxels=500),
        batch_sampler=VoxelBudgetBatchSampler([500, 500], 500, 1),
        num_workers=num_workers,
        collate_fn=partial(collate_shared, collate),
        **options,
    )


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Convolves:
    """Runs the operators of a network where scenes are collated: in the workers."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.conv = SubmanifoldConv3d(6, 16).requires_grad_(False)

    def __call__(self, samples) -> torch.Tensor:
        voxels = collate(samples).voxels
        return self.conv(voxels).feats.sum()


def test_forked_workers_end_after_this_process_used_two_threads(scannet_root, two_threads):
    """Voxelization and a convolution, here with two threads and then in ten forked workers."""
    loader = make_loader(scannet_root, 0)
    loader.collate_fn = Convolves()
    keys = torch.randint(0, 1 << 20, (300_000,))
    cuda_ops.voxelize(keys)  # large enough for more than one thread
    expected = list(loader)
    with watchdog(90):
        for _ in range(5):
            forked = make_loader(scannet_root, 2, multiprocessing_context="fork")
            forked.collate_fn = Convolves()
            assert list(forked) == expected


def test_batches_come_in_shared_memory_and_are_the_same(scannet_root):
    with watchdog(60):
        batches = list(make_loader(scannet_root, 1, multiprocessing_context="fork"))
    for batch, expected in zip(batches, make_loader(scannet_root, 0), strict=True):
        tensors = list(tensors_of(batch))
        assert len(tensors) == 10 and all(tensor.is_shared() for tensor in tensors)
        assert not any(tensor.is_shared() for tensor in tensors_of(expected))
        for tensor, own in zip(tensors, tensors_of(expected), strict=True):
            assert torch.equal(tensor, own)


def test_full_shared_memory_is_an_error_and_not_a_silence(scannet_root, monkeypatch):
    """A worker's queue would drop the batch, and the loader would wait for it."""

    def share_memory_(tensor: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("unable to allocate shared memory(shm): No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", share_memory_)  # forked workers have it too
    loader = make_loader(scannet_root, 1, multiprocessing_context="fork")
    expected = r"a batch of \d+ MiB does not fit into /dev/shm.*num_workers.*No space left"
    with watchdog(60), pytest.raises(RuntimeError, match=expected):
        list(loader)
    assert len(list(make_loader(scannet_root, 0))) == 2, "this process needs no shared memory"


class Pair(NamedTuple):
    batch: Batch
    number: int
    extra: torch.Tensor | None


def test_tensors_are_found_within_tuples(scannet_root):
    (batch, _) = list(make_loader(scannet_root, 0))
    inner = list(tensors_of(batch))
    found = list(tensors_of(Pair(batch, 3, inner[0])))
    assert [id(t) for t in found] == [id(t) for t in [*inner, inner[0]]]
    assert {id(batch.voxels.feats), id(batch.point2voxel), id(batch.points.xyz)} < {*map(id, inner)}
