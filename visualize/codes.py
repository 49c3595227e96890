"""What there is to show of a network's codebooks: the code that the voxel of each point chose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visualize.palette import code_colors

MAX_CODES = 256
"""Codes of a block that fit the byte which a page keeps per point."""


@dataclass(frozen=True)
class BlockCodes:
    """The choices of one block.

    Attributes:
        name: of the block, e.g. `"decoder.2.1"`.
        stride: size of the block's voxels, in voxels of the network's input.
        neighborhoods: of each of the D codes in words, e.g. `"cube, dilation 2"`; the empty string
            where it is not known.
        shares: [D] floats, the fraction of the block's voxels that chose each code.
        codes: [P] integers, the code that the voxel of each point chose.
    """

    name: str
    stride: int
    neighborhoods: tuple[str, ...]
    shares: NDArray[np.floating]
    codes: NDArray[np.integer]

    def __post_init__(self) -> None:
        num_codes = len(self.neighborhoods)
        if not 0 < num_codes <= MAX_CODES or self.shares.shape != (num_codes,):
            raise ValueError(
                f"block {self.name} must have 1 to {MAX_CODES} codes with one share each; got "
                f"{num_codes} neighbourhoods and shares of shape {self.shares.shape}"
            )
        if self.codes.ndim != 1 or not np.issubdtype(self.codes.dtype, np.integer):
            raise ValueError(
                f"codes of block {self.name} must be [P] integers; got {self.codes.shape} "
                f"{self.codes.dtype}"
            )
        if len(self.codes) and not 0 <= self.codes.min() <= self.codes.max() < num_codes:
            raise ValueError(
                f"codes of block {self.name} must be 0..{num_codes - 1}; got "
                f"{self.codes.min()}..{self.codes.max()}"
            )

    @property
    def title(self) -> str:
        """Name and resolution: `"decoder.2.1 (stride 2)"`."""
        return f"{self.name} (stride {self.stride})"

    @property
    def labels(self) -> list[str]:
        """Number and neighbourhood of each code: `"code 0: cube, dilation 2"`."""
        named = enumerate(self.neighborhoods)
        return [f"code {d}: {place}" if place else f"code {d}" for d, place in named]

    @property
    def percentages(self) -> list[str]:
        """The share of each code: `"41.3 %"`."""
        return [f"{100 * share:.1f} %" for share in self.shares]

    @property
    def palette(self) -> NDArray[np.uint8]:
        """[D, 3] uint8 RGB."""
        return code_colors(len(self.neighborhoods))

    @property
    def colors(self) -> list[str]:
        """The palette as in CSS: `"#e69f00"`."""
        return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in self.palette.tolist()]


@dataclass(frozen=True)
class CodeView:
    """The view of the chosen codes.

    Attributes:
        blocks: at least one, in the order in which they run.
        first: index of the block that is shown first; the only one in a picture.
    """

    blocks: tuple[BlockCodes, ...]
    first: int

    @property
    def shown(self) -> BlockCodes:
        """The block that is shown first."""
        return self.blocks[self.first]


def view_of(blocks: Sequence[BlockCodes], name: str = "") -> CodeView:
    """The view that starts with the block of that name.

    Args:
        blocks: at least one, in the order in which they run.
        name: the empty string takes the last block of the finest resolution.

    Raises:
        ValueError: no block of that name; lists those that there are.
    """
    names = [block.name for block in blocks]
    if not name:
        first = min(range(len(blocks)), key=lambda i: (blocks[i].stride, -i))
    elif name in names:
        first = names.index(name)
    else:
        raise ValueError(f"block={name} has no codebook; blocks that have: {', '.join(names)}")
    return CodeView(tuple(blocks), first)
