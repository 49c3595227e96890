"""Which scenes make a batch, and which process gets it."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler, SequentialSampler

from pc3d.data.datasets.base import SampleKey

_MEAN_FILL = 0.9  # the room that scenes of unequal size need to change places
_SWAPS_PER_SCENE = 8  # random transpositions mix N items after about N log(N) / 2 of them


class VoxelBudgetBatchSampler(Sampler[list[SampleKey]]):
    """Batches of training scenes with a bounded number of voxels.

    * A batch has at most `max_scenes` scenes of together at most `max_voxels` voxels. A scene
      counts for at most `max_voxels`, to which it will be cropped.
    * Every scene is in a batch of some process in every epoch, and no scene twice, except as below.
    * All processes have the same number of batches, the same in every epoch. Scenes are packed
      once, into a multiple of `world_size` batches that are filled to 90 % on average or less. An
      epoch then exchanges random scenes between batches wherever both stay within the budget,
      orders the batches at random, and deals them in turn to the processes. Only if there are too
      few scenes for a multiple of `world_size` does every scene become a batch of its own, and the
      epoch's first batches are repeated to fill the last round.

    With probability `mix3d`, the scenes of a batch are merged in pairs (Mix3D): the first with the
    second, the third with the fourth, and so on; an odd last one stays alone. The scenes of batches
    are the same with and without.

    An epoch is a function of (seed, epoch) alone: training resumed in epoch e sees the batches of
    epoch e. Sizes are those of the files, and augmentation changes them (measured on one LiDAR
    scan: scaling by 1.1 +4 %; shrunk to a room, +10 %, and jitter of 5 mm at a voxel size of 2 cm
    +29 %). Leave that room in the device's memory.

    Args:
        sizes: number of voxels of every scene.
        max_voxels: budget of a batch.
        max_scenes: largest number of scenes in a batch.
        seed: non-negative.
        rank: this process.
        world_size: number of processes.
        shuffle: False keeps the packing, its order, and what is merged in every epoch.
        mix3d: probability that the scenes of a batch are merged.

    Raises:
        ValueError: no scenes, a budget below 1, a rank outside `[0, world_size)`, or `mix3d`
            without room for two scenes in a batch.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        max_voxels: int,
        max_scenes: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = True,
        mix3d: float = 0.0,
    ) -> None:
        if not sizes:
            raise ValueError("VoxelBudgetBatchSampler needs at least one scene")
        if max_voxels < 1 or max_scenes < 1:
            raise ValueError(
                f"max_voxels and max_scenes must be at least 1; got {max_voxels} and {max_scenes}"
            )
        if mix3d > 0 and max_scenes < 2:
            raise ValueError(
                f"mix3d={mix3d} merges the scenes of a batch, but batches have one scene. Set "
                "dataset.max_scenes to at least 2 (and dataset.max_voxels so that two fit)."
            )
        _check_rank(rank, world_size)
        self.sizes = [min(size, max_voxels) for size in sizes]
        self.max_voxels, self.max_scenes = max_voxels, max_scenes
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.shuffle = shuffle
        self.mix3d = mix3d
        self.epoch = 0
        self._packing = pack(self.sizes, max_voxels, max_scenes, world_size)

    def describe(self) -> str:
        """What batches look like on average, and what keeps them from being larger."""
        num_batches = len(self._packing)
        num_full = sum(len(batch) >= self.max_scenes for batch in self._packing)
        text = f"{num_batches} batches of {len(self.sizes) / num_batches:.1f} scenes"
        if num_full < num_batches - 1:
            text += (
                f"; {num_full} have max_scenes={self.max_scenes}, the others are as full as "
                f"max_voxels={self.max_voxels} allows"
            )
        num_alone = sum(len(batch) == 1 for batch in self._packing)
        if self.mix3d > 0 and num_alone > 0.1 * num_batches:
            text += f"; {num_alone} hold one scene, which Mix3D has nothing to merge with"
        return text

    @property
    def sampler(self) -> VoxelBudgetBatchSampler:
        """Itself: Lightning calls `set_epoch` on `dataloader.batch_sampler.sampler`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self._packing) / self.world_size)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        epoch = self.epoch
        batches = self._epoch_batches(epoch)
        merged = self._rng(epoch, 1).random(len(batches)) < self.mix3d
        for turn in range(len(self)):
            number = (turn * self.world_size + self.rank) % len(batches)
            batch, together = batches[number], 2 if merged[number] else 1
            starts = range(0, len(batch), together)
            yield [SampleKey(epoch, *batch[start : start + together]) for start in starts]

    def _epoch_batches(self, epoch: int) -> list[list[int]]:
        """The batches of all processes, in the order in which they are dealt."""
        if not self.shuffle:
            return self._packing
        rng = self._rng(epoch, 0)
        batches = exchange(self._packing, self.sizes, self.max_voxels, rng)
        return [batches[i] for i in rng.permutation(len(batches))]

    def _rng(self, epoch: int, stream: int) -> np.random.Generator:
        # The spawn key keeps these streams apart from those of the scenes, [seed, epoch, index]:
        # without one, [seed, epoch] and [seed, epoch, 0] are the same stream.
        entropy = [self.seed, epoch if self.shuffle else 0]
        return np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(stream,)))


class ShardedEvalSampler(SequentialSampler):
    """Scenes rank, rank + world_size, ... in this order: each exactly once over all processes.

    Processes may have unequal numbers of scenes, in a test even none, so that no scene counts twice
    in a metric; nothing may be reduced between processes within a step. It is a `SequentialSampler`
    in Lightning's eyes too, which replaces all others when asked to overfit batches.

    Args:
        num_scenes: number of scenes of the split.
        rank: this process.
        world_size: number of processes.
    """

    def __init__(self, num_scenes: int, rank: int = 0, world_size: int = 1) -> None:
        _check_rank(rank, world_size)
        self._scenes = range(rank, num_scenes, world_size)
        super().__init__(self._scenes)

    def __iter__(self) -> Iterator[SampleKey]:  # type: ignore[override]
        return (SampleKey(0, scene) for scene in self._scenes)


def pack(
    sizes: Sequence[int], max_voxels: int, max_scenes: int, world_size: int = 1
) -> list[list[int]]:
    """Group scenes into batches of about equal size.

    Args:
        sizes: number of voxels of every scene, each at most `max_voxels`.
        max_voxels: budget of a batch.
        max_scenes: largest number of scenes in a batch.
        world_size: what the number of batches is a multiple of.

    Returns:
        Batches of scene indices, each index once, filled to 90 % on average or less. Every batch
        is a single scene if there are too few scenes for a multiple of `world_size`.
    """
    wanted = max(
        math.ceil(sum(sizes) / (_MEAN_FILL * max_voxels)), math.ceil(len(sizes) / max_scenes)
    )
    while True:
        num_batches = min(math.ceil(wanted / world_size) * world_size, len(sizes))
        batches = _balance(sizes, max_voxels, max_scenes, num_batches)
        if batches is not None:
            return batches
        wanted = num_batches + max(1, num_batches // 50)


def _balance(
    sizes: Sequence[int], max_voxels: int, max_scenes: int, num_batches: int
) -> list[list[int]] | None:
    """Give every scene, largest first, to the emptiest batch; None if some scene does not fit.

    Always fits with one batch per scene.
    """
    batches: list[list[int]] = [[] for _ in range(num_batches)]
    emptiest = [(0, batch) for batch in range(num_batches)]  # a heap by number of voxels
    for scene in sorted(range(len(sizes)), key=lambda scene: -sizes[scene]):
        if not emptiest or emptiest[0][0] + sizes[scene] > max_voxels:
            return None
        load, batch = heapq.heappop(emptiest)
        batches[batch].append(scene)
        if len(batches[batch]) < max_scenes:
            heapq.heappush(emptiest, (load + sizes[scene], batch))
    return batches


def exchange(
    batches: Sequence[Sequence[int]],
    sizes: Sequence[int],
    max_voxels: int,
    rng: np.random.Generator,
) -> list[list[int]]:
    """Exchange random pairs of scenes between batches wherever both stay within `max_voxels`.

    The number of batches, and of scenes in each, stays.
    """
    result = [list(batch) for batch in batches]
    load = [sum(sizes[scene] for scene in batch) for batch in result]
    places = [(b, slot) for b, batch in enumerate(result) for slot in range(len(batch))]
    pairs = rng.integers(len(places), size=(_SWAPS_PER_SCENE * len(places), 2))
    for one, other in pairs.tolist():
        (a, i), (b, j) = places[one], places[other]
        growth = sizes[result[b][j]] - sizes[result[a][i]]
        if a != b and load[a] + growth <= max_voxels and load[b] - growth <= max_voxels:
            result[a][i], result[b][j] = result[b][j], result[a][i]
            load[a] += growth
            load[b] -= growth
    return result


def _check_rank(rank: int, world_size: int) -> None:
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must lie in [0, world_size); got {rank} of {world_size}")
