"""Sparse convolution between coordinate sets, as one function of their relation."""

from __future__ import annotations

from torch import Tensor

import cuda_ops
from pc3d.sparse.coords import CoordSet
from pc3d.sparse.kernel_map import KernelMap
from pc3d.sparse.relation import KernelSpec
from pc3d.sparse.tensor import SparseTensor


def conv(x: SparseTensor, weight: Tensor, out_coords: CoordSet, spec: KernelSpec) -> SparseTensor:
    """Convolve `x` onto `out_coords` by the relation of `pc3d.sparse.relation`.

    Args:
        x: [N, C_in] features.
        weight: [K, C_in, C_out], taps in the order of `spec.offsets`.
        out_coords: where the output stands. `x.coords` for a submanifold kernel; for stride 2
            either `x.coords.down()[0]` (down) or the set whose `down()` gave `x.coords` (up).
        spec: the kernel.

    Returns:
        [M, C_out] features on `out_coords`.

    Raises:
        ValueError: `out_coords` does not stand in that relation to `x.coords`.
    """
    kernel_map = _relate(x.coords, out_coords, spec)
    feats = cuda_ops.sparse_conv(x.feats, weight, kernel_map.table, kernel_map.table_t)
    return SparseTensor(out_coords, feats)


def _relate(source: CoordSet, target: CoordSet, spec: KernelSpec) -> KernelMap:
    if spec.stride == 1 and source is target:
        return source.neighbors(spec)
    if spec.stride == 2 and target.stride == 2 * source.stride:
        coarse, down = source.down()
        if coarse is target:
            return down
    if spec.stride == 2 and source.stride == 2 * target.stride:
        coarse, down = target.down()
        if coarse is source:
            return down.transposed
    raise ValueError(
        f"no kernel of stride {spec.stride} leads from {source} to {target}. Submanifold kernels "
        "need out_coords=x.coords; stride 2 needs x.coords.down()[0], or on the way up the very "
        "set whose down() gave x.coords."
    )
