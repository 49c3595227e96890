"""Packed tables: the same pairs, remembered for as long as the table is what it was."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import Tensor

from cuda_ops import derived
from cuda_ops.neighbor_table.packed import PackedTable, packed
from cuda_ops.runtime import cpu_library

TILE = 64
LIBRARY = cpu_library()
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="plain PyTorch serves: no packed tables")


def random_table(
    num_taps: int, num: int, seed: int = 0, dtype: torch.dtype = torch.int32
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(num, (num_taps, num), generator=generator)
    empty = torch.rand(num_taps, num, generator=generator) < 0.6
    return rows.masked_fill(empty, -1).to(dtype)


def unpacked(pairs: PackedTable, num: int) -> Tensor:
    """The table again, voxel by voxel."""
    table = torch.full((pairs.num_taps, num), -1, dtype=torch.int32)
    for number in range(len(pairs.starts) - 1):
        tile, tap = divmod(number, pairs.num_taps)
        of_list = slice(int(pairs.starts[number]), int(pairs.starts[number + 1]))
        place = pairs.place[of_list].long()
        assert torch.equal(place, place.unique()), "ascending, none twice"
        table[tap, tile * TILE + place] = pairs.input[of_list]
    return table


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize(
    "num_taps, num", [(27, 1000), (7, 64), (1, 65), (125, 3), (27, 0), (3, 63)]
)
def test_the_pairs_are_those_of_the_table(num_taps, num, dtype):
    if num == 0:
        table = torch.empty(num_taps, 0, dtype=dtype)
    else:
        table = random_table(num_taps, num, dtype=dtype)
    pairs = packed(LIBRARY, table)
    assert len(pairs.input) == len(pairs.place) == int((table >= 0).sum())
    assert torch.equal(unpacked(pairs, num), table.int())


def test_a_table_is_packed_once_and_for_its_life():
    table = random_table(27, 500)
    gc.collect()  # what other tests left
    before = len(derived._known)
    pairs = packed(LIBRARY, table)
    assert packed(LIBRARY, table) is pairs
    assert packed(LIBRARY, table.clone()) is not pairs
    del table
    gc.collect()
    assert len(derived._known) == before


def test_a_table_that_was_changed_is_packed_anew():
    table = random_table(27, 500)
    first = packed(LIBRARY, table)
    table[13] = torch.arange(500)
    second = packed(LIBRARY, table)
    assert second is not first
    assert torch.equal(unpacked(second, 500), table)


def test_a_table_made_in_inference_mode_is_packed_as_well():
    with torch.inference_mode():
        table = random_table(27, 500)
        assert packed(LIBRARY, table) is packed(LIBRARY, table)


def test_rows_beyond_the_table_are_refused():
    table = random_table(27, 500)
    table[3, 77] = 500
    with pytest.raises(IndexError, match="beyond the 500 voxels"):
        packed(LIBRARY, table)
