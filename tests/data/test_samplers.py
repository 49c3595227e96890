"""What every epoch of the batch sampler must satisfy, for many sizes and world sizes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.data.samplers import ShardedEvalSampler, VoxelBudgetBatchSampler, pack


def epoch_of_all_ranks(sizes, max_voxels, max_scenes, world_size, epoch, **options):
    """[rank][turn] -> batch of scene indices."""
    ranks = []
    for rank in range(world_size):
        sampler = VoxelBudgetBatchSampler(
            sizes, max_voxels, max_scenes, rank=rank, world_size=world_size, **options
        )
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        assert {key.epoch for batch in batches for key in batch} == {epoch}
        ranks.append([[key.scene_index for key in batch] for batch in batches])
    return ranks


@settings(max_examples=150, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 1500), min_size=1, max_size=40),
    max_voxels=st.integers(100, 2000),
    max_scenes=st.integers(1, 6),
    world_size=st.integers(1, 5),
    epoch=st.integers(0, 5),
    shuffle=st.booleans(),
)
def test_budget_coverage_and_equal_lengths(
    sizes, max_voxels, max_scenes, world_size, epoch, shuffle
):
    ranks = epoch_of_all_ranks(sizes, max_voxels, max_scenes, world_size, epoch, shuffle=shuffle)
    assert len({len(batches) for batches in ranks}) == 1
    batches = [batch for own in ranks for batch in own]
    for batch in batches:
        assert 1 <= len(batch) <= max_scenes
        assert sum(min(sizes[scene], max_voxels) for scene in batch) <= max_voxels
    seen = Counter(scene for batch in batches for scene in batch)
    assert set(seen) == set(range(len(sizes)))
    repeats = sum(seen.values()) - len(sizes)
    if repeats:  # only where nothing was left to split, and less than one round
        assert all(len(batch) == 1 for batch in batches)
        assert repeats < world_size


def test_exchanges_keep_the_budget_where_it_is_tight():
    """Few scenes per batch, of very unequal size: most exchanges must be refused."""
    sizes = np.random.default_rng(3).lognormal(5, 0.7, 200).astype(int).tolist()
    budget = 2 * max(sizes) // 3
    for epoch in range(5):
        (batches,) = epoch_of_all_ranks(sizes, budget, 10, 1, epoch)
        loads = [sum(min(sizes[scene], budget) for scene in batch) for batch in batches]
        assert max(loads) <= budget


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_number_of_batches_is_the_same_in_every_epoch(world_size):
    sizes = np.random.default_rng(0).integers(20, 400, 57).tolist()
    lengths = {
        len(own)
        for epoch in range(20)
        for own in epoch_of_all_ranks(sizes, 900, 5, world_size, epoch)
    }
    assert len(lengths) == 1


def test_an_epoch_depends_on_seed_and_epoch_only():
    sizes = np.random.default_rng(0).integers(20, 400, 57).tolist()
    sampler = VoxelBudgetBatchSampler(sizes, 900, 5, seed=1)
    epochs = []
    for epoch in (0, 1, 2):
        sampler.set_epoch(epoch)
        epochs.append(list(sampler))
    resumed = VoxelBudgetBatchSampler(sizes, 900, 5, seed=1)
    resumed.set_epoch(2)
    assert list(resumed) == epochs[2] == list(sampler)
    order = [[[k.scene_index for k in b] for b in e] for e in epochs]
    assert order[0] != order[1] != order[2]
    other_seed = VoxelBudgetBatchSampler(sizes, 900, 5, seed=2)
    assert [[k.scene_index for k in b] for b in other_seed] != order[0]


def test_without_shuffle_every_epoch_is_the_same():
    first, second = (
        epoch_of_all_ranks([5, 9, 2, 7, 3], 12, 2, 1, epoch, shuffle=False) for epoch in (0, 4)
    )
    assert first == second


@pytest.mark.parametrize("max_scenes", [4, 100], ids=["bound by scenes", "bound by voxels"])
def test_epochs_mix_scenes_thoroughly(max_scenes):
    """How often two scenes meet scatters hardly more than if batches were drawn at random.

    The count of a pair over many independent epochs is nearly a Poisson number: variance / mean is
    1. Scenes of unequal size within a budget cannot reach it; without exchange it would be 200.
    """
    sizes = np.random.default_rng(1).lognormal(11, 0.4, 60).astype(int)
    budget = 6 * int(sizes.mean())
    sampler = VoxelBudgetBatchSampler(sizes.tolist(), budget, max_scenes)
    met = np.zeros((60, 60))
    first = Counter()
    for epoch in range(200):
        sampler.set_epoch(epoch)
        batches = [[key.scene_index for key in batch] for batch in sampler]
        first.update(batches[0])
        for batch in batches:
            met[np.ix_(batch, batch)] += 1
    pairs = met[~np.eye(60, dtype=bool)]
    assert pairs.var() / pairs.mean() < 1.7
    assert len(first) == 60


def test_packing_is_tight_and_even():
    """Within 2 % of the number of batches that a mean filling of 90 % takes."""
    sizes = np.random.default_rng(2).integers(10, 400, 400).tolist()
    loads = [sum(sizes[scene] for scene in batch) for batch in pack(sizes, 1000, 100)]
    assert len(loads) <= 1.02 * sum(sizes) / 900 + 1
    assert max(loads) <= 1000
    assert min(loads) > 700
    by_count = pack([1] * 17, 1000, 4)
    assert sorted(map(len, by_count)) == [3, 3, 3, 4, 4]
    halves = pack([55] * 30, 100, 4)  # no two fit together
    assert sorted(halves) == [[scene] for scene in range(30)]


def test_batches_are_repeated_only_when_all_are_single_scenes():
    ranks = epoch_of_all_ranks([10, 10, 10], 100, 3, 2, epoch=0)  # one batch would hold them
    assert sorted(scene for own in ranks for batch in own for scene in batch) == [0, 1, 2]
    assert [len(own) for own in ranks] == [1, 1]
    alone = epoch_of_all_ranks([10], 100, 3, 3, epoch=0)
    assert alone == [[[0]], [[0]], [[0]]]


def test_what_batches_are_like_is_said():
    full = VoxelBudgetBatchSampler([10] * 8, max_voxels=100, max_scenes=2, mix3d=0.8)
    assert full.describe() == "4 batches of 2.0 scenes"
    tight = VoxelBudgetBatchSampler([60, 60, 60, 30, 30], max_voxels=100, max_scenes=3, mix3d=0.8)
    assert tight.describe() == (
        "3 batches of 1.7 scenes; 0 have max_scenes=3, the others are as full as max_voxels=100 "
        "allows; 1 hold one scene, which Mix3D has nothing to merge with"
    )


def test_eval_shards_are_disjoint_complete_and_unpadded():
    for num_scenes, world_size in ((10, 3), (2, 4), (1, 1)):
        shards = [
            [key.scene_index for key in ShardedEvalSampler(num_scenes, rank, world_size)]
            for rank in range(world_size)
        ]
        assert sorted(scene for shard in shards for scene in shard) == list(range(num_scenes))
        assert shards[0] == list(range(0, num_scenes, world_size))
        lengths = [len(ShardedEvalSampler(num_scenes, r, world_size)) for r in range(world_size)]
        assert lengths == [len(shard) for shard in shards]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([], 10, 1), "at least one scene"),
        (([5], 0, 1), "max_voxels"),
        (([5], 10, 0), "max_scenes"),
        (([5], 10, 1, 0, 2, 2), "rank"),
    ],
)
def test_senseless_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        VoxelBudgetBatchSampler(*arguments)
