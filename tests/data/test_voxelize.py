"""Voxelization and cropping against loops over points."""

from __future__ import annotations

from collections import Counter, defaultdict
from math import floor

import numpy as np
import pytest
import torch

import cuda_ops
from pc3d.data.sample import VoxelSample
from pc3d.data.voxelize import CropVoxels, Voxelize, majority_label


def voxels_by_hand(sample, voxel_size: float) -> dict[tuple[int, ...], list[int]]:
    cells = defaultdict(list)
    for row, point in enumerate(sample.xyz.astype(np.float64)):
        cells[tuple(floor(c / voxel_size) for c in point)].append(row)
    return cells


def test_voxels_means_and_labels_agree_with_loops(make_scene):
    """Coordinates are negative in y; labels are missing in places."""
    sample = make_scene(500)
    voxels = Voxelize(voxel_size=0.4, features=("color", "intensity"))(sample)
    by_hand = voxels_by_hand(sample, 0.4)
    assert {tuple(v) for v in voxels.indices.tolist()} == set(by_hand)
    assert voxels.num_voxels == len(by_hand) < len(sample)
    assert min(voxels.indices[:, 1]) < 0
    for row, cell in enumerate(voxels.indices.tolist()):
        members = by_hand[tuple(cell)]
        assert np.flatnonzero(voxels.point2voxel == row).tolist() == members
        color = (sample.color[members].astype(np.float64) / 255 - 0.5).mean(axis=0)
        np.testing.assert_allclose(voxels.feats[row, :3], color, atol=1e-6)
        np.testing.assert_allclose(
            voxels.feats[row, 3], sample.intensity[members].mean(dtype=np.float64), atol=1e-6
        )
        votes = Counter(c for c in sample.segment[members].tolist() if c >= 0)
        expected = min(votes, key=lambda c: (-votes[c], c)) if votes else -1
        assert voxels.segment[row] == expected


def test_rows_stand_in_key_order_with_their_dtypes(make_scene):
    voxels = Voxelize(voxel_size=0.3, features=("xyz",))(make_scene())
    rows = torch.zeros(voxels.num_voxels, 4, dtype=torch.int32)
    rows[:, 1:] = torch.from_numpy(voxels.indices)
    assert (cuda_ops.morton_encode(rows).diff() > 0).all()
    assert (voxels.indices.dtype, voxels.feats.dtype) == (np.int32, np.float32)
    assert (voxels.segment.dtype, voxels.point2voxel.dtype) == (np.int64, np.int64)


def test_points_keep_their_order_and_all_have_a_voxel(make_scene):
    sample = make_scene()
    voxels = Voxelize(voxel_size=0.5, features=("xyz",))(sample)
    np.testing.assert_array_equal(voxels.points.row, sample.row)
    np.testing.assert_array_equal(
        voxels.indices[voxels.point2voxel], np.floor(sample.xyz.astype(np.float64) / 0.5)
    )


def test_division_is_in_float64(make_scene):
    """2.3 (float32) lies below 2.3, so in voxel 229 at 1 cm; a float32 quotient says 230."""
    sample = make_scene(1, xyz=np.full((1, 3), 2.3, dtype=np.float32))
    assert np.float32(2.3) / np.float32(0.01) >= 230
    voxels = Voxelize(voxel_size=0.01, features=("xyz",))(sample)
    assert voxels.indices.tolist() == [[229] * 3]


def test_scene_without_labels_and_single_point(make_scene):
    voxels = Voxelize(voxel_size=0.1, features=("height",))(make_scene(1, segment=None))
    assert voxels.segment is None
    assert voxels.num_voxels == 1
    assert voxels.feats.tolist() == [[0.0]]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([3, 1, 1, 3], 1), ([-1, -1, 4], 4), ([-1, -1], -1), ([0, 2, 2], 2), ([2, 0, -1, -1, -1], 0)],
)
def test_majority_among_labelled_points_ties_to_the_smallest(labels, expected):
    segment = np.array(labels)
    point2voxel = np.zeros(len(labels), dtype=np.int64)
    assert majority_label(segment, point2voxel, 1).tolist() == [expected]
    # The same beside a voxel that would win if runs were mixed up.
    both = majority_label(np.append(segment, [0] * 9), np.append(point2voxel, [1] * 9), 2)
    assert both.tolist() == [expected, 0]


@pytest.mark.parametrize("voxel_size", [0.0, -0.02, float("nan"), float("inf")])
def test_voxel_size_must_be_positive(voxel_size):
    with pytest.raises(ValueError, match="voxel_size must be a positive"):
        Voxelize(voxel_size=voxel_size, features=("xyz",))


def test_scene_beyond_the_packing_range_names_scene_extent_and_voxel_size(make_scene):
    xyz = np.array([[0, 0, 0], [1301.0, 20, 3]], dtype=np.float32)
    sample = make_scene(2, xyz=xyz, name="tile_7")
    with pytest.raises(ValueError, match=r"tile_7.*1301\.0 x 20\.0 x 3\.0 m.*voxel_size 0\.01"):
        Voxelize(voxel_size=0.01, features=("xyz",))(sample)
    limit = cuda_ops.MAX_COORDINATE
    edge = np.array([[limit, -limit, 0], [0, 0, 0]], dtype=np.float32)
    voxels = Voxelize(voxel_size=1.0, features=("xyz",))(make_scene(2, xyz=edge))
    assert sorted(voxels.indices.tolist()) == [[0, 0, 0], [limit, -limit, 0]]


def test_crop_keeps_the_voxels_nearest_to_one_of_them(make_scene):
    voxels = Voxelize(voxel_size=0.25, features=("xyz", "intensity"))(make_scene(800))
    cropped = CropVoxels(max_voxels=60)(voxels, np.random.default_rng(4))
    assert cropped.num_voxels == 60
    kept = {tuple(v) for v in cropped.indices.tolist()}
    gone = {tuple(v) for v in voxels.indices.tolist()} - kept

    def is_ball(center: tuple[int, ...]) -> bool:
        def distance(v):
            return sum((a - b) ** 2 for a, b in zip(v, center, strict=True))

        return max(map(distance, kept)) <= min(map(distance, gone))

    assert any(is_ball(center) for center in kept)
    check_consistent(cropped, 0.25)


def check_consistent(voxels: VoxelSample, voxel_size: float) -> None:
    """Points, features and labels still belong to their voxels."""
    cells = np.floor(voxels.points.xyz.astype(np.float64) / voxel_size)
    np.testing.assert_array_equal(voxels.indices[voxels.point2voxel], cells)
    assert set(voxels.point2voxel) == set(range(voxels.num_voxels))
    expected = majority_label(voxels.points.segment, voxels.point2voxel, voxels.num_voxels)
    np.testing.assert_array_equal(voxels.segment, expected)
    again = Voxelize(voxel_size=voxel_size, features=("xyz", "intensity"))(voxels.points)
    np.testing.assert_allclose(again.feats, voxels.feats, atol=1e-6)


def test_crop_leaves_a_scene_within_its_budget_and_varies_with_the_generator(make_scene):
    voxels = Voxelize(voxel_size=0.25, features=("xyz",))(make_scene(800))
    assert CropVoxels(max_voxels=voxels.num_voxels)(voxels, np.random.default_rng(0)) is voxels
    crops = [CropVoxels(max_voxels=40)(voxels, np.random.default_rng(s)) for s in (0, 0, 1)]
    assert crops[0].indices.tolist() == crops[1].indices.tolist() != crops[2].indices.tolist()
    with pytest.raises(ValueError, match="max_voxels"):
        CropVoxels(max_voxels=0)
