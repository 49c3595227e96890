"""Losses at the stages of a decoder: their targets, their weight, and who learns from them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.callbacks.weight_averaging import EMAWeightAveraging
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from pc3d.losses import CrossEntropy, Dice, Focal, Lovasz
from pc3d.models import MinkUNet, SegmentationOutput
from pc3d.models.checkpoint import PREFIX, load_network
from pc3d.nn.observe import observe_named
from pc3d.sparse import Batch, SparseTensor
from pc3d.tasks import SegmentationTask
from pc3d.tasks.auxiliary import AuxiliaryHeads, majority_within, rows_within
from pc3d.tasks.optim import constant
from tests import oracle
from tests.attack import CLOUDS, asymmetric
from tests.parity import coords_of
from tests.sparse.test_points import batch_of
from tests.test_waiting import NoWaiting

NAMES = ("wall", "floor", "chair")
CLOUD = CLOUDS["three, one empty"]
SECONDS = 100.0


def network(**options: object) -> MinkUNet:
    torch.manual_seed(0)
    sizes = {"widths": [4, 6, 8, 7, 5, 6], "depths": [1] * 6, "stem_channels": 4} | options
    return MinkUNet(in_channels=2, num_classes=3, **sizes)


def task_of(aux_weight: float = 0.4, **options: object) -> SegmentationTask:
    options = {"network": network(), "loss": CrossEntropy()} | options
    torch.manual_seed(1)
    return SegmentationTask(
        class_names=NAMES,
        max_eval_voxels=10_000,
        optimizer=partial(torch.optim.AdamW, lr=0.01),
        scheduler=constant,
        aux_weight=aux_weight,
        **options,
    )


def batch(name: str = "three, one empty", seed: int = 0) -> Batch:
    cloud = CLOUDS[name]
    coords = coords_of(cloud)
    found = batch_of(cloud)
    generator = torch.Generator().manual_seed(seed)
    segment = torch.randint(-1, 3, (len(coords),), generator=generator)
    feats = asymmetric(len(coords), 2, dtype=torch.float32, seed=seed)
    return replace(found, voxels=SparseTensor(coords, feats), segment=segment)


def majority(rows: list[oracle.Row], segment: list[int], num_halvings: int) -> list[int]:
    """By counting: the most frequent label below every coarse voxel, the smallest on a tie."""
    places = rows
    for _ in range(num_halvings):
        rows, places = oracle.coarse_rows(rows), [oracle.parent(place) for place in places]
    found = []
    for row in rows:
        votes = Counter(c for c, place in zip(segment, places, strict=True) if place == row)
        del votes[-1]
        best = max(votes.values(), default=0)
        found.append(min((c for c, count in votes.items() if count == best), default=-1))
    return found


@pytest.mark.parametrize("name", ["two", "negative", "three, one empty", "one voxel", "none"])
@pytest.mark.parametrize("num_halvings", [0, 1, 2, 4])
def test_targets_are_the_majority_of_what_is_labelled(name, num_halvings):
    cloud = CLOUDS[name]
    coords = coarse = coords_of(cloud)
    for _ in range(num_halvings):
        coarse, _ = coarse.down()
    generator = torch.Generator().manual_seed(7)
    segment = torch.randint(-1, 4, (len(coords),), generator=generator)
    segment[: len(coords) // 3] = -1
    rows = rows_within(coords, coarse)
    found = majority_within(segment, rows, len(coarse), 4)
    assert found.dtype == torch.int64
    assert found.tolist() == majority(cloud.rows, segment.tolist(), num_halvings)


def test_ties_and_voxels_without_labels():
    segment = torch.tensor([2, 1, -1, -1, -1, 3, 3, 1, -1])
    rows = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 3])
    assert majority_within(segment, rows, 5, 4).tolist() == [1, -1, 3, -1, -1]


def test_a_set_of_other_voxels_is_refused():
    coords = coords_of(CLOUD)
    with pytest.raises(ValueError, match="made coarser by down"):
        rows_within(coords, coords_of(CLOUD))
    with pytest.raises(ValueError, match="made coarser by down"):
        rows_within(coords, coords_of(CLOUD).down()[0])
    with pytest.raises(ValueError, match="made coarser by down"):
        rows_within(coords.down()[0], coords)


@pytest.mark.parametrize("aux_weight", [0.4, 2.0])
def test_the_loss_is_that_of_the_stages_on_top(aux_weight):
    task, plain, given = task_of(aux_weight), task_of(0.0), batch()
    total, parts = task.training_loss(given)
    assert list(parts) == ["aux_4", "aux_2"]
    expected, none = plain.training_loss(given)
    assert none == {} and plain.auxiliary is None
    coords, rows, labels = given.voxels.coords, CLOUD.rows, given.segment.tolist()
    with observe_named(task.network, ["backbone.decoder.0", "backbone.decoder.1"]) as seen:
        task.network(given)
    for number, (name, halvings) in enumerate((("aux_4", 2), ("aux_2", 1))):
        x = seen[f"backbone.decoder.{number}"]
        head = task.auxiliary.heads[number]
        logits = x.feats @ head.weight.T + head.bias
        target = torch.tensor(majority(rows, labels, halvings))
        torch.testing.assert_close(
            parts[name], nn.functional.cross_entropy(logits, target, ignore_index=-1)
        )
    assert coords.down()[0].down()[0] is seen["backbone.decoder.0"].coords
    mean = (parts["aux_4"] + parts["aux_2"]) / 2
    torch.testing.assert_close(total, expected + aux_weight * mean)


def test_heads_leave_the_network_as_it_is():
    """The same initial weights for the same seed, the same state, no hook, no head in it."""
    torch.manual_seed(3)
    plain = network()
    task = task_of()
    task.training_loss(batch())
    names = set(task.state_dict()) - {PREFIX + name for name in plain.state_dict()}
    heads = {f"auxiliary.heads.{i}.{kind}" for i in (0, 1) for kind in ("weight", "bias")}
    assert names == heads
    assert not any(module._forward_hooks for module in task.network.modules())
    for name, value in plain.named_parameters():
        assert torch.equal(task.network.get_parameter(name), value)


def test_every_parameter_gets_a_gradient_and_decays_as_its_kind(monkeypatch):
    task, given = task_of(), batch()
    task.training_loss(given)[0].backward()
    assert all(p.grad is not None for p in task.parameters())
    groups = {}
    optimizer = task._optimizer
    task._optimizer = lambda found: groups.update(enumerate(found)) or optimizer(found)
    trainer = SimpleNamespace(estimated_stepping_batches=2)
    monkeypatch.setattr(SegmentationTask, "trainer", trainer)
    task.configure_optimizers()
    listed = [id(p) for group in groups.values() for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in task.parameters())
    for head in task.auxiliary.heads:
        assert any(p is head.weight for p in groups[0]["params"])
        assert any(p is head.bias for p in groups[1]["params"])


@pytest.mark.parametrize("loss", [CrossEntropy(), Lovasz(), Dice(), Focal()])
def test_stages_without_labels_give_zero_and_a_gradient_of_zero(loss):
    task, given = task_of(loss=loss), batch()
    given = replace(given, segment=torch.full_like(given.segment, -1))
    total, parts = task.training_loss(given)
    total.backward()
    assert total == 0 and all(value == 0 for value in parts.values())
    for parameter in task.parameters():
        assert parameter.grad is not None and not parameter.grad.any()


def test_nothing_waits_for_a_gpu():
    task, given = task_of(), batch()
    with NoWaiting():
        total, _ = task.training_loss(given)
        total.backward()


def test_half_precision():
    task, given = task_of(), batch()
    expected, _ = task.training_loss(given)
    with torch.autocast("cpu", torch.bfloat16):
        total, parts = task.training_loss(given)
    assert total.dtype == torch.float32
    assert all(value.dtype == torch.float32 for value in parts.values())
    torch.testing.assert_close(total, expected, rtol=0.02, atol=0.02)
    total.backward()
    assert all(torch.isfinite(p.grad).all() for p in task.parameters())


class AtPoints(nn.Module):
    """Scores points; its stages stand on voxels."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    @property
    def decoder_stages(self) -> dict[str, int]:
        return {f"inner.{name}": width for name, width in self.inner.decoder_stages.items()}

    def forward(self, given: Batch) -> SegmentationOutput:
        return SegmentationOutput(self.inner(given).logits[given.point2voxel], "point")


def test_a_network_that_scores_points_has_stages_of_voxels():
    given = batch()
    labels = given.segment[given.point2voxel]
    given = replace(given, points=replace(given.points, segment=labels))
    _, parts = task_of(network=AtPoints()).training_loss(given)
    _, expected = task_of().training_loss(given)
    for name, value in expected.items():
        torch.testing.assert_close(parts[name], value)


class Silent(nn.Module):
    """Says that it has stages; they give no sparse tensors."""

    decoder_stages = {"first": 4, "last": 4}

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Identity(), nn.Linear(2, 3)

    def forward(self, given: Batch) -> SegmentationOutput:
        return SegmentationOutput(self.last(self.first(given.voxels.feats)))


def test_what_does_not_fit_is_refused_in_words():
    with pytest.raises(ValueError, match=r"Linear has no decoder_stages .*aux_weight=0"):
        task_of(network=nn.Linear(2, 3))
    with pytest.raises(ValueError, match=r"two decoder stages .*MinkUNet has 1"):
        task_of(network=network(widths=[4, 4], depths=[1, 1]))
    with pytest.raises(ValueError, match=r"stage first .* must give a SparseTensor .*got Tensor"):
        task_of(network=Silent()).training_loss(batch())
    for weight in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="aux_weight must be finite and >= 0"):
            task_of(weight)


def test_evaluation_needs_no_heads():
    """A test of a run with heads builds none, whatever the network is."""
    task = task_of(loss=None, network=nn.Linear(2, 3))
    assert task.auxiliary is None and not any("heads" in name for name in task.state_dict())


# Training.


def fit(task: SegmentationTask, folder: Path) -> dict[str, Any]:
    """The checkpoint after two steps of two batches each; resuming: tests/cli/test_programs.py."""
    saving = ModelCheckpoint(folder, "last", save_on_train_epoch_end=True)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        accumulate_grad_batches=2,
        callbacks=[EMAWeightAveraging(decay=0.5), saving],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task, DataLoader([batch(), batch("two", 1)], batch_size=None))
    logged = {name for name in trainer.callback_metrics if name.startswith("train/aux")}
    assert logged == ({"train/aux_4", "train/aux_2"} if task.auxiliary else set())
    (path,) = folder.glob("*.ckpt")
    return torch.load(path)


def test_heads_learn_and_are_kept(tmp_path):
    saved = fit(task_of(), tmp_path)
    start = task_of().state_dict()
    for key in ("state_dict", "current_model_state"):  # averaged, and not
        assert saved[key].keys() == start.keys()
        heads = [name for name in start if "heads" in name]
        assert heads and not any(torch.equal(saved[key][name], start[name]) for name in heads)
    task_of().load_state_dict(saved["state_dict"])
    for weight in (0.4, 0.0):  # for a task with and without heads
        task = task_of(weight)
        load_network(task.network, saved, "saved.ckpt")
        for name, value in task.network.state_dict().items():
            assert torch.equal(value, saved["state_dict"][PREFIX + name])


def test_weights_that_were_trained_without_heads_fit_a_task_with_them(tmp_path):
    plain = fit(task_of(0.0), tmp_path)
    task = task_of()
    load_network(task.network, plain, "plain.ckpt")
    assert not any("heads" in name for name in plain["state_dict"])


# Two processes.


class Loss(nn.Module):
    """The training loss of a task as a module's output, which DDP wants."""

    def __init__(self, task: SegmentationTask) -> None:
        super().__init__()
        self.task = task

    def forward(self, given: Batch) -> Tensor:
        return self.task.training_loss(given)[0]


def train(module: nn.Module, task: SegmentationTask, batches: list[Batch]) -> dict[str, Tensor]:
    for _ in range(3):
        (sum(module(given) for given in batches) / len(batches)).backward()
        with torch.no_grad():
            for parameter in task.parameters():
                parameter -= 0.1 * parameter.grad
                parameter.grad = None
    return {name: parameter.detach() for name, parameter in task.named_parameters()}


def double(given: Batch) -> Batch:
    return replace(given, voxels=given.voxels.with_feats(given.voxels.feats.double()))


def batches() -> list[Batch]:
    """The second process has no label at all."""
    second = batch("two", 1)
    return [double(batch()), double(replace(second, segment=second.segment.clamp(max=-1)))]


def run_rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store, timeout = f"file://{folder / 'store'}", timedelta(seconds=SECONDS)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=timeout)
    task = task_of().double()
    module = DistributedDataParallel(Loss(task))  # it complains about parameters without gradient
    torch.save(train(module, task, [batches()[rank]]), folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_learn_what_one_process_learns_from_both_batches(tmp_path):
    context = mp.spawn(run_rank, (tmp_path,), nprocs=2, join=False)
    task = task_of().double()
    expected = train(Loss(task), task, batches())
    while not context.join():
        pass
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for name, value in expected.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, msg=lambda text, name=name: name + text)


def test_heads_are_told_apart_by_their_stage():
    heads = AuxiliaryHeads(network(), 3)
    assert heads.stages == ("backbone.decoder.0", "backbone.decoder.1")
    assert [head.in_features for head in heads.heads] == [7, 5]
