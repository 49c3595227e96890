"""`CoordSet`: an immutable set of voxel coordinates that remembers its kernel maps."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

import cuda_ops
from pc3d.sparse.kernel_map import KernelMap
from pc3d.sparse.relation import DOWN, KernelSpec


class CoordSet:
    """N voxels of B clouds on one lattice, in key order.

    Rows are kept in the order of `cuda_ops.morton_encode`, so that neighbours in space are
    neighbours in memory and the coarse set is a scan. Whoever builds a set absorbs the permutation
    once, in `point2voxel`. Relations to itself and to coarser sets are computed on first use and
    kept; the decoder of a U-Net asks the same object and gets the same map. Two tensors may be
    added if `a.coords is b.coords`.

    Args:
        indices: [N, 4] int32 rows (batch, x, y, z), unique, ascending by key; negatives are legal.
        batch_size: number of clouds B; clouds without voxels are legal.
        stride: size of this lattice's cells in voxels of the finest set.

    Raises:
        ValueError: wrong shape or dtype, coordinates beyond the packing range, rows that are
            duplicated or not in key order, a batch index outside `[0, batch_size)`.
    """

    __slots__ = (
        "__weakref__",
        "_coarse",
        "_keys",
        "_maps",
        "_sizes",
        "batch_size",
        "indices",
        "stride",
    )

    indices: Tensor
    batch_size: int
    stride: int
    _keys: Tensor
    _maps: dict[KernelSpec, KernelMap]
    _coarse: tuple[CoordSet, KernelMap] | None
    _sizes: tuple[tuple[int, ...], ...]

    def __init__(self, indices: Tensor, batch_size: int, stride: int = 1) -> None:
        keys = cuda_ops.morton_encode(indices)
        if keys.numel():
            if not bool((keys[1:] > keys[:-1]).all()):
                raise ValueError(
                    "coords must be unique and in key order (cuda_ops.morton_encode). Voxelize "
                    "points with cuda_ops.voxelize, which sorts and removes duplicates."
                )
            last = int(indices[-1, 0])
            if last >= batch_size:
                raise ValueError(f"batch index {last} does not fit batch_size={batch_size}")
        self._set(indices, keys, batch_size, stride)

    def _set(self, indices: Tensor, keys: Tensor, batch_size: int, stride: int) -> None:
        values: dict[str, Any] = {
            "indices": indices,
            "batch_size": batch_size,
            "stride": stride,
            "_keys": keys,
            "_maps": {},
            "_coarse": None,
            "_sizes": (),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def _trusted(cls, keys: Tensor, batch_size: int, stride: int) -> CoordSet:
        """A set whose keys come from a checked set."""
        coords = cls.__new__(cls)
        coords._set(cuda_ops.morton_decode(keys), keys, batch_size, stride)
        return coords

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"CoordSet is immutable; make a new one instead of setting {name!r}")

    def __len__(self) -> int:
        return len(self.indices)

    def __repr__(self) -> str:
        return (
            f"CoordSet({len(self)} voxels, batch_size={self.batch_size}, stride={self.stride}, "
            f"device={self.indices.device})"
        )

    @property
    def keys(self) -> Tensor:
        """[N] int64, ascending. Keys of sets with different strides are not comparable."""
        return self._keys

    @property
    def device(self) -> torch.device:
        return self.indices.device

    def neighbors(self, spec: KernelSpec) -> KernelMap:
        """The map of a submanifold kernel: this set is input and output.

        Raises:
            ValueError: a kernel with stride; use `down` for that.
        """
        if spec.stride != 1:
            raise ValueError(f"neighbors() takes kernels of stride 1, got {spec}; use down()")
        if spec not in self._maps:
            offsets = _on_device(spec.offsets, self.device)
            self._maps[spec] = KernelMap(cuda_ops.neighbor_table(self._keys, offsets))
        return self._maps[spec]

    def down(self) -> tuple[CoordSet, KernelMap]:
        """The set at twice the stride, and the map of the 2x2x2 kernel from this set to it."""
        if self._coarse is None:
            if self.device.type == "cuda":
                self._count_levels()
            num_coarse = map(sum, self._sizes[1:2])
            keys, table, table_t = cuda_ops.down_table(self._keys, *num_coarse)
            coarse = CoordSet._trusted(keys, self.batch_size, self.stride * DOWN.stride)
            object.__setattr__(coarse, "_sizes", self._sizes[1:])
            object.__setattr__(self, "_coarse", (coarse, KernelMap(table, table_t)))
        assert self._coarse is not None
        return self._coarse

    @property
    def cloud_sizes(self) -> tuple[int, ...]:
        """The number of voxels of every cloud."""
        self._count_levels()
        return self._sizes[0] if self._sizes else ()

    def _count_levels(self) -> None:
        """Learn how many voxels every cloud has at every coarser stride, all at once.

        Sizes of coarse sets are known from their content alone, so a GPU must be waited for; what
        comes from the CPU has counted there.
        """
        if not self._sizes and self.batch_size:
            clouds = torch.arange(self.batch_size + 1, device=self.device)
            begins = torch.searchsorted(self.indices.select(1, 0).long(), clouds)
            parts = self._keys.split(begins.diff().tolist())
            levels = [cuda_ops.level_sizes(keys) for keys in parts]
            sizes = torch.stack(levels, dim=1).tolist()
            object.__setattr__(self, "_sizes", tuple(map(tuple, sizes)))

    def select(self, rows: Tensor) -> CoordSet:
        """The voxels at `rows` ([M] int64, ascending) as a set of its own."""
        return self._copy(self.indices[rows], self._keys[rows])

    def _copy(self, indices: Tensor, keys: Tensor) -> CoordSet:
        coords = CoordSet.__new__(CoordSet)
        coords._set(indices, keys, self.batch_size, self.stride)
        return coords

    def to(self, device: torch.device | str, non_blocking: bool = False) -> CoordSet:
        """This set on another device, without its maps; itself if it is there already."""
        device = torch.device(device)
        if device == self.device:
            return self
        if device.type == "cuda" and self.device.type == "cpu":
            self._count_levels()  # while nothing waits
        coords = self._copy(
            self.indices.to(device, non_blocking=non_blocking),
            self._keys.to(device, non_blocking=non_blocking),
        )
        object.__setattr__(coords, "_sizes", self._sizes)
        return coords

    def pin_memory(self) -> CoordSet:
        return self._copy(self.indices.pin_memory(), self._keys.pin_memory())

    @property
    def nbytes(self) -> int:
        """Bytes held by this set, its maps, and the coarser sets below it."""
        total = self.indices.nbytes + self._keys.nbytes
        total += sum(kernel_map.nbytes for kernel_map in self._maps.values())
        if self._coarse is not None:
            coarse, kernel_map = self._coarse
            total += coarse.nbytes + kernel_map.nbytes
        return total

    def clear(self) -> None:
        """Forget all maps and coarser sets; they are computed again when asked for."""
        self._maps.clear()
        object.__setattr__(self, "_coarse", None)

    def __reduce__(self) -> tuple[Any, ...]:
        # Caches stay behind: a worker sends coordinates, not tables.
        return _rebuild, (self.indices, self._keys, self.batch_size, self.stride)


@lru_cache
def _on_device(offsets: tuple[tuple[int, int, int], ...], device: torch.device) -> Tensor:
    """[K, 3] int32; kept, as every copy to a GPU waits for it."""
    return torch.tensor(offsets, dtype=torch.int32, device=device)


def _rebuild(indices: Tensor, keys: Tensor, batch_size: int, stride: int) -> CoordSet:
    coords = CoordSet.__new__(CoordSet)
    coords._set(indices, keys, batch_size, stride)
    return coords
