"""The whole report of a network, and the search for the largest scene."""

from __future__ import annotations

import copy
import time
from dataclasses import replace

import pytest
import torch
from torch import nn

from pc3d.models import SegmentationOutput
from pc3d.profiling import Cost, multiply_adds, profile
from pc3d.profiling.batches import generated_batch, maker
from pc3d.profiling.budget import Trial, largest_scene, need
from pc3d.profiling.subject import Subject
from pc3d.sparse import Batch, CoordSet
from tests.profiling.scenes import make_batch, small_network


class FirstChannels(nn.Module):
    """Hardly needs anything beside its input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.modes: list[bool] = []

    def forward(self, batch: Batch) -> SegmentationOutput:
        self.modes.append(self.training)
        return SegmentationOutput(batch.voxels.feats[:, :5] * self.weight)


@pytest.fixture(scope="module")
def found():
    return profile(small_network(), make_batch, warmup=1, runs=2)


def test_parts_and_totals(found):
    network = small_network().eval()
    parameters = sum(p.numel() for p in network.parameters())
    assert found.parts.parameters == found.within("").parameters == parameters
    with torch.no_grad():
        macs = sum(multiply_adds(network, lambda: network(make_batch())).values())
    assert found.parts.macs == macs < found.totals.training_macs < 3 * macs
    assert list(found.modules) == [name for name, _ in network.named_modules()]
    assert found.kinds["backbone.stem.0"] == "ConvBlock" and found.kinds[""] == "MinkUNet"
    assert found.num_voxels == len(make_batch().voxels.coords) == found.num_points
    assert found.within("backbone") + found.within("head") + found.modules[""] == found.within("")
    assert found.within("backbone.down.1") != found.within("backbone.down")
    # `backbone.d` is the beginning of a name, and not one.
    assert found.within("backbone.d") == Cost()
    assert found.outside.parameters == 0 < found.outside.forward
    assert 0 < found.parts.maps < found.parts.inference
    assert found.totals.inference_peak < found.totals.training_peak
    assert found.totals.training_peak > found.parts.held > 0


def test_the_network_stays_as_it_was():
    network = small_network().eval()
    before = copy.deepcopy(network.state_dict())
    profile(network, make_batch, warmup=1, runs=1)
    after = network.state_dict()
    assert not network.training and all(torch.equal(before[key], after[key]) for key in before)
    assert all(p.grad is None for p in network.parameters())


def test_it_runs_under_autocast():
    found = profile(small_network(), make_batch, warmup=1, runs=1, autocast=torch.bfloat16)
    assert found.parts.macs > 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"warmup": 0}, "got 0 and 5"), ({"runs": 0}, "got 2 and 0")],
)
def test_no_passes(options, expected):
    with pytest.raises(ValueError, match=expected):
        profile(small_network(), make_batch, **options)


def test_no_voxels():
    whole = make_batch()
    empty = whole.select_voxels(torch.zeros(len(whole.voxels.coords), dtype=torch.bool))
    with pytest.raises(ValueError, match="no voxels"):
        profile(small_network(), maker(empty, torch.device("cpu")))


def test_generated_scenes():
    room, street = (generated_batch(kind, 3000, 2, 0.1) for kind in ("room", "street"))
    for batch in (room, street):
        assert 2000 < len(batch.voxels.coords) < 6000 and batch.voxels.feats.shape[1] == 2
        place = (batch.points.xyz / 0.1).floor().int()
        assert torch.equal(place, batch.voxels.coords.indices[:, 1:])
    assert torch.equal(room.voxels.feats, generated_batch("room", 3000, 2, 0.1).voxels.feats)
    with pytest.raises(ValueError, match="one of room, street; got 'car'"):
        generated_batch("car", 3000, 2, 0.1)
    with pytest.raises(ValueError, match="at least 1; got 0"):
        generated_batch("room", 0, 2, 0.1)
    make = maker(room, torch.device("cpu"))
    assert make().voxels.coords is not make().voxels.coords


def test_the_largest_scene_on_a_line():
    tried = []

    def measure(voxels):
        tried.append(voxels)
        return voxels, 1_000_000 + 100 * voxels

    trials = largest_scene(measure, budget=10_000_000, first=1000)
    assert tried == [1000, 2000, 87_000]
    assert trials[-1] == Trial(87_000, 9_700_000, 9_700_000)


def test_the_largest_scene_where_memory_bends():
    def measure(voxels):
        return voxels, int(1e6 + 90 * voxels + 2e-3 * voxels**2)

    trials = largest_scene(measure, budget=20_000_000, first=1000)
    assert 0.9 * 20e6 <= trials[-1].need <= 20e6
    assert any(trial.need > 20e6 for trial in trials), "the first line was too hopeful"
    assert all(t.num_voxels <= trials[-1].num_voxels or t.need > 20e6 for t in trials)


def test_a_budget_that_nothing_fits_into_and_one_without_end():
    with pytest.raises(ValueError, match=r"1,000 voxels need 4 GiB .* 3\.81e-06 GiB"):
        largest_scene(lambda n: (n, 4 * 2**30), budget=4 * 2**10, first=1000)
    trials = largest_scene(lambda n: (n, n), budget=10**12, first=1000, limit=50_000)
    assert trials[-1].num_voxels == 50_000


@pytest.mark.parametrize("training", [True, False])
def test_a_scene_that_was_found_fits_and_no_much_larger_one(training):
    network = small_network()

    def measure(voxels):
        return need(network, lambda: make_batch(voxels), training)

    budget = 12 * 2**20
    best = largest_scene(measure, budget, first=500)[-1]
    assert 0.9 * budget <= best.need <= budget
    assert measure(int(1.3 * best.num_voxels))[1] > budget


def test_training_needs_gradients_and_what_adamw_keeps():
    network = small_network()
    weights = sum(p.nbytes for p in network.parameters())
    training, inference = (need(network, make_batch, flag)[1] for flag in (True, False))
    assert training > inference + 2 * weights
    deeper = small_network(depths=[4] * 8)
    more = need(deeper, make_batch, False)[1] - sum(p.nbytes for p in deeper.parameters())
    assert more < 1.1 * (inference - weights), "inference keeps what it needs for no way back"


def test_the_batch_itself_is_needed_too():
    batch = make_batch()
    wide = torch.randn(len(batch.voxels.coords), 1000)
    features = batch.voxels.with_feats(wide)
    found = need(FirstChannels(), lambda: replace(batch, voxels=features), training=False)[1]
    assert wide.nbytes < found < 1.1 * wide.nbytes


def test_time_is_taken_in_evaluation_and_in_training():
    network = FirstChannels()
    Subject(network, make_batch, None).turn(by_scope=False)
    assert network.modes == [False, True]


def test_the_first_passes_are_not_timed():
    class Starting(FirstChannels):
        num_passes = 0

        def forward(self, batch: Batch) -> SegmentationOutput:
            Starting.num_passes += 1
            if Starting.num_passes <= 4:  # two turns, each in evaluation and in training
                time.sleep(0.3)
            return super().forward(batch)

    found = profile(Starting(), make_batch, warmup=1, runs=1)
    assert Starting.num_passes > 4
    assert found.totals.inference < 0.3 and found.parts.forward < 0.3


def test_maps_belong_to_the_forward_pass_of_training(monkeypatch):
    build = CoordSet.down

    def slow(self: CoordSet) -> object:
        time.sleep(0.01)
        return build(self)

    monkeypatch.setattr(CoordSet, "down", slow)
    found = profile(small_network(), make_batch, warmup=1, runs=1)
    assert found.parts.forward > 0.95 * found.totals.forward > 0.08  # eight convolutions ask
