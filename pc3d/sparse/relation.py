"""THE formula that links two coordinate sets and a tap. It is stated here and nowhere else.

With both sets on their own lattice:

    fine = stride * coarse + offset(tap)
    offset = dilation * (tap - (size - 1) // 2)     when stride == 1    (submanifold)
    offset = tap                                    when stride == size (down and up)

A convolution is `out[m] = sum over taps of weight[tap] applied to in[fine(m, tap)]`. Taps are
enumerated x slowest, z fastest, as `torch.nn.Conv3d` flattens its kernel. A cross is the sublist of
the cube's taps with at most one non-zero coordinate, in the cube's order.

With stride 2 the cells do not overlap, so each fine voxel has exactly one parent,
`floor(fine / 2)`, and exactly one tap.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Literal

SIZES = (1, 3, 5)
MAX_REACH = 1023
"""Largest offset component; morton keys keep that much room at the border of their range."""


@dataclass(frozen=True)
class KernelSpec:
    """The shape of a kernel.

    Args:
        size: taps per axis: 1, 3 or 5 at stride 1; 2 at stride 2.
        stride: 1 (submanifold) or 2 (down, and its transpose up).
        dilation: distance between taps, in voxels; 1 at stride 2.
        shape: `"cube"`, or `"cross"` for the taps on the axes.

    Raises:
        ValueError: any other combination.
    """

    size: int = 3
    stride: int = 1
    dilation: int = 1
    shape: Literal["cube", "cross"] = "cube"

    def __post_init__(self) -> None:
        legal = (
            self.size in SIZES
            and self.dilation >= 1
            and self.dilation * (self.size // 2) <= MAX_REACH
            if self.stride == 1
            else (self.size, self.stride, self.dilation, self.shape) == (2, 2, 1, "cube")
        )
        if not legal or self.shape not in ("cube", "cross"):
            raise ValueError(
                "a kernel has size 1, 3 or 5 at stride 1 (cube or cross, dilation >= 1, reach <= "
                f"{MAX_REACH}) or is the cube of size 2 at stride 2; got size={self.size}, "
                f"stride={self.stride}, dilation={self.dilation}, shape={self.shape!r}"
            )

    @cached_property
    def offsets(self) -> tuple[tuple[int, int, int], ...]:
        """The offset of every tap, in tap order, in voxels of the fine set."""
        center = 0 if self.stride == self.size else (self.size - 1) // 2
        axis = [self.dilation * (tap - center) for tap in range(self.size)]
        return tuple(
            (x, y, z)
            for x, y, z in product(axis, axis, axis)
            if self.shape == "cube" or (x != 0) + (y != 0) + (z != 0) <= 1
        )

    @property
    def num_taps(self) -> int:
        return len(self.offsets)


DOWN = KernelSpec(size=2, stride=2)
"""The kernel between a set and the set of half its resolution."""
