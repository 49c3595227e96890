"""`KernelMap`: which input row meets which output row at each tap."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor


@dataclass(frozen=True)
class KernelMap:
    """The pairs of one kernel between an input set of N and an output set of M voxels.

    A missing neighbour is -1 in both tables until a kernel skips it. The map holds no reference to
    its coordinate sets, so that dropping a set frees its memory at once.

    Attributes:
        table: [K, M] int32, the input row at each tap of each output row, or -1.
        table_t: [K, N] int32, the output row that each input row feeds through each tap, or -1.
            None for a submanifold kernel: offset(tap) == -offset(K - 1 - tap) there, so that the
            transpose is `table` with the taps in reverse.
    """

    table: Tensor
    table_t: Tensor | None = field(default=None, repr=False)

    @property
    def transposed(self) -> KernelMap:
        """The map of the transposed convolution: inputs and outputs change places."""
        if self.table_t is None:
            return KernelMap(self.table.flip(0))
        return KernelMap(self.table_t, self.table)

    @cached_property
    def num_pairs(self) -> int:
        """Input-output pairs over all taps: multiply by C_in * C_out for the exact MACs."""
        return int((self.table >= 0).sum())

    @cached_property
    def parents(self) -> Tensor:
        """[N] int32, the output row that each input row lies in. Of the 2x2x2 kernel alone."""
        assert self.table_t is not None
        # A voxel meets its one parent at one tap and has -1 at the others.
        return self.table_t.amax(dim=0)

    @cached_property
    def num_children(self) -> Tensor:
        """[M] int64, how many input rows lie in each output row. Of the 2x2x2 kernel alone."""
        return (self.table >= 0).sum(dim=0)

    @property
    def nbytes(self) -> int:
        """Bytes of the tables, and of what was made of them and kept."""
        held = [self.table, self.table_t]
        held += [self.__dict__.get(name) for name in ("parents", "num_children")]
        return sum(tensor.nbytes for tensor in held if tensor is not None)
