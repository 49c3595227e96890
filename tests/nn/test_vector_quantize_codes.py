"""Where codes come from: k-means of the first batch, and vectors in place of dead codes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from pc3d.nn import vector_quantize
from pc3d.nn.vector_quantize import VectorQuantizer, draw_rows, kmeans, nearest, unit
from tests.attack import asymmetric
from tests.nn.vectors import (
    DIM,
    METRICS,
    UPDATES,
    K,
    assert_same_state,
    batch,
    nearest_by_hand,
    quantizer,
    state,
)

# --- k-means

CENTERS = torch.tensor([[4.0, 0, 0], [0, -7, 0], [0, 0, 3], [-5, 5, 0], [6, 6, 6]]).double()


def blobs(per_blob: int = 30) -> tuple[Tensor, Tensor]:
    """Shuffled rows around `CENTERS`, k more around the k-th than the first, and their means."""
    sizes = torch.arange(K) + per_blob
    label = torch.arange(K).repeat_interleave(sizes)
    rows = CENTERS[label] + 0.05 * asymmetric(len(label), DIM)
    means = torch.stack([rows[label == k].mean(dim=0) for k in range(K)])
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(4))
    return rows[order], means


@pytest.mark.parametrize("seed", range(5))
def test_kmeans_finds_separated_blobs(seed):
    rows, means = blobs()
    torch.manual_seed(seed)
    codes, counts = kmeans(rows, K, spherical=False)
    order = nearest(means, codes)
    torch.testing.assert_close(codes[order], means)
    assert counts[order].tolist() == [30, 31, 32, 33, 34]


@pytest.mark.parametrize("spherical", [False, True])
def test_kmeans_is_ten_steps_of_lloyd(monkeypatch, spherical):
    rows = unit(batch(200)) if spherical else batch(200)
    torch.manual_seed(3)
    found, counts = kmeans(rows, 9, spherical=spherical)
    monkeypatch.setattr(vector_quantize, "KMEANS_ITERATIONS", 0)
    torch.manual_seed(3)
    codes, _ = kmeans(rows, 9, spherical=spherical)
    assert all((rows == code).all(dim=1).any() for code in codes), "seeds are rows"
    assert len(codes.unique(dim=0)) == 9
    for _ in range(10):
        at = torch.tensor(nearest_by_hand(rows, codes))
        codes = torch.stack([rows[at == k].mean(dim=0) for k in range(9)])
        codes = codes / codes.norm(dim=1, keepdim=True) if spherical else codes
    torch.testing.assert_close(found, codes)
    at = nearest_by_hand(rows, codes)
    assert counts.tolist() == [at.count(k) for k in range(9)]


def test_kmeans_of_fewer_rows_than_codes():
    rows = batch(2)
    codes, counts = kmeans(torch.cat([rows, rows[:1]]), K, spherical=False)
    assert {tuple(code) for code in codes.tolist()} == {tuple(row) for row in rows.tolist()}
    assert sorted(counts.tolist()) == [0, 0, 0, 1, 2]


@pytest.mark.parametrize("update", UPDATES)
def test_the_first_batch_in_training_initializes_and_no_other(update):
    module = quantizer(init="kmeans", update=update, decay=0.9)
    before = state(module)
    module.eval()(blobs()[0])
    module.train()(torch.empty(0, DIM, dtype=torch.float64))
    assert_same_state(state(module), before)
    rows, means = blobs()
    y, _, _ = module(rows)
    assert module.initialized
    torch.testing.assert_close(y, means[nearest(rows, means)])
    order = nearest(means, module.codes.detach())
    torch.testing.assert_close(module.codes.detach()[order], means, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(module.counts[order], torch.arange(30.0, 35).double())
    module(rows + 1)
    assert float((module.codes.detach()[order] - means).abs().max()) < 0.2, "an average, no k-means"


def test_a_loaded_codebook_is_not_initialized_again():
    trained, fresh = quantizer(init="kmeans"), quantizer(init="kmeans")
    untrained = state(fresh)
    trained(blobs()[0])
    fresh.load_state_dict(trained.state_dict())
    fresh(batch())
    trained(batch())
    assert_same_state(state(fresh), state(trained))
    fresh.load_state_dict(untrained)
    fresh(blobs()[0])
    torch.testing.assert_close(fresh.codes[nearest(blobs()[1], fresh.codes)], blobs()[1])


def test_many_rows_are_thinned_and_counted_as_all(monkeypatch):
    monkeypatch.setattr(vector_quantize, "KMEANS_ROWS", 8)
    module = quantizer(init="kmeans", decay=0.999999)
    rows, means = blobs(per_blob=198)
    module(rows)
    assert float(module.counts.sum()) == pytest.approx(1000)
    assert len(set(nearest(means, module.codes).tolist())) == K
    near = module.codes[nearest(means, module.codes)]
    torch.testing.assert_close(near, means, rtol=0, atol=0.1)
    assert float((near - means).abs().max()) > 1e-4, "40 rows do not have the means of 1000"


# --- revival


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("metric", METRICS)
def test_dead_codes_become_rows_of_the_batch(metric, update):
    module = quantizer(metric=metric, update=update, decay=0.5, dead_threshold=2.0)
    twin = copy.deepcopy(module)
    twin.dead_threshold = 0.0
    with torch.no_grad():
        for each in (module, twin):
            each.counts.copy_(torch.tensor([0.1, 9.0, 9.0, 0.2, 0.0]))
    x = batch(3).requires_grad_()
    y, indices, loss = module(x)
    for a, b in zip((y, indices, loss), twin(x), strict=True):
        assert torch.equal(a, b), "revived after the vectors chose"
    (y.sum() + loss).backward()  # writing to the codebook did no harm
    dead = twin.counts < 2
    assert dead.tolist() == [True, False, False, True, True]
    alive = [name for name in ("codes", "counts", "sums") if getattr(module, name) is not None]
    for name in alive:
        assert torch.equal(getattr(module, name)[~dead], getattr(twin, name)[~dead]), name
    rows = {tuple(row) for row in (unit(x) if metric == "cosine" else x).tolist()}
    assert {tuple(code) for code in module.codes[dead].tolist()} == rows, "each of the three"
    assert module.counts[dead].tolist() == [2.0] * 3
    if update == "ema":
        assert torch.equal(module.sums[dead], 2 * module.codes[dead])


def test_a_code_at_the_threshold_lives():
    module = quantizer(num_codes=2, decay=0.5, dead_threshold=1.0)
    module.codes.copy_(torch.tensor([[0.0] * DIM, [8.0] * DIM]))
    module.sums.copy_(module.codes)
    module(torch.tensor([[1.0] * DIM, [9.0] * DIM], dtype=torch.float64))
    assert module.counts.tolist() == [1.0, 1.0]
    torch.testing.assert_close(module.codes[:, 0], torch.tensor([0.5, 8.5]).double())


def test_a_revived_code_keeps_its_place_in_the_next_step():
    """Where sums are not reset with the codes, the next average throws them back."""
    module = quantizer(num_codes=2, decay=0.9, dead_threshold=1.0)
    module.codes.copy_(torch.tensor([[0.0, 0.0, 0.0], [90.0, 90.0, 90.0]]))
    module.sums.copy_(module.codes)
    x = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]], dtype=torch.float64)
    module(x)
    assert torch.equal(module.codes[1], x[0])
    module(x)
    torch.testing.assert_close(module.codes[1], x[0], rtol=1e-4, atol=0)


@pytest.mark.parametrize("num", [0, 1, 2])
@pytest.mark.parametrize("update", UPDATES)
def test_fewer_vectors_than_dead_codes(update, num):
    module = quantizer(update=update, dead_threshold=100.0)
    before = module.codes.detach().clone()
    x = batch(num)
    module(x)
    rows = {tuple(row) for row in x.tolist()}
    changed = [k for k in range(K) if tuple(module.codes[k].tolist()) in rows]
    assert len(changed) == num and (module.counts == 100).sum() == num
    if update == "learnable" or not num:
        kept = [k for k in range(K) if k not in changed]
        assert torch.equal(module.codes[kept], before[kept])


@pytest.mark.parametrize("total, num", [(1000, 7), (9, 7), (7, 7), (5, 7), (1, 7), (0, 7), (50, 0)])
def test_drawn_rows_are_different_rows_of_the_batch(total, num):
    rows = draw_rows(torch.tensor(total), torch.tensor(num), 8).tolist()
    drawn = [row for row in rows if row >= 0]
    assert len(rows) == 8 and len(drawn) == min(total, num)
    assert len(set(drawn)) == len(drawn) and all(row < total for row in drawn)
    assert all(row == -1 for row in rows[num:])


def test_every_row_is_drawn_as_often_as_another():
    torch.manual_seed(0)
    total, num, times = torch.tensor(10), torch.tensor(4), 4000
    drawn = torch.cat([draw_rows(total, num, 4) for _ in range(times)])
    often = drawn.bincount(minlength=10) / times
    # Stretches of 2, 3, 2 and 3 rows.
    expected = torch.tensor([1 / 2] * 2 + [1 / 3] * 3 + [1 / 2] * 2 + [1 / 3] * 3)
    torch.testing.assert_close(often, expected, rtol=0, atol=0.04)


def test_the_same_seed_gives_the_same_codebook():
    options = {"init": "kmeans", "dead_threshold": 2.0}

    def trained(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        module = VectorQuantizer(num_codes=16, dim=DIM, **options)
        for step in range(3):
            module(batch(30, seed=step).float())
        return state(module)

    assert_same_state(trained(5), trained(5))
    assert not torch.equal(trained(5)["codes"], trained(6)["codes"])
