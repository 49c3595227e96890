"""`PointBatch` and `Batch`: ragged selection, and moving without losing anything."""

from __future__ import annotations

import pytest
import torch

from pc3d.sparse import Batch, PointBatch, SparseTensor
from tests.attack import CLOUDS, Cloud, asymmetric
from tests.parity import coords_of


def batch_of(cloud: Cloud) -> Batch:
    """A batch whose points stand cloud by cloud, with a label and a row number each."""
    order = sorted(range(len(cloud.points)), key=lambda i: cloud.points[i][0])
    points = torch.tensor([cloud.points[i] for i in order], dtype=torch.int32).reshape(-1, 4)
    counts = torch.bincount(points[:, 0], minlength=cloud.batch_size)
    coords = coords_of(cloud)
    num_points = len(points)
    return Batch(
        points=PointBatch(
            names=tuple(f"scene{b}" for b in range(cloud.batch_size)),
            offsets=torch.nn.functional.pad(counts.cumsum(0), (1, 0)),
            xyz=points[:, 1:].float() + 0.5,
            origin=torch.zeros(cloud.batch_size, 3, dtype=torch.float64),
            row=torch.arange(num_points) * 10,
            segment=torch.arange(num_points) % 4 - 1,
        ),
        voxels=SparseTensor(coords, asymmetric(len(coords), 2)),
        point2voxel=torch.tensor([cloud.point2voxel[i] for i in order], dtype=torch.int64),
        segment=torch.arange(len(coords)) % 3,
    )


@pytest.fixture
def batch() -> Batch:
    return batch_of(CLOUDS["three, one empty"])


def test_batch_index_counts_empty_clouds(batch):
    points = batch.points
    assert (points.batch_size, points.num_points) == (3, 101)
    assert torch.bincount(points.batch_index, minlength=3).tolist() == [61, 0, 40]
    assert points.offsets.tolist() == [0, 61, 61, 101]


def test_select_points(batch):
    keep = torch.arange(101) % 3 == 1
    keep[61:] = False
    part = batch.points.select(keep)
    assert part.offsets.tolist() == [0, 20, 20, 20]
    assert part.row.tolist() == [10 * i for i in range(61) if i % 3 == 1]
    assert torch.equal(part.xyz, batch.points.xyz[keep])
    assert torch.equal(part.segment, batch.points.segment[keep])
    assert part.names == batch.points.names


@pytest.mark.parametrize("name", [name for name in CLOUDS if name != "none"])
def test_select_voxels_keeps_every_points_own_voxel(name):
    """In the selected batch a point's voxel has the coordinates, features and label it had."""
    whole = batch_of(CLOUDS[name])
    keep = torch.arange(len(whole.voxels.coords)) % 3 != 1
    part = whole.select_voxels(keep)
    kept_points = keep[whole.point2voxel]
    assert torch.equal(part.points.row, whole.points.row[kept_points])
    before, after = whole.point2voxel[kept_points], part.point2voxel
    assert torch.equal(part.voxels.coords.indices[after], whole.voxels.coords.indices[before])
    assert torch.equal(part.voxels.feats[after], whole.voxels.feats[before])
    assert torch.equal(part.segment[after], whole.segment[before])
    assert len(part.voxels.coords) == int(keep.sum()) == int(after.max()) + 1
    assert torch.equal(part.points.batch_index, part.voxels.coords.indices[after, 0].long())


def test_select_voxels_without_labels(batch):
    unlabelled = Batch(
        PointBatch(**{**vars(batch.points), "segment": None}), batch.voxels, batch.point2voxel
    )
    part = unlabelled.select_voxels(torch.arange(len(batch.voxels.coords)) < 4)
    assert part.segment is None and part.points.segment is None


def test_to_moves_every_tensor(batch):
    moved = batch.to("meta")
    held = [moved.point2voxel, moved.segment, moved.voxels.feats, moved.voxels.coords.indices]
    held += [value for value in vars(moved.points).values() if isinstance(value, torch.Tensor)]
    assert len(held) == 9
    assert {tensor.device.type for tensor in held} == {"meta"}
    assert moved.points.names == batch.points.names
    assert batch.point2voxel.device.type == "cpu"
