"""Vector attention against loops over numbers, its gradients, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn.functional import linear, relu

import cuda_ops
from cuda_ops.runtime import serving
from tests.attack import DEVICES, DTYPES, asymmetric, strided
from tests.cuda_ops.test_library import check_compiled
from tests.cuda_ops.vector_problems import SIZES, Attention, attention, loops

SIZE = (7, 11, 4, 12, 3, 3)


def everything(a: Attention) -> dict[str, Tensor]:
    """All results, as `loops` names them."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in a.of_sum[:4]]
    y = cuda_ops.vector_sum(*leaves, a.table)
    grads = torch.autograd.grad(y, leaves, a.grad)
    names = ("weights", "v", "hidden", "lift")
    return {
        "logits": cuda_ops.relation_logits(*a.of_logits),
        "sum": y.detach(),
        **{f"grad_{name}": grad for name, grad in zip(names, grads, strict=True)},
    }


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_equals_loops(size, dtype, device):
    problem = attention(*size).changed(lambda tensor: tensor.to(device, dtype))
    problem = replace(problem, table=problem.table.to(device))
    tolerance = 2e-5 if dtype == torch.float32 else 1e-13
    found = everything(problem)
    for name, expected in loops(size).items():
        assert found[name].dtype == dtype
        actual = found[name].double().cpu()
        torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance, msg=name)


def test_the_reference_serves_float32_too():
    with serving("reference"):
        found = everything(attention(*SIZE).changed(Tensor.float))
    for name, expected in loops(SIZE).items():
        torch.testing.assert_close(found[name].double(), expected, rtol=2e-5, atol=2e-5)


def test_a_point_without_neighbours_gets_zeros():
    problem = attention(*SIZE).changed(Tensor.float)
    alone = int((problem.table < 0).all(dim=0).nonzero()[0])
    found = everything(problem)
    for name in ("logits", "sum", "grad_weights"):
        assert (found[name][alone] == 0).all() and (found[name] != 0).any()


def test_point_transformer_s_layer_with_its_batch_norm_folded():
    """The layer as the paper writes it, with [N, K, C] tensors."""
    torch.manual_seed(0)
    n, taps, c, g = 50, 5, 16, 2
    x, p = torch.randn(n, c, dtype=torch.float64), torch.randn(n, 3, dtype=torch.float64)
    table = torch.randint(n, (taps, n), dtype=torch.int32)
    layers = {"q": (c, c), "k": (c, c), "v": (c, c), "first": (3, 3), "second": (c, 3)}
    layers |= {"narrow": (g, c), "mix": (g, g)}
    w = {name: torch.randn(shape, dtype=torch.float64) for name, shape in layers.items()}
    b = {name: torch.randn(len(w[name]), dtype=torch.float64) for name in layers}
    scale, shift = torch.rand(c, dtype=torch.float64) + 0.5, torch.randn(c, dtype=torch.float64)
    q, k, v = (linear(x, w[name], b[name]) for name in "qkv")
    near = table.T.long()
    hidden = relu(linear(p[near] - p.unsqueeze(1), w["first"], b["first"]))
    delta = linear(hidden, w["second"], b["second"])
    wide = relu((k[near] - q.unsqueeze(1) + delta) * scale + shift)
    after = linear(relu(linear(wide, w["narrow"], b["narrow"])), w["mix"], b["mix"])
    share = after.softmax(dim=1).repeat_interleave(c // g, dim=2)
    expected = ((v[near] + delta) * share).sum(dim=1)

    flat = hidden.transpose(0, 1)
    folded = (q * scale, k * scale, flat, w["second"].T * scale, b["second"] * scale + shift)
    logits = cuda_ops.relation_logits(*folded, w["narrow"].T, table) + b["narrow"]
    weights = linear(relu(logits), w["mix"], b["mix"]).softmax(dim=1)
    y = cuda_ops.vector_sum(weights, v + b["second"], flat, w["second"].T, table)
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [(4, 6, 3, 6, 2, 3), (3, 2, 1, 4, 4, 2)])
def test_gradcheck(size):
    problem = attention(*size)
    table = problem.table
    inputs = [tensor.nan_to_num().requires_grad_() for tensor in problem.of_sum[:4]]
    assert gradcheck(lambda *args: cuda_ops.vector_sum(*args, table), inputs)


def test_gradients_are_of_first_order_and_logits_have_none():
    problem = attention(*SIZE).changed(Tensor.float)
    v = problem.v.requires_grad_()
    y = cuda_ops.vector_sum(problem.weights, v, problem.hidden, problem.lift, problem.table)
    (first,) = torch.autograd.grad(y.pow(2).sum(), v, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivatives"):
        first.sum().backward()
    q = problem.q.requires_grad_()
    logits = cuda_ops.relation_logits(q, *problem.of_logits[1:])
    with pytest.raises(RuntimeError, match="differentiable ops"):
        logits.sum().backward()


def test_memory_layout_and_type_of_the_table_do_not_matter():
    problem = attention(*SIZE).changed(Tensor.float)
    odd = replace(problem.changed(strided), table=strided(problem.table.long()))
    for a, b in zip(everything(problem).values(), everything(odd).values(), strict=True):
        assert torch.equal(a, b)


def test_a_table_changed_in_place_is_sorted_again():
    problem = attention(*SIZE).changed(Tensor.float)
    everything(problem)
    problem.table[:, 1] = problem.table[:, 0]
    problem = replace(problem, weights=problem.weights.nan_to_num())
    fresh = replace(problem, table=problem.table.clone())
    assert torch.equal(everything(problem)["grad_v"], everything(fresh)["grad_v"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype):
    """Parameters in float32 or like the features; logits and gradients of weights stay wide."""
    half = attention(*SIZE).changed(lambda tensor: tensor.to(dtype))
    wide = half.changed(Tensor.float)
    mixed = replace(wide, **{name: getattr(half, name) for name in ("q", "k", "v", "grad")})
    expected = everything(wide)
    for problem, rounded in ((half, {"weights", "hidden", "lift"}), (mixed, set())):
        found = everything(problem)
        assert torch.equal(found.pop("logits"), expected["logits"])
        for name, actual in found.items():
            narrow = name in ("sum", "grad_v") or name.removeprefix("grad_") in rounded
            assert torch.equal(actual, expected[name].to(dtype if narrow else torch.float32)), name


def test_nan_is_not_hidden_by_the_relu():
    """At any channel: in vectors, and after the last whole one."""
    for channel in (0, 20, 39):
        problem = attention(7, 11, 4, 40, 5, 3).changed(Tensor.float)
        problem.k[-1, channel] = torch.nan  # the neighbour of point 0
        assert cuda_ops.relation_logits(*problem.of_logits)[0].isnan().all()


def test_rows_that_are_not_there_are_refused():
    problem = attention(*SIZE).changed(Tensor.float)
    problem.table[2, 5] = 11
    with pytest.raises(IndexError):
        cuda_ops.relation_logits(*problem.of_logits)
    with pytest.raises(IndexError):
        cuda_ops.vector_sum(*problem.of_sum)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"q": torch.ones(7, 11)}, "q and k must be"),
        ({"k": torch.ones(11)}, "q and k must be"),
        ({"k": torch.ones(11, 12).double()}, "q and k must have the same dtype"),
        ({"table": torch.zeros(4, 8).int()}, "table must be"),
        ({"hidden": torch.ones(7, 4, 3)}, "hidden must be"),
        ({"lift": torch.ones(2, 12)}, "lift must be"),
        ({"lift": torch.ones(3, 12).half()}, "lift must have the dtype"),
        ({"bias": torch.ones(1, 12)}, "bias and weight must be"),
        ({"weight": torch.ones(3, 12)}, "bias and weight must be"),
    ],
)
def test_logits_refuse_what_does_not_fit(change, message):
    problem = replace(attention(*SIZE).changed(Tensor.float), **change)
    with pytest.raises(ValueError, match=message):
        cuda_ops.relation_logits(*problem.of_logits)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"v": torch.ones(11)}, "v must be"),
        ({"weights": torch.ones(4, 7, 3)}, "weights must be"),
        ({"weights": torch.ones(7, 4)}, "weights must be"),
        ({"weights": torch.ones(7, 4, 5)}, "5 groups do not divide 12"),
        ({"weights": torch.ones(7, 4, 3).double()}, "weights must have the dtype"),
        ({"table": torch.zeros(7, 4).int()}, "weights must be"),
        ({"table": torch.zeros(7).int()}, "weights must be"),
        ({"hidden": torch.ones(7, 4, 3)}, "hidden must be"),
        ({"lift": torch.ones(3, 11)}, "lift must be"),
    ],
)
def test_sums_refuse_what_does_not_fit(change, message):
    problem = replace(attention(*SIZE).changed(Tensor.float), **change)
    with pytest.raises(ValueError, match=message):
        cuda_ops.vector_sum(*problem.of_sum)


def compiled(weights: Tensor, v: Tensor, hidden: Tensor, lift: Tensor, table: Tensor) -> Tensor:
    with torch.no_grad():
        logits = cuda_ops.relation_logits(
            v[: table.shape[1]], v, hidden, lift, lift[0], lift.T[:, :2], table
        )
    return cuda_ops.vector_sum(weights + logits, v, hidden, lift, table)


def test_compiles_with_its_gradient():
    """One graph for two sizes of points, sources and neighbours."""

    def args(n: int, m: int, taps: int) -> tuple[Tensor, ...]:
        table = (torch.arange(taps * n, dtype=torch.int32) * 7 % (m + 1) - 1).reshape(taps, n)
        shapes = ((n, taps, 2), (m, 8), (taps, n, 3), (3, 8))
        return *(asymmetric(*shape, seed=seed) for seed, shape in enumerate(shapes)), table

    check_compiled(compiled, args(5, 7, 6), args(9, 13, 4))
