"""Votes of views and fragments: counted by hand, summed, and never more than one at a time."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pc3d.data.view_dataset import ViewBatch
from pc3d.data.views import View, Voting
from pc3d.models import SegmentationOutput
from pc3d.sparse import Batch, SparseTensor
from pc3d.tasks.tiling import predict_points
from pc3d.tasks.voting import SceneVotes, fragments
from tests.attack import Cloud, asymmetric, make, random_points
from tests.sparse.test_points import batch_of

CLOUD = make(random_points(300, 0, -4, 4, 5), 1)
NUM_CLASSES = 5
MAX = 10**6


class Linear:
    """Scores from the features of a voxel alone; counts its calls."""

    def __init__(self, observe: Callable[[Batch], None] = lambda batch: None) -> None:
        self.weight, self.observe, self.sizes = asymmetric(2, NUM_CLASSES).float(), observe, []

    def __call__(self, batch: Batch) -> SegmentationOutput:
        self.sizes.append(len(batch.voxels.coords))
        self.observe(batch)
        return SegmentationOutput(batch.voxels.feats @ self.weight)


class LinearAtPoints(Linear):
    """The same, scored at points."""

    def __call__(self, batch: Batch) -> SegmentationOutput:
        output = super().__call__(batch)
        return SegmentationOutput(output.at_points(batch), support="point")


def scene(cloud: Cloud = CLOUD, seed: int = 0) -> tuple[Batch, Tensor]:
    """A scene with features of its points, and of its voxels the means of those."""
    batch = batch_of(cloud)
    feats = asymmetric(len(cloud.points), 2, seed=seed).float()
    num_voxels = len(batch.voxels.coords)
    total = torch.zeros(num_voxels, 2).index_add_(0, batch.point2voxel, feats)
    means = total / batch.point2voxel.bincount(minlength=num_voxels).unsqueeze(1)
    return replace(batch, voxels=batch.voxels.with_feats(means)), feats


def views(num: int) -> list[ViewBatch]:
    """Views of one scene that differ in their features."""
    scenes = [scene(seed=10 + view) for view in range(num)]
    return [ViewBatch(batch, i, num, feats, None) for i, (batch, feats) in enumerate(scenes)]


def vote(voting: Voting, given: list[ViewBatch], network: Linear, max_voxels: int = MAX) -> Tensor:
    votes = SceneVotes(network, voting, max_voxels)
    results = [votes.add(view) for view in given]
    assert all(result is None for result in results[:-1])
    assert results[-1] is not None
    return results[-1]


def test_fragments_by_hand():
    """Voxels of 3, 2 and 1 points: three fragments, in which the smaller ones come again."""
    cells = [(0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 0, 0), (0, 5, 0, 0), (0, 0, 0, 0), (0, 0, 0, 1)]
    batch = batch_of(Cloud(cells, [cells[0], cells[1], cells[3]], [0, 1, 0, 2, 0, 1], [3, 2, 1], 1))
    feats = torch.arange(12.0).view(6, 2)
    found = list(fragments(batch, feats))
    assert [rows.tolist() for rows, _ in found] == [[0, 1, 3], [2, 5, 3], [4, 1, 3]]
    for rows, part in found:
        assert part.voxels.coords is batch.voxels.coords
        assert torch.equal(part.voxels.feats, feats[rows])
        assert torch.equal(part.points.xyz, batch.points.xyz[rows])
        assert torch.equal(part.points.row, batch.points.row[rows])
        assert part.point2voxel.tolist() == [0, 1, 2] and part.points.offsets.tolist() == [0, 3]
        assert part.points.names == ("scene0",)


def test_every_point_shows_its_voxel_the_right_number_of_times():
    batch, feats = scene()
    counts = batch.point2voxel.bincount()
    longest = int(counts.max())
    shown = torch.zeros(len(feats), dtype=torch.int64)
    for rows, _ in fragments(batch, feats):
        assert batch.point2voxel[rows].tolist() == list(range(len(counts)))
        shown += torch.bincount(rows, minlength=len(feats))
    assert int(counts.min()) == 1 < longest
    assert shown.min() >= 1
    for voxel, count in enumerate(counts.tolist()):
        times = shown[batch.point2voxel == voxel].tolist()
        assert times == [longest // count + (i < longest % count) for i in range(count)]


@pytest.mark.parametrize("network_type", [Linear, LinearAtPoints])
def test_fragments_vote_at_the_points_that_they_show(network_type):
    """The network looks at one voxel, so a point's vote is its own score, however often."""
    (view,) = views(1)
    network = network_type()
    found = vote(Voting(fragments=True), [view], network)
    assert torch.equal(found, (view.feats @ network.weight).argmax(dim=1))
    means = vote(Voting(), [view], network_type())
    assert not torch.equal(found, means)
    assert len(network.sizes) == int(view.batch.point2voxel.bincount().max())


def test_one_identity_view_is_the_single_pass_bit_for_bit():
    (view,) = views(1)
    expected = predict_points(Linear(), view.batch, MAX).argmax(dim=1)
    assert torch.equal(vote(Voting(views=(View(angle=0.0),)), [view], Linear()), expected)
    twice = Voting(views=(View(), View()))
    again = [view._replace(num_views=2), view._replace(view=1, num_views=2)]
    assert torch.equal(vote(twice, again, Linear()), expected)


def test_softmax_scores_are_summed_not_logits_or_classes():
    """Two views lean to class 0; the third is so sure of 1 that it wins; sums of logits differ."""

    class Fixed(Linear):
        def __call__(self, batch: Batch) -> SegmentationOutput:
            self.sizes.append(0)
            rows = [[0.1, 0.0, -9.0], [0.1, 0.0, -9.0], [0.0, 9.0, -9.0]]
            if batch.voxels.feats[0, 0] > 0:  # sure of 0 by far less than its logits say
                rows = [[0.0, 50.0, 0.0], [3.0, 0.0, 0.0], [3.0, 0.0, 0.0]]
            row = rows[len(self.sizes) - 1]
            return SegmentationOutput(torch.tensor([row]).expand(len(batch.voxels.coords), 3))

    three = Voting(views=(View(), View(scale=2.0), View(scale=3.0)))
    for sign, expected in ((-1.0, 1), (1.0, 0)):
        given = []
        for view in views(3):
            feats = torch.full_like(view.batch.voxels.feats, sign)
            batch = replace(view.batch, voxels=view.batch.voxels.with_feats(feats))
            given.append(view._replace(batch=batch))
        assert set(vote(three, given, Fixed()).tolist()) == {expected}


def test_the_sum_does_not_depend_on_the_order_of_the_views():
    given = views(4)
    voting = Voting(views=tuple(View(scale=1.0 + i / 10) for i in range(4)))
    expected = sum((v.batch.voxels.feats @ Linear().weight).softmax(dim=1) for v in given)
    classes = vote(voting, given, Linear())
    assert torch.equal(classes, expected[given[0].batch.point2voxel].argmax(dim=1))
    backwards = [view._replace(view=i) for i, view in enumerate(reversed(given))]
    assert torch.equal(vote(voting, backwards, Linear()), classes)


def test_scenes_do_not_mix():
    """The votes of a scene start anew, also after one that was left in the middle."""
    voting = Voting(views=(View(), View(scale=2.0)))
    first, second = views(2), views(2)[::-1]
    second = [view._replace(view=i) for i, view in enumerate(second)]
    votes = SceneVotes(Linear(), voting, MAX)
    assert votes.add(first[0]) is None
    assert votes.add(second[0]) is None
    assert torch.equal(votes.add(second[1]), vote(voting, second, Linear()))
    other = replace(first[1].batch, points=replace(first[1].batch.points, names=("other",)))
    votes.add(first[0])
    with pytest.raises(AssertionError, match="views of other among those of scene0"):
        votes.add(first[1]._replace(batch=other))


@pytest.mark.parametrize("fragment", [False, True])
def test_passes_stay_within_the_budget_of_voxels(fragment):
    given = views(2)
    voting = Voting(views=(View(), View(scale=2.0)), fragments=fragment)
    network = Linear()
    budget = len(given[0].batch.voxels.coords) // 3
    found = vote(voting, given, network, budget)
    assert max(network.sizes) <= budget
    assert torch.equal(found, vote(voting, given, Linear()))  # it looks at one voxel: no borders


def test_fragments_are_made_when_they_are_needed_and_then_let_go():
    """At every forward pass the batches of all earlier ones are gone."""
    (view,) = views(1)
    seen: list[weakref.ref[SparseTensor]] = []

    def observe(batch: Batch) -> None:
        assert all(reference() is None for reference in seen), "an earlier fragment is kept"
        seen.append(weakref.ref(batch.voxels))

    vote(Voting(fragments=True), [view], Linear(observe))
    assert len(seen) > 2
