"""Morton keys: one int64 per voxel; sorted keys put neighbours in space next to each other.

    key = batch << 54 | interleave(x + 2^17, y + 2^17, z + 2^17)

with x the most significant bit of each triple, so that `key & 7` is the tap of the 2x2x2 kernel. 9
bits hold the cloud and 18 bits each axis. The packing is injective: no two voxels share a key.
Coordinates keep a border of 2^10 to the end of the range, so that a neighbour offset never wraps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cuda_ops.library import define
from cuda_ops.morton import cpu, cuda

AXIS_BITS = 18
BIAS = 1 << (AXIS_BITS - 1)
MAX_COORDINATE = BIAS - (1 << 10)
"""Largest |x|, |y|, |z| that a key can hold."""
MAX_BATCH = 512
"""Clouds per batch that a key can tell apart."""

_BATCH_SHIFT = 3 * AXIS_BITS
# Spreading bit i of an 18-bit number to bit 3 i: (shift, mask) as for any Morton code.
_SPREAD = (
    (16, 0x00FF0000FF),
    (8, 0x00F00F00F00F),
    (4, 0x0C30C30C30C3),
    (2, 0x249249249249),
)
_LOW_16 = 0xFFFF
_HIGH_PLACE = 48  # bits 16 and 17 of an axis land at 48 and 51


def _spread(value: Tensor) -> Tensor:
    low = value & _LOW_16
    for shift, mask in _SPREAD:
        low = (low | (low << shift)) & mask
    high = value >> 16
    return low | ((high & 1) << _HIGH_PLACE) | ((high & 2) << (_HIGH_PLACE + 2))


def _gather(value: Tensor) -> Tensor:
    low = value & _SPREAD[-1][1]
    for (shift, _), mask in zip(
        reversed(_SPREAD), (*(m for _, m in reversed(_SPREAD[:-1])), _LOW_16), strict=True
    ):
        low = (low | (low >> shift)) & mask
    high = value >> _HIGH_PLACE
    return low | ((high & 1) << 16) | ((high & 8) << 14)


def encode_cloud(batch: Tensor) -> Tensor:
    """The bits of a key that the batch index contributes."""
    return batch.to(torch.int64) << _BATCH_SHIFT


def encode_axis(coordinate: Tensor, axis: int) -> Tensor:
    """The bits of a key that one axis (0 = x, 1 = y, 2 = z) contributes: the key is their union."""
    return _spread(coordinate.to(torch.int64) + BIAS) << (2 - axis)


def encode_unchecked(indices: Tensor) -> Tensor:
    """`morton_encode` for coordinates that are known to fit: derived from a checked set."""
    batch, *axes = indices.unbind(1)
    key = encode_cloud(batch)
    for axis, coordinate in enumerate(axes):
        key = key | encode_axis(coordinate, axis)
    return key


def reference_encode(indices: Tensor) -> Tensor:
    if indices.numel():
        batch, axes = indices[:, 0], indices[:, 1:]
        low, high = int(axes.min()), int(axes.max())
        if low < -MAX_COORDINATE or high > MAX_COORDINATE:
            raise ValueError(
                f"voxel coordinates span {low}..{high}, but keys hold "
                f"-{MAX_COORDINATE}..{MAX_COORDINATE}. Center the scene, use a larger voxel_size, "
                "or cut the scene into tiles."
            )
        if int(batch.min()) < 0 or int(batch.max()) >= MAX_BATCH:
            raise ValueError(
                f"batch indices span {int(batch.min())}..{int(batch.max())}, but keys hold "
                f"0..{MAX_BATCH - 1} clouds. Use smaller batches."
            )
    return encode_unchecked(indices)


def reference_decode(keys: Tensor) -> Tensor:
    axes = [_gather(keys >> shift) - BIAS for shift in (2, 1, 0)]
    return torch.stack([keys >> _BATCH_SHIFT, *axes], dim=1).to(torch.int32)


_encode = define(
    "morton_encode(Tensor indices) -> Tensor",
    reference_encode,
    lambda indices: indices.new_empty(indices.shape[0], dtype=torch.int64),
    cpu.encode,
    cuda.encode,
)
_decode = define(
    "morton_decode(Tensor keys) -> Tensor",
    reference_decode,
    lambda keys: keys.new_empty((keys.shape[0], 4), dtype=torch.int32),
    cpu.decode,
    cuda.decode,
)


def morton_encode(indices: Tensor) -> Tensor:
    """Pack voxel coordinates into sortable keys.

    Args:
        indices: [N, 4] int32 rows (batch, x, y, z); negative x, y, z are legal.

    Returns:
        [N] int64 keys.

    Raises:
        ValueError: wrong shape, |x|, |y| or |z| above `MAX_COORDINATE`, or a batch index outside
            0..511.
    """
    if indices.ndim != 2 or indices.shape[1] != 4 or indices.dtype != torch.int32:
        raise ValueError(
            "indices must be [N, 4] int32 rows (batch, x, y, z); got "
            f"{tuple(indices.shape)} {indices.dtype}. Voxelize points first."
        )
    result: Tensor = _encode(indices)
    return result


def morton_decode(keys: Tensor) -> Tensor:
    """The inverse of `morton_encode`: [N] int64 keys to [N, 4] int32 rows (batch, x, y, z)."""
    result: Tensor = _decode(keys)
    return result
