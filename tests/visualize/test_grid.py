"""The voxels of a page, against sets of tuples."""

from __future__ import annotations

import numpy as np
import pytest

from visualize.grid import COARSEST, VoxelGrid, grid_of, index_type, shown_voxels

RNG = np.random.default_rng(0)
INDICES = RNG.integers([-9, -30, 5], [8, -2, 40], (400, 3))
KEPT = np.sort(RNG.choice(400, 60, replace=False))


def tuples(rows: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(row) for row in rows.tolist()}


def test_others_are_the_voxels_without_a_shown_point():
    found = shown_voxels(VoxelGrid(0.1, INDICES), KEPT)
    shift = INDICES[KEPT[0]] - found.indices[0]
    assert (shift % COARSEST == 0).all()  # halving twice is the same here and there
    np.testing.assert_array_equal(found.indices + shift, INDICES[KEPT])
    assert tuples(found.others + shift) == tuples(INDICES) - tuples(INDICES[KEPT])
    assert len(tuples(found.others)) == len(found.others)
    everything = np.concatenate([found.indices, found.others])
    assert everything.min() >= 0 and (everything.max(axis=0) + 1).tolist() == list(found.shape)
    assert found.is_complete


def test_too_many_others_are_left_out():
    number = len(shown_voxels(VoxelGrid(0.1, INDICES), KEPT).others)
    assert shown_voxels(VoxelGrid(0.1, INDICES), KEPT, number).is_complete
    found = shown_voxels(VoxelGrid(0.1, INDICES), KEPT, number - 1)
    assert not found.is_complete and found.others.shape == (0, 3)


def test_nothing_is_left_where_all_points_are_shown():
    found = shown_voxels(VoxelGrid(0.1, INDICES), np.arange(400))
    assert found.is_complete and found.others.shape == (0, 3)


def test_voxels_of_points_in_world_coordinates():
    xyz = np.array([[652_000.13, 6_861_000.49, -0.01], [652_000.09, 6_861_001.0, 0.3]])
    grid = grid_of(xyz, 0.1)
    assert grid.indices.tolist() == [[6520001, 68610004, -1], [6520000, 68610010, 2]]
    assert shown_voxels(grid, np.arange(2)).indices.max() < 12


def test_the_type_of_indices():
    assert index_type((65536, 2, 3)) == "<u2" and index_type((2, 3, 65537)) == "<u4"


@pytest.mark.parametrize("size", [0.0, -1.0, np.nan, np.inf])
def test_sizes_that_are_none(size: float):
    with pytest.raises(ValueError, match="positive number of metres"):
        grid_of(np.zeros((1, 3)), size)
