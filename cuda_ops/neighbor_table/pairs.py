"""The pairs of any table by the row that they name, made once for each table."""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_ops.derived import derived
from cuda_ops.runtime import CpuLibrary, int32


def pairs_of_sources(library: CpuLibrary, table: Tensor, num_sources: int) -> tuple[Tensor, Tensor]:
    """The pairs that every source is in; sorted once for a table that is used again.

    Args:
        library: the kernels.
        table: [K, N], rows in [0, M) or negative.
        num_sources: M.

    Returns:
        starts [M + 2] int64, of which M + 1 say where the pairs of each source begin, and pairs
        [K * N, 2] int32, (n, j) with table[j, n] = m, in the order of n.

    Raises:
        IndexError: the table names rows from M on.
    """

    def sort() -> tuple[Tensor, Tensor]:
        starts = torch.zeros(num_sources + 2, dtype=torch.int64)
        pairs = torch.empty(table.numel(), 2, dtype=torch.int32)
        sizes = (*table.shape, num_sources)
        if library.call("pc3d_pairs_of_sources", int32(table), *sizes, starts, pairs):
            raise IndexError(f"a table names rows beyond the {num_sources} that there are")
        return starts, pairs

    return derived(table, ("pairs of sources", num_sources), sort)
