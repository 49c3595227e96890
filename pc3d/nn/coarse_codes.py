"""Codes on the voxels of twice the size, beside those on a block's own.

With p(n) the parent of voxel n, x2 and v2 the means of features x and values v over the children of
a parent, and table2 the neighbours of code d among the parents:

    logits[n, d, g] = sum over taps k of S_d[k, g] * q_d[table2[k, p(n)], g]
    u_d[n, c]       = sum over taps k of code_d[k, c] * v2[table2[k, p(n)], c]

with queries q_d from a convolution of x2. Both are computed once for a parent and read by its
children. The choice is one over all codes, so that a voxel weighs near against far, fine against
coarse; y is the sum over codes of choice times u, as in `pc3d.nn.codebook_attention`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

import cuda_ops
from pc3d.sparse import CoordSet, SparseTensor


def mean_of_children(x: SparseTensor) -> SparseTensor:
    """[M, C] on the set of twice the stride: the mean over the voxels within each of its own."""
    coarse, down = x.coords.down()
    parents = down.parents.long()
    return SparseTensor(coarse, cuda_ops.voxel_mean(x.feats, parents, down.num_children))


def at_children(values: Tensor, coords: CoordSet) -> Tensor:
    """[N, C] on `coords`: for every voxel, the values [M, C] of its parent. Deterministic."""
    parents = coords.down()[1].parents.unsqueeze(0)
    ones = torch.ones_like(parents, dtype=torch.float32)
    return cuda_ops.devoxelize(values, parents, ones)


def mix_two_strides(
    v: SparseTensor,
    weights: Tensor | None,
    codes: Sequence[Tensor],
    tables: Sequence[Tensor],
    strides: Sequence[int],
) -> Tensor:
    """Codes of both strides, mixed. Differentiable in values, weights and codes.

    Every code is computed, also where the weights are one-hot.

    Args:
        v: values [N, C].
        weights: [N, D, G], how much of each code each voxel and group takes; None: 1 for all.
        codes: D tensors [K_d, C].
        tables: D tables [K_d, N], or [K_d, M] of the parents for codes of stride 2.
        strides: 1 or 2 for each code, at least one of them 2.

    Returns:
        [N, C].
    """
    parts = []
    by_code = [] if weights is None else weights.unbind(dim=1)
    fine = [d for d, stride in enumerate(strides) if stride == 1]
    if fine:
        taken = None if weights is None else torch.stack([by_code[d] for d in fine], dim=1)
        code, near = torch.cat([codes[d] for d in fine]), [tables[d] for d in fine]
        parts.append(cuda_ops.codebook_attention(v.feats, taken, code, near))
    means = mean_of_children(v).feats
    for d, stride in enumerate(strides):
        if stride == 2:
            response = cuda_ops.codebook_attention(means, None, codes[d], [tables[d]])
            u = at_children(response, v.coords)
            parts.append(u if weights is None else _weighed(u, by_code[d]))
    y = parts[0]
    for part in parts[1:]:
        y = y + part
    return y


def _weighed(u: Tensor, weight: Tensor) -> Tensor:
    """u [N, C] times the weight [N, G] of each channel's group, in the dtype of u."""
    by_group = u.unflatten(1, (weight.shape[1], -1))
    return (by_group * weight.unsqueeze(2)).flatten(1).to(u.dtype)
