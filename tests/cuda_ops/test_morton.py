"""Keys: the packing bit by bit, its inverse, its order, and its limits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import cuda_ops
from tests import oracle
from tests.attack import DEVICES, FAR, WIDE

INT32_MIN = -(2**31)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", WIDE)
def test_keys_are_the_documented_packing(name, device):
    cloud = WIDE[name]
    keys = cuda_ops.morton_encode(cloud.point_indices.to(device))
    assert keys.dtype == torch.int64
    assert keys.tolist() == [oracle.key(row) for row in cloud.points]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", WIDE)
def test_decode_inverts_encode(name, device):
    indices = WIDE[name].point_indices.to(device)
    back = cuda_ops.morton_decode(cuda_ops.morton_encode(indices))
    assert back.dtype == torch.int32
    assert torch.equal(back, indices)


axis = st.integers(-FAR, FAR)
voxel = st.tuples(st.integers(0, 511), axis, axis, axis)


@settings(max_examples=60, deadline=None)
@given(st.lists(voxel, min_size=2, max_size=20))
def test_packing_is_injective_and_its_low_bits_are_the_tap(voxels):
    indices = torch.tensor(voxels, dtype=torch.int32)
    keys = cuda_ops.morton_encode(indices)
    assert torch.equal(cuda_ops.morton_decode(keys), indices)
    assert (keys & 7).tolist() == [4 * (x & 1) + 2 * (y & 1) + (z & 1) for _, x, y, z in voxels]
    assert (keys >> 54).tolist() == [batch for batch, *_ in voxels]


def test_limits_are_those_of_the_design():
    assert (cuda_ops.MAX_COORDINATE, cuda_ops.MAX_BATCH) == (FAR, 512)


@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("value", [FAR + 1, -FAR - 1, 2**31 - 1, INT32_MIN])
def test_refuses_coordinates_beyond_the_range(axis, value):
    indices = torch.zeros(3, 4, dtype=torch.int32)
    indices[1, axis] = value
    with pytest.raises(ValueError, match=rf"{value}(?s:.*)voxel_size"):
        cuda_ops.morton_encode(indices)


@pytest.mark.parametrize("batch", [512, -1, INT32_MIN])
def test_refuses_more_clouds_than_fit(batch):
    indices = torch.tensor([[0, 0, 0, 0], [batch, 0, 0, 0]], dtype=torch.int32)
    with pytest.raises(ValueError, match=rf"{batch}(?s:.*)512|{batch}(?s:.*)511"):
        cuda_ops.morton_encode(indices)


@pytest.mark.parametrize(
    "indices",
    [
        torch.zeros(2, 4, dtype=torch.int64),
        torch.zeros(2, 4),
        torch.zeros(2, 3, dtype=torch.int32),
        torch.zeros(4, dtype=torch.int32),
    ],
    ids=["int64", "float", "three columns", "one row"],
)
def test_refuses_other_shapes_and_dtypes(indices):
    with pytest.raises(ValueError, match="int32"):
        cuda_ops.morton_encode(indices)
