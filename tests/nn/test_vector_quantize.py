"""Vector quantisation against its definitions, one vector at a time."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from pc3d.nn import vector_quantize
from pc3d.nn.vector_quantize import VectorQuantizer, nearest
from tests.attack import asymmetric
from tests.nn.vectors import (
    DIM,
    GRADIENTS,
    METRICS,
    UPDATES,
    K,
    assert_same_state,
    batch,
    nearest_by_hand,
    quantizer,
    state,
)

# --- the choice of a code


def test_takes_the_nearest_code():
    module = quantizer().eval()
    y, indices, _ = module(batch())
    assert indices.tolist() == nearest_by_hand(batch(), module.codes)
    assert indices.dtype == torch.int64 and len(set(indices.tolist())) == K
    assert torch.equal(y, module.codes[indices]), "to the last bit"


def test_takes_the_code_of_the_largest_cosine():
    module = quantizer(metric="cosine", update="learnable").eval()
    with torch.no_grad():  # lengths that would win or lose, if they counted
        module.codes.mul_(torch.tensor([[0.1], [9.0], [1.0], [0.5], [3.0]]))
    y, indices, _ = module(batch())
    for row, index, out in zip(batch(), indices.tolist(), y, strict=True):
        cosines = [float(row @ code / row.norm() / code.norm()) for code in module.codes.detach()]
        assert index == cosines.index(max(cosines))
        torch.testing.assert_close(out, module.codes[index] / module.codes[index].norm())


def test_nearest_does_not_depend_on_how_much_is_compared_at_once(monkeypatch):
    x, codes = batch(101), batch(7, seed=2)
    at_once = nearest(x, codes)
    monkeypatch.setattr(vector_quantize, "SCORES_AT_ONCE", 30)
    assert torch.equal(nearest(x, codes), at_once)


def test_nearest_sees_small_differences_far_from_the_origin():
    far = torch.tensor([3000.0, -2000.0, 1000.0])
    x, codes = batch(60).float() + far, batch(K, seed=2).float() + far
    assert nearest(x, codes).tolist() == nearest_by_hand(x, codes)


def test_nearest_takes_the_first_of_equals():
    codes = torch.tensor([[5.0, 5.0], [1.0, 2.0], [1.0, 2.0]])
    assert nearest(torch.tensor([[1.0, 2.1], [1.0, 1.0]]), codes).tolist() == [1, 1]


# --- gradients and losses


def turn_by_hand(x: Tensor, q: Tensor) -> Tensor:
    """lambda R [C, C]: the rotation in the plane of x and q, as a product of two reflections."""
    a, b = x / x.norm(), q / q.norm()
    half = (a + b) / (a + b).norm()
    eye = torch.eye(len(x), dtype=x.dtype)
    mirror = lambda n: eye - 2 * torch.outer(n, n)  # noqa: E731
    # The one takes a to -a, the other -a to b; what is across their plane stays.
    return (q.norm() / x.norm()) * mirror(half) @ mirror(a)


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("metric", METRICS)
def test_gradient_of_the_vectors(metric, update, gradient):
    module = quantizer(metric=metric, update=update, gradient=gradient)
    x = batch().requires_grad_()
    y, _, _ = module(x)
    scale = asymmetric(*y.shape, seed=3)
    inputs = (x, *module.parameters())
    grad, *others = torch.autograd.grad((y * scale).sum(), inputs, allow_unused=True)
    assert others == [None] * len(others), "codes get no gradient through the output"
    for row, code, g, found in zip(x.detach(), y.detach(), scale, grad, strict=True):
        norm = row.norm() if metric == "cosine" else row.new_ones(())
        row = row / norm
        if gradient == "rotation":
            turn = turn_by_hand(row, code)
            torch.testing.assert_close(turn @ row, code)
            g = turn.T @ g
        if metric == "cosine":
            g = (g - row * (row @ g)) / norm
        torch.testing.assert_close(found, g, rtol=1e-9, atol=1e-12)


def test_rotation_of_opposite_and_of_missing_directions():
    module = quantizer(gradient="rotation", num_codes=1, dim=2).eval()
    module.codes.copy_(torch.tensor([[-2.0, 0.0]]))
    x = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1e-3, 0.0]], requires_grad=True)
    y, _, _ = module(x)
    assert torch.equal(y.detach(), torch.tensor([[-2.0, 0.0]]).expand(3, 2))
    (grad,) = torch.autograd.grad(y.sum(), x)
    # Mirrored and doubled; as it is, for want of a direction; mirrored and times 2000.
    expected = torch.tensor([[-2.0, 2.0], [1.0, 1.0], [-2000.0, 2000.0]])
    torch.testing.assert_close(grad, expected)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("metric", METRICS)
def test_commitment_loss(metric, training):
    module = quantizer(metric=metric, commitment_weight=0.7).train(training)
    x = batch().requires_grad_()
    _, indices, loss = module(x)
    codes = quantizer(metric=metric).codes[indices]  # as they were before the update
    target = torch.stack([row / row.norm() for row in x]) if metric == "cosine" else x
    terms = [(a - b) ** 2 for a, b in zip(target.flatten(), codes.flatten(), strict=True)]
    expected = 0.7 * sum(terms) / len(terms)
    torch.testing.assert_close(loss, expected)
    (grad,) = torch.autograd.grad(loss, x)
    torch.testing.assert_close(grad, *torch.autograd.grad(expected, x))
    assert loss.shape == ()


def test_loss_and_gradient_of_a_learnable_codebook():
    module = quantizer(update="learnable", commitment_weight=0.25)
    x = batch().requires_grad_()
    _, indices, loss = module(x)
    differences = x.detach() - module.codes.detach()[indices]
    torch.testing.assert_close(loss, 1.25 * differences.square().mean())
    loss.backward()
    expected = torch.zeros(K, DIM, dtype=torch.float64)
    for index, difference in zip(indices.tolist(), differences, strict=True):
        expected[index] -= 2 * difference / x.numel()
    torch.testing.assert_close(module.codes.grad, expected)
    torch.testing.assert_close(x.grad, 0.25 * 2 * differences / x.numel())


def test_a_learnable_codebook_of_the_cosine_metric_learns_directions():
    module = quantizer(update="learnable", metric="cosine", commitment_weight=0.0)
    codes = module.codes.detach().clone().requires_grad_()
    x = batch()
    _, indices, loss = module(x)
    directions = codes / codes.norm(dim=1, keepdim=True)
    expected = (x / x.norm(dim=1, keepdim=True) - directions[indices]).square().mean()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    torch.testing.assert_close(module.codes.grad, *torch.autograd.grad(expected, codes))


# --- moving averages


def length_one(row: Sequence[float]) -> list[float]:
    norm = math.sqrt(sum(value * value for value in row))
    return [value / norm for value in row]


def averages_by_hand(
    codes: list[list[float]], batches: list[Tensor], decay: float, eps: float, cosine: bool
) -> tuple[list[list[float]], list[float], list[list[float]]]:
    """Codes, counts and sums after some batches, number by number."""
    counts, sums = [1.0] * len(codes), copy.deepcopy(codes)
    for x in batches:
        rows = [length_one(row) if cosine else row for row in x.tolist()]
        found = nearest_by_hand(torch.tensor(rows, dtype=torch.float64), torch.tensor(codes))
        for k in range(len(codes)):
            mine = [row for row, index in zip(rows, found, strict=True) if index == k]
            counts[k] = decay * counts[k] + (1 - decay) * len(mine)
            for c in range(DIM):
                total = sum(row[c] for row in mine)
                sums[k][c] = decay * sums[k][c] + (1 - decay) * total
        whole = sum(counts)
        for k in range(len(codes)):
            smoothed = (counts[k] + eps) / (whole + len(codes) * eps) * whole
            mean = [value / smoothed for value in sums[k]]
            if cosine:  # without any direction the old one stays
                codes[k] = length_one(mean) if any(mean) else codes[k]
            else:
                codes[k] = mean
    return codes, counts, sums


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("decay, eps", [(0.9, 1e-5), (0.3, 0.5), (0.0, 1e-3)])
def test_averages_step_by_step(metric, decay, eps):
    module = quantizer(metric=metric, decay=decay, eps=eps)
    start = module.codes.tolist()
    batches = [batch(11 + 7 * step, seed=step, scale=1 + step) for step in range(4)]
    for step, x in enumerate(batches):
        module(x)
        expected = averages_by_hand(
            copy.deepcopy(start), batches[: step + 1], decay, eps, metric == "cosine"
        )
        for found, value in zip((module.codes, module.counts, module.sums), expected, strict=True):
            torch.testing.assert_close(found, torch.tensor(value, dtype=torch.float64))


def test_a_code_without_vectors_shrinks_only_by_the_smoothing():
    module = quantizer(num_codes=2, decay=0.5, eps=0.1)
    module.codes.copy_(torch.tensor([[1.0, 1.0, 1.0], [9.0, 9.0, 9.0]]))
    module.sums.copy_(module.codes)
    module(torch.ones(4, DIM, dtype=torch.float64))
    assert module.counts.tolist() == [2.5, 0.5]
    smoothed = (0.5 + 0.1) / (3 + 2 * 0.1) * 3
    torch.testing.assert_close(module.codes[1], module.codes.new_full((DIM,), 4.5 / smoothed))


def test_a_direction_without_vectors_stays_however_long():
    module = quantizer(num_codes=2, metric="cosine", decay=0.1)
    module.codes.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    module.sums.copy_(module.codes)
    for _ in range(400):
        module(torch.tensor([[2.0, 0.0, 0.0]], dtype=torch.float64))
    torch.testing.assert_close(module.codes, torch.eye(2, 3, dtype=torch.float64))


@pytest.mark.parametrize("update", UPDATES)
def test_use_is_counted(update):
    module = quantizer(update=update, decay=0.0)
    _, indices, _ = module(batch())
    assert module.counts.tolist() == [indices.tolist().count(k) for k in range(K)]
    share = module.counts / 40
    by_hand = math.exp(-sum(float(p) * math.log(p) for p in share))
    assert float(module.perplexity()) == pytest.approx(by_hand)
    module.counts.copy_(torch.tensor([0.0, 7.0, 0.0, 0.0, 0.0]))
    assert float(module.perplexity()) == pytest.approx(1)
    assert float(quantizer().perplexity()) == pytest.approx(K)


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("metric", METRICS)
def test_evaluation_changes_nothing_and_draws_nothing(metric, update):
    options = {"init": "kmeans", "dead_threshold": 50.0, "update": update, "metric": metric}
    module = quantizer(**options).eval()
    before, random = state(module), torch.get_rng_state()
    first, second = module(batch()), module(batch())
    assert_same_state(state(module), before)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


# --- what must not hurt


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("metric", METRICS)
def test_an_empty_batch(metric, update):
    options = {"init": "kmeans", "dead_threshold": 0.5, "gradient": "rotation"}
    module = quantizer(metric=metric, update=update, **options)
    before = state(module)
    x = torch.empty(0, DIM, requires_grad=True)
    y, indices, loss = module(x)
    assert y.shape == (0, DIM) and indices.shape == (0,) and indices.dtype == torch.int64
    assert loss.detach() == 0
    (loss + y.sum()).backward()
    assert x.grad is not None
    assert all(p.grad is not None and not p.grad.any() for p in module.parameters())
    assert_same_state(state(module), before)


@pytest.mark.parametrize("poison", [math.nan, math.inf])
@pytest.mark.parametrize("metric", METRICS)
def test_vectors_that_are_not_finite_do_not_spoil_the_codebook(metric, poison):
    options = {"metric": metric, "init": "kmeans", "dead_threshold": 3.0, "decay": 0.5}
    module, clean = quantizer(num_codes=9, **options), quantizer(num_codes=9, **options)
    x = batch(12)
    torch.manual_seed(1)
    clean(x)
    x = torch.cat([x, x[:6]])
    x[12:, 1] = poison
    torch.manual_seed(1)
    y, _, loss = module(x)
    assert not y[12:].isfinite().all(dim=1).any() and not loss.isfinite(), "seen by who looks"
    assert torch.equal(y[:12].isfinite(), torch.ones(12, DIM, dtype=torch.bool))
    assert all(value.isfinite().all() for value in module.state_dict().values())
    torch.testing.assert_close(module.counts.clamp(min=3), clean.counts.clamp(min=3))
    module.dead_threshold = 0.0
    before = state(module)
    module(x[12:])
    assert_same_state(state(module), before)


def test_vectors_without_direction():
    module = quantizer(metric="cosine", init="kmeans", dead_threshold=50.0, gradient="rotation")
    x = torch.zeros(6, DIM, dtype=torch.float64)
    x[0] = torch.tensor([3.0, 0.0, 4.0])
    x.requires_grad_()
    for _ in range(3):
        y, _, loss = module(x)
        (grad,) = torch.autograd.grad((y * batch(6)).sum() + loss, x)
        assert grad.isfinite().all() and not grad[1:].any()
    norms = module.codes.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_under_autocast_is_float32_inside(dtype):
    module, reference = (
        VectorQuantizer(num_codes=K, dim=DIM, update=u, init="kmeans") for u in ("ema", "ema")
    )
    x = (100 + batch(200)).to(dtype)
    torch.manual_seed(7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, indices, loss = module(x.requires_grad_())
    torch.manual_seed(7)
    expected, expected_indices, expected_loss = reference(x.detach().float())
    assert y.dtype == dtype and loss.dtype == torch.float32
    assert torch.equal(indices, expected_indices) and torch.equal(loss, expected_loss)
    assert torch.equal(y, expected.to(dtype))
    assert_same_state(state(module), state(reference))
    y.float().square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * y.detach())


@pytest.mark.parametrize("update", UPDATES)
def test_the_codebook_stays_in_float32_in_a_network_of_half_precision(update):
    network = nn.Sequential(nn.Linear(2, DIM), VectorQuantizer(num_codes=K, dim=DIM, update=update))
    before = state(network[1])
    network.bfloat16()
    assert network[0].weight.dtype == torch.bfloat16
    assert_same_state(state(network[1]), before)
    y, _, loss = network(torch.ones(4, 2, dtype=torch.bfloat16))
    assert y.dtype == torch.bfloat16 and loss.dtype == torch.float32


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("metric", METRICS)
def test_a_restored_codebook_goes_on_as_the_first_would(tmp_path, metric, update):
    options = {"metric": metric, "update": update, "init": "kmeans", "dead_threshold": 1.0}
    module = quantizer(**options)
    for step in range(2):
        module(batch(seed=step))
    torch.save(module.state_dict(), tmp_path / "state.pt")
    torch.manual_seed(8)
    other = VectorQuantizer(num_codes=K, dim=DIM, **options).double()
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for each in (module, other):
        torch.manual_seed(9)
        each(batch(seed=5))
    assert_same_state(state(module), state(other))
    assert all(
        v.dtype == torch.float32
        for k, v in VectorQuantizer(num_codes=K, dim=DIM, **options).state_dict().items()
        if k != "initialized"
    )


@pytest.mark.parametrize(
    "options, message",
    [
        ({"update": "sgd"}, "update must be one of ema, learnable; got 'sgd'"),
        ({"metric": "manhattan"}, "metric must be one of euclidean, cosine"),
        ({"gradient": "none"}, "gradient must be one of straight_through, rotation"),
        ({"init": "zeros"}, "init must be one of random, kmeans"),
        ({"num_codes": 0}, "num_codes=0"),
        ({"dim": 0}, "dim=0"),
        ({"decay": 1.0}, "decay=1.0"),
        ({"decay": -0.1}, "decay=-0.1"),
        ({"decay": math.nan}, "decay=nan"),
        ({"eps": 0.0}, "eps=0.0"),
        ({"commitment_weight": -1.0}, "commitment_weight=-1.0"),
        ({"dead_threshold": -1.0}, "dead_threshold=-1.0"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        VectorQuantizer(**{"num_codes": K, "dim": DIM, **options})


@pytest.mark.parametrize(
    "x, got",
    [
        (torch.zeros(4, DIM + 1), r"got \[4, 4\]"),
        (torch.zeros(2, 4, DIM), r"got \[2, 4, 3\]"),
        (torch.zeros(4, DIM, dtype=torch.int64), "torch.int64"),
    ],
)
def test_refuses_other_vectors(x, got):
    with pytest.raises(ValueError, match=got):
        VectorQuantizer(num_codes=K, dim=DIM)(x)
