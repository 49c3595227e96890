"""What the reference and the kernels of this folder agree on."""

from __future__ import annotations

import ctypes
import struct
from itertools import pairwise

import torch
from torch import Tensor


def squared_limit(radius: float | None, dtype: torch.dtype) -> float:
    """The largest squared distance of a neighbour: finite, so that no overflow is one."""
    largest = torch.finfo(dtype).max
    if radius is None:
        return largest
    if dtype == torch.float32:
        rounded = ctypes.c_float(radius).value  # its square is exact in Python's double
        return min(ctypes.c_float(rounded * rounded).value, largest)
    return min(radius * radius, largest)


def limit_bits(radius: float | None) -> int:
    """The bits of `squared_limit` in float32, which kernels are given."""
    bits: int = struct.unpack("<i", struct.pack("<f", squared_limit(radius, torch.float32)))[0]
    return bits


def checked_bounds(name: str, offsets: Tensor, num_rows: int) -> list[int]:
    """Offsets as integers.

    Raises:
        ValueError: they do not ascend from 0 to `num_rows`.
    """
    bounds: list[int] = offsets.tolist()
    ascending = all(a <= b for a, b in pairwise(bounds))
    if not ascending or bounds[0] != 0 or bounds[-1] != num_rows:
        shown = ", ".join(map(str, bounds if len(bounds) <= 8 else [*bounds[:7], "..."]))
        raise ValueError(
            f"{name} must ascend from 0 to the {num_rows} rows; got [{shown}]. "
            "Cloud b holds the rows offsets[b]:offsets[b + 1]."
        )
    return bounds


def not_finite(num_points: int, num_queries: int) -> ValueError:
    """The error for coordinates that are NaN or infinite."""
    return ValueError(
        f"{num_points} points and {num_queries} queries have coordinates that are not finite; "
        "remove them before the search"
    )


def is_same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are the same memory, so that what is made of one serves the other."""
    return a.data_ptr() == b.data_ptr() and a.shape == b.shape and a.stride() == b.stride()
