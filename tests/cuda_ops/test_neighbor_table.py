"""Tables against dictionaries."""

from __future__ import annotations

import pytest
import torch

import cuda_ops
from tests import oracle
from tests.attack import DEVICES, WIDE, Cloud, strided

KERNELS = [(1, 1, "cube"), (3, 1, "cube"), (3, 1, "cross"), (5, 3, "cube"), (5, 2, "cross")]


def keys_of(cloud: Cloud, device: str = "cpu") -> torch.Tensor:
    return cuda_ops.morton_encode(cloud.indices.to(device))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size, dilation, shape", KERNELS)
@pytest.mark.parametrize("name", WIDE)
def test_neighbor_table_equals_the_dictionary(name, size, dilation, shape, device):
    cloud, taps = WIDE[name], oracle.offsets(size, dilation, shape)
    offsets = torch.tensor(taps, dtype=torch.int32, device=device)
    table = cuda_ops.neighbor_table(keys_of(cloud, device), offsets)
    assert table.dtype == torch.int32
    assert table.tolist() == oracle.neighbor_table(cloud.rows, taps)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("name", ["extremes", "two"])
def test_the_longest_offset_never_wraps(name, sign):
    """From a border of the range, 1023 steps outwards must not arrive at the other end."""
    cloud = WIDE[name]
    taps = [(1023 * sign, 0, 0), (0, 1023 * sign, 0), (0, 0, 1023 * sign), (1023, -1023, 1023)]
    table = cuda_ops.neighbor_table(keys_of(cloud), torch.tensor(taps, dtype=torch.int32))
    assert table.tolist() == oracle.neighbor_table(cloud.rows, taps)
    assert (table == -1).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", WIDE)
def test_down_table_equals_the_dictionary(name, device):
    cloud = WIDE[name]
    coarse_keys, down, up = cuda_ops.down_table(keys_of(cloud, device))
    expected = oracle.coarse_rows(cloud.rows)
    assert [tuple(row) for row in cuda_ops.morton_decode(coarse_keys).tolist()] == expected
    assert (down.dtype, up.dtype) == (torch.int32, torch.int32)
    assert [down.tolist(), up.tolist()] == list(oracle.down_tables(cloud.rows))


def test_four_levels_down_equal_division_by_sixteen():
    cloud = WIDE["extremes"]
    keys = keys_of(cloud)
    for _ in range(4):
        keys, _, _ = cuda_ops.down_table(keys)
    sixteenth = {(b, x // 16, y // 16, z // 16) for b, x, y, z in cloud.rows}
    assert [tuple(r) for r in cuda_ops.morton_decode(keys).tolist()] == sorted(
        sixteenth, key=oracle.key
    )


@pytest.mark.parametrize("device", DEVICES)
def test_lookup_finds_rows_of_any_query_shape(device):
    keys = torch.tensor([-3, 0, 4, 9], device=device)
    queries = torch.tensor([[9, 1], [-3, 10], [-4, 4]], device=device)
    found = cuda_ops.lookup(keys, strided(queries))
    assert found.dtype == torch.int32
    assert found.tolist() == [[3, -1], [0, -1], [-1, 2]]


def test_lookup_in_nothing_finds_nothing():
    empty = torch.empty(0, dtype=torch.int64)
    assert cuda_ops.lookup(empty, torch.tensor([0, 5])).tolist() == [-1, -1]
    assert cuda_ops.lookup(torch.tensor([5]), empty).shape == (0,)
