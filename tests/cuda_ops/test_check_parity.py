"""The check of a machine sees what is wrong: planted bugs turn its parity red."""

from __future__ import annotations

import pytest
import torch

import cuda_ops
from cuda_ops.check import cases, errors, parity
from cuda_ops.check.cases import CASES, FEATURE_CASES, SCENES, SMALL_SCENES, Scene, make_data
from cuda_ops.check.determinism import determinism_section
from cuda_ops.check.errors import Misuse, errors_section, try_misuse
from cuda_ops.check.far import TAIL, Line, check_far
from cuda_ops.check.parity import check_case, check_parity, of_bound, parity_section
from cuda_ops.check.precision import BFLOAT16, FLOAT16, FLOAT32, MIXED, TF32

CPU = torch.device("cpu")
SCENE = SMALL_SCENES[0]
SUBMANIFOLD = FEATURE_CASES["sparse_conv submanifold"]
true_conv, true_attention = cuda_ops.sparse_conv, cuda_ops.codebook_attention


@pytest.mark.slow
def test_every_op_passes_on_every_scene():
    rows = check_parity(CPU, SCENES)
    assert [row for row in rows if not row.passed] == []
    assert {row.op for row in rows} == {*CASES, *FEATURE_CASES}
    assert {row.scene for row in rows} == {scene.name for scene in SCENES}
    section = parity_section(rows)
    assert section.passed and "**FAIL**" not in "\n".join(section.lines())


def test_every_op_is_checked():
    """A new op has to be given a case."""
    named = {name.split(",")[0].split(" ")[0] for name in {*CASES, *FEATURE_CASES}}
    helpers = {"voxel_random", "info", "synchronize", "check_errors", "register_flops"}
    ops = {name for name in cuda_ops.__all__ if name[0].islower()}
    assert ops - helpers == named


def in_half(x, weight, table, table_t=None):
    """What a kernel for half types does: products and sums in float32."""
    if x.dtype not in (torch.float16, torch.bfloat16):
        return true_conv(x, weight, table, table_t)
    return true_conv(x.float(), weight.float(), table, table_t).to(x.dtype)


def one_missing(x, weight, table, table_t=None):
    """One neighbour of one voxel is forgotten, on the way back too."""
    if x.dtype == torch.float64 or len(table) != 27:
        return true_conv(x, weight, table, table_t)
    wrong = table.clone()
    wrong[13, len(x) // 2] = -1
    return in_half(x, weight, wrong, table_t)


def two_taps_swapped(x, weight, table, table_t=None):
    order = torch.arange(27)
    order[[3, 4]] = order[[4, 3]]
    wrong = table if x.dtype == torch.float64 else table[order].contiguous()
    return in_half(x, weight, wrong, table_t)


def last_channel_lost(x, weight, table, table_t=None):
    if x.dtype != torch.float64:
        x = torch.cat([x[:, :-1], torch.zeros_like(x[:, -1:])], dim=1)
    return in_half(x, weight, table, table_t)


@pytest.mark.parametrize(
    "precision", [FLOAT32, FLOAT16, BFLOAT16, MIXED, TF32], ids=lambda p: p.name
)
@pytest.mark.parametrize("bug", [one_missing, two_taps_swapped, last_channel_lost])
def test_a_planted_bug_is_seen_in_every_precision(bug, precision, monkeypatch):
    data = make_data(SCENE)
    monkeypatch.setattr(cuda_ops, "sparse_conv", in_half)
    assert check_case("conv", SUBMANIFOLD, data, SCENE, precision, CPU).passed
    monkeypatch.setattr(cuda_ops, "sparse_conv", bug)
    row = check_case("conv", SUBMANIFOLD, data, SCENE, precision, CPU)
    assert not row.passed and row.of_bound > 2


@pytest.mark.parametrize("op", [name for name in FEATURE_CASES if "conv" in name])
def test_weights_may_be_rounded_to_the_type_of_the_features(op, monkeypatch):
    """As a kernel for tensor cores does; one that rounds float32 as well is seen."""

    def rounding(x, weight, table, table_t=None):
        if x.dtype == torch.float64:
            return true_conv(x, weight, table, table_t)
        return true_conv(x, weight + (weight.bfloat16() - weight).detach(), table, table_t)

    monkeypatch.setattr(cuda_ops, "sparse_conv", rounding)
    data = make_data(SCENE)
    assert check_case(op, FEATURE_CASES[op], data, SCENE, MIXED, CPU).passed
    assert not check_case(op, FEATURE_CASES[op], data, SCENE, FLOAT32, CPU).passed


def test_sums_in_half_precision_are_seen(monkeypatch):
    """Rounding after every tap is not what ops promise."""

    def rounding(x, weight, table, table_t=None):
        if x.dtype != torch.bfloat16:
            return true_conv(x, weight, table, table_t)
        y = torch.zeros(table.shape[1], weight.shape[2], dtype=x.dtype)
        for tap, rows in enumerate(table):
            part = torch.where(rows[:, None] >= 0, x[rows.clamp(min=0).long()], 0) @ weight[tap]
            y = y + part
        return y

    monkeypatch.setattr(cuda_ops, "sparse_conv", rounding)
    assert not check_case("conv", SUBMANIFOLD, make_data(SCENE), SCENE, BFLOAT16, CPU).passed


def test_tf32_is_told_from_float32(monkeypatch):
    """Factors rounded to 10 bits pass as tf32, and not as float32."""

    def short(value):
        bits = value.detach().contiguous().view(torch.int32) & ~0x1FFF
        return value + (bits.view(torch.float32) - value.detach())

    def tensor_cores(x, weight, table, table_t=None):
        if x.dtype == torch.float64:
            return true_conv(x, weight, table, table_t)
        return true_conv(short(x), short(weight), table, table_t)

    monkeypatch.setattr(cuda_ops, "sparse_conv", tensor_cores)
    data = make_data(SCENE)
    assert check_case("conv", SUBMANIFOLD, data, SCENE, TF32, CPU).passed
    assert not check_case("conv", SUBMANIFOLD, data, SCENE, FLOAT32, CPU).passed


def test_an_op_that_assumes_the_order_of_rows_is_seen(monkeypatch):
    """It takes the table of the sorted rows, whatever it is given."""
    scene = Scene("rows permuted", (300, 100), (13, 24), permuted=True)
    data = make_data(scene)
    sorted_table = data["table"]
    case = FEATURE_CASES["sparse_conv submanifold"]
    assert check_case("conv", case, data, scene, FLOAT32, CPU).passed

    def assuming(x, weight, table, table_t=None):
        return true_conv(x, weight, sorted_table, table_t)

    monkeypatch.setattr(cuda_ops, "sparse_conv", assuming)
    assert not check_case("conv", case, data, scene, FLOAT32, CPU).passed


def test_emptied_taps_have_no_neighbour_and_permuted_tables_name_the_same_voxels():
    data = make_data(SCENE)
    empty = cases.emptied(data)
    assert (empty["table"][[3, 23]] == -1).all() and (empty["down"][5] == -1).all()
    assert (data["table"][3] >= 0).any()
    orders = cases.permutations(data)
    moved = cases.permuted(data, orders)
    assert not torch.equal(moved["table"], data["table"])
    row, tap = 5, 13
    before = data["table"][tap, orders["fine"][row]]
    assert torch.equal(moved["x"][moved["table"][tap, row]], data["x"][before])


def test_two_runs_that_differ_are_seen(monkeypatch):
    calls = []

    def noisy(v, choice, codes, tables):
        calls.append(1)
        y = true_attention(v, choice, codes, tables)
        return y if v.dtype == torch.float64 else y * (1 + 1e-7 * (len(calls) % 2))

    monkeypatch.setattr(cuda_ops, "codebook_attention", noisy)
    case = FEATURE_CASES["codebook_attention"]
    row = check_case("attention", case, make_data(SCENE), SCENE, FLOAT32, CPU)
    assert row.of_bound <= 1 and not row.repeatable and not row.passed
    section = determinism_section(CPU, 200)
    assert section.passed is False
    assert ["codebook_attention", "float32"] in section.tables[0].rows


def test_determinism_passes():
    assert determinism_section(CPU, 200).passed


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_a_number_fails(value):
    expected = torch.ones(4, 3, dtype=torch.float64)
    got = expected.float()
    got[2, 1] = value
    assert not of_bound(got, expected, 10) <= 1
    assert of_bound(got[:2], expected, 10) == float("inf")  # another shape


def test_small_values_have_to_be_as_right_as_large_ones():
    """In bfloat16 an element is off by its own rounding, not by that of the largest."""
    expected = torch.tensor([[100.0, 0.5]], dtype=torch.float64)
    assert of_bound(expected.bfloat16(), expected, 1) <= 1
    assert of_bound(torch.tensor([[100.0, 0.6]]).bfloat16(), expected, 1) > 1


def test_the_far_end_of_a_long_line_is_checked(monkeypatch):
    assert all(row.passed for row in check_far(CPU, 1000, FLOAT32))
    line = Line.random(1000, FLOAT32, CPU)
    assert (line.x[: -2 * TAIL] == 0).all() and (line.grad != 0).any(dim=1).all()

    def wrapping(x, weight, table, table_t=None):
        y = true_conv(x, weight, table, table_t)
        return y if x.dtype == torch.float64 else torch.cat([y[:900], y[:100]])

    monkeypatch.setattr(cuda_ops, "sparse_conv", wrapping)
    assert [row.passed for row in check_far(CPU, 1000, FLOAT32)] == [False, True]


def test_wrong_calls_end_in_clear_errors():
    section = errors_section(CPU)
    assert section.passed and len(section.values) >= 8


def raising(error):
    def call():
        raise error

    return call


@pytest.mark.parametrize(
    "call, right",
    [
        (lambda: None, True),  # no error
        (raising(ValueError()), True),  # says nothing
        (raising(KeyError("row")), True),  # of a type that nobody expects
        (raising(RuntimeError("CUDA error: device-side assert triggered")), True),
        (raising(ValueError("the table has rows beyond 5")), False),  # wrong afterwards
    ],
)
def test_unclear_errors_and_lost_devices_fail(call, right):
    assert not try_misuse(Misuse("wrong", call), CPU, lambda: right).passed
    assert try_misuse(Misuse("wrong", raising(ValueError("clear"))), CPU, lambda: True).passed


def test_an_error_that_comes_with_the_synchronization_counts(monkeypatch):
    error = raising(IndexError("rows out of range"))
    monkeypatch.setattr(errors, "synchronize", lambda device: error())
    assert try_misuse(Misuse("wrong", lambda: None, (IndexError,)), CPU, lambda: True).passed


def test_an_error_of_what_is_computed_afterwards_fails():
    outcome = try_misuse(
        Misuse("wrong", raising(ValueError("clear"))), CPU, raising(RuntimeError("lost"))
    )
    assert not outcome.passed and "lost" in outcome.error


def test_failures_are_listed_with_their_scene(monkeypatch):
    monkeypatch.setattr(cuda_ops, "sparse_conv", one_missing)
    section = parity_section(parity.check_parity(CPU, [SCENE]))
    text = "\n".join(section.lines())
    assert section.passed is False
    assert "### Failed" in text and "two clouds" in text.split("### Failed")[1]
