"""`SparseTensor`: features on a `CoordSet`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pc3d.sparse.coords import CoordSet


@dataclass(frozen=True, eq=False)
class SparseTensor:
    """Features of N voxels. Frozen: `with_feats` makes a new tensor on the same coordinates.

    Attributes:
        coords: the N voxels.
        feats: [N, C] floating point, one row per voxel.

    Raises:
        ValueError: `feats` is not [N, C].
    """

    coords: CoordSet
    feats: Tensor

    def __post_init__(self) -> None:
        if self.feats.ndim != 2 or len(self.feats) != len(self.coords):
            raise ValueError(
                f"feats must be [{len(self.coords)}, C], one row per voxel; got "
                f"{tuple(self.feats.shape)}"
            )

    @property
    def num_channels(self) -> int:
        return self.feats.shape[1]

    def with_feats(self, feats: Tensor) -> SparseTensor:
        """The same voxels with other features ([N, C'])."""
        return SparseTensor(self.coords, feats)

    def __add__(self, other: SparseTensor) -> SparseTensor:
        self._check_same(other, "add")
        return self.with_feats(self.feats + other.feats)

    def cat(self, other: SparseTensor) -> SparseTensor:
        """Channels of both, this tensor's first."""
        self._check_same(other, "concatenate")
        return self.with_feats(torch.cat([self.feats, other.feats], dim=1))

    def _check_same(self, other: SparseTensor, verb: str) -> None:
        if self.coords is not other.coords:
            raise ValueError(
                f"cannot {verb} tensors on different coordinates ({self.coords} and "
                f"{other.coords}). Upsample onto the other's coords first."
            )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> SparseTensor:
        return SparseTensor(
            self.coords.to(device, non_blocking), self.feats.to(device, non_blocking=non_blocking)
        )

    def pin_memory(self) -> SparseTensor:
        return SparseTensor(self.coords.pin_memory(), self.feats.pin_memory())
