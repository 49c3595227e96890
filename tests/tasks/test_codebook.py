"""Progress and usage of codebooks in training."""

from __future__ import annotations

import math
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from pc3d.nn import Choice, CodebookAttention
from pc3d.sparse import SparseTensor
from pc3d.tasks.codebook import (
    ChoiceProgress,
    CodebookUsage,
    choices_of,
    usage_scores,
    voxel_sums,
)
from tests.attack import CLOUDS, asymmetric
from tests.parity import coords_of


class Task(nn.Module):
    """Stands for a Lightning module: a network with a choice, and a log."""

    def __init__(self) -> None:
        super().__init__()
        block = nn.ModuleDict({"attention": nn.ModuleDict({"choice": Choice()})})
        self.network = nn.ModuleDict({"backbone": nn.ModuleDict({"encoder": block})})
        self.logged: dict[str, Tensor] = {}

    def log_dict(self, values: dict[str, Tensor]) -> None:
        self.logged |= values


def trainer(**values: object) -> SimpleNamespace:
    strategy = SimpleNamespace(reduce=lambda value, reduce_op: value)
    return SimpleNamespace(strategy=strategy, is_global_zero=True, **values)


def test_choices_are_named_by_their_block():
    assert list(choices_of(Task())) == ["encoder"]


@pytest.mark.parametrize("step, steps, progress", [(0, 10, 0), (5, 10, 0.5), (12, 10, 1)])
def test_progress_follows_the_step(step, steps, progress):
    task = Task()
    ChoiceProgress().on_train_batch_start(
        trainer(global_step=step, estimated_stepping_batches=steps), task, None, 0
    )
    assert float(choices_of(task)["encoder"].progress) == progress
    (name,) = [n for n in task.state_dict() if n.endswith("progress")]
    assert float(task.state_dict()[name]) == progress, "a checkpoint carries it"


def one_hot(codes: list[int], num_codes: int) -> Tensor:
    return nn.functional.one_hot(torch.tensor(codes), num_codes).float().unsqueeze(2)


@pytest.mark.parametrize(
    "weights, expected",
    [
        (one_hot([0, 1, 2, 3], 4), {"perplexity": 4, "entropy": 0, "dead": 0}),
        (one_hot([1, 1, 1, 1], 4), {"perplexity": 1, "entropy": 0, "dead": 3}),
        (torch.full((5, 4, 2), 0.25), {"perplexity": 4, "entropy": 1, "dead": 0}),
        (torch.full((5, 2, 1), 0.5), {"perplexity": 2, "entropy": 1, "dead": 0}),
    ],
)
def test_scores_of_choices(weights, expected):
    found = usage_scores(voxel_sums(weights))
    assert {k: float(v) for k, v in found.items()} == pytest.approx(expected, abs=1e-5)


def test_sums_may_be_added_up():
    """So two batches, and two ranks, give what one would."""
    weights = torch.rand(30, 4, 3).softmax(dim=1)
    parts = voxel_sums(weights[:11]) + voxel_sums(weights[11:])
    together = usage_scores(voxel_sums(weights))
    for key, value in usage_scores(parts).items():
        torch.testing.assert_close(value, together[key])


def run_epoch(callback: CodebookUsage, task: Task, logits: list[Tensor]) -> None:
    callback.on_train_epoch_start(trainer(), task)
    for batch in logits:
        choices_of(task)["encoder"](batch)
    callback.on_train_epoch_end(trainer(), task)


def test_usage_of_an_epoch_is_logged_and_nothing_is_left_behind():
    task, callback = Task(), CodebookUsage()
    logits = [torch.randn(7, 3, 2), torch.randn(9, 3, 2)]
    for _ in range(2):
        run_epoch(callback, task, logits)
    weights = torch.cat(logits).softmax(dim=1)
    expected = usage_scores(voxel_sums(weights))
    assert task.logged.keys() == {f"codebook/encoder/{key}" for key in expected}
    for key, value in expected.items():
        torch.testing.assert_close(task.logged[f"codebook/encoder/{key}"], value)
    share = weights.mean(dim=0)
    perplexity = (-(share * share.log()).sum(dim=0)).exp().mean()
    torch.testing.assert_close(expected["perplexity"], perplexity)
    per_voxel = -(weights * weights.log()).sum(dim=1).mean() / math.log(3)
    torch.testing.assert_close(expected["entropy"], per_voxel)
    assert not choices_of(task)["encoder"]._forward_hooks


def test_a_collapsed_choice_is_warned_of_once():
    task, callback = Task(), CodebookUsage()
    collapsed = [torch.tensor([20.0, 0.0, 0.0]).reshape(1, 3, 1).expand(5, 3, 2)]
    with pytest.warns(UserWarning, match="choice of encoder has collapsed"):
        run_epoch(callback, task, collapsed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_epoch(callback, task, collapsed)
        run_epoch(CodebookUsage(), task, [torch.randn(50, 3, 2)])


def test_an_interrupted_epoch_leaves_no_hook():
    task, callback = Task(), CodebookUsage()
    callback.on_train_epoch_start(trainer(), task)
    callback.on_exception(trainer(), task, KeyboardInterrupt())
    assert not choices_of(task)["encoder"]._forward_hooks


def test_codes_that_are_yet_to_come_are_not_dead():
    weights = torch.zeros(5, 8, 2)
    weights[:, :4] = 0.25
    share = torch.tensor([1.0] * 4 + [0.0] * 4)
    found = usage_scores(voxel_sums(weights), share)
    expected = {"perplexity": 4, "entropy": 1, "dead": 0}
    assert {k: float(v) for k, v in found.items()} == pytest.approx(expected, abs=1e-5)
    assert float(usage_scores(voxel_sums(weights))["dead"]) == 8


class SplitTask(nn.Module):
    """Stands for a Lightning module with two layers whose codes are split."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        options = {"groups": 2, "choice": {}, "split": {"at": (0.25, 0.5), "noise": 0.2}}
        layers = [CodebookAttention(4, 4, codes=[{}, {"dilation": 2}], **options) for _ in "ab"]
        self.network = nn.ModuleList(layers)

    def numbers(self) -> list[int]:
        return [layer.num_born for layer in self.network]


def at_step(callback: ChoiceProgress, task: SplitTask, step: int, *optimizers: object) -> None:
    run = trainer(global_step=step, estimated_stepping_batches=8, optimizers=list(optimizers))
    callback.on_train_batch_start(run, task, None, 0)


def test_codes_are_split_when_the_training_has_come_so_far():
    task, callback = SplitTask(), ChoiceProgress()
    callback.on_train_start(trainer(), task)
    seen = []
    for step in range(8):
        at_step(callback, task, step)
        seen.append(task.numbers())
    assert seen == [[2, 2]] * 2 + [[4, 4]] * 2 + [[8, 8]] * 4


@pytest.mark.parametrize("step", [1, 2, 3, 4, 7])
def test_a_resumed_training_splits_what_is_left_to_split(step):
    whole, callback = SplitTask(), ChoiceProgress()
    for number in range(step):
        at_step(callback, whole, number)
    resumed, again = SplitTask(), ChoiceProgress()
    resumed.load_state_dict(whole.state_dict())
    for number in range(step, 8):
        at_step(callback, whole, number)
        at_step(again, resumed, number)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


@pytest.mark.parametrize("kind", [AdamW, torch.optim.SGD])
def test_the_optimizer_knows_of_a_copy_what_it_knew_of_the_code(kind):
    """Without it, Adam's first steps of a copy would be several times the learning rate."""
    task = SplitTask()
    optimizer = kind(task.parameters(), lr=0.1, **({"momentum": 0.9} if kind is not AdamW else {}))
    coords = coords_of(CLOUDS["three, one empty"])
    x = SparseTensor(coords, asymmetric(len(coords), 4, dtype=torch.float32))
    for layer in task.network:
        layer(x, x).feats.square().sum().backward()
    optimizer.step()
    at_step(ChoiceProgress(), task, 2, optimizer)
    keys = ("exp_avg", "exp_avg_sq") if kind is AdamW else ("momentum_buffer",)
    for layer in task.network:
        for key in keys:
            codes = optimizer.state[layer.codebook.weight][key].split(27)
            assert torch.equal(codes[0], codes[2]) and torch.equal(codes[1], codes[3])
            assert codes[0].any() and not codes[4].any()
            for code in (0, 1):
                queries = [layer.queries[c].weight for c in (code, code + 2)]
                ours, theirs = (optimizer.state[weight][key] for weight in queries)
                assert torch.equal(ours, theirs) and ours.any()
