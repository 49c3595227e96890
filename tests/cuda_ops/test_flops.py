"""What torch's flop counter is told of our ops: two operations for each product in a plain loop."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode, flop_registry

import cuda_ops
from cuda_ops.flops import FLOPS
from cuda_ops.library import OPS

WITHOUT = {
    "farthest_points",
    "lookup",
    "neighbor_transpose",
    "nearest_neighbors",
    "trilinear",
}
POINTS, TAPS, C, GROUPS, HIDDEN = 7, 5, 12, 3, 2


def tables(number: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(number)
    shape = number, TAPS, POINTS
    rows = torch.randint(-POINTS, POINTS, shape, generator=generator, dtype=torch.int32)
    return list(rows.clamp(min=-1))


def found(table: torch.Tensor, tap: int, point: int) -> bool:
    return int(table[tap, point]) >= 0


def loops(table: torch.Tensor):
    return ((k, n) for k in range(TAPS) for n in range(POINTS) if found(table, k, n))


def counted(run) -> int:
    cuda_ops.register_flops()
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def test_a_convolution_forward_and_backward():
    (table,) = tables(1)
    x = torch.randn(POINTS, 4, requires_grad=True)
    weight = torch.randn(TAPS, 4, 6, requires_grad=True)
    products = sum(1 for _ in loops(table) for _ in range(4 * 6))

    def forward():
        return cuda_ops.sparse_conv(x, weight, table, table.flip(0))

    assert counted(forward) == 2 * products
    assert counted(lambda: forward().sum().backward()) == 3 * 2 * products
    x.requires_grad_(False)
    assert counted(lambda: forward().sum().backward()) == 2 * 2 * products


def test_interpolation():
    (index,) = tables(1)
    x = torch.randn(POINTS, C, requires_grad=True)
    products = sum(C for _ in loops(index))
    weight = torch.rand(TAPS, POINTS)
    assert counted(lambda: cuda_ops.devoxelize(x, index, weight)) == 2 * products
    run = lambda: cuda_ops.devoxelize(x, index, weight).sum().backward()  # noqa: E731
    assert counted(run) == 2 * 2 * products


def test_attention_over_neighbours():
    (table,) = tables(1)
    q, k = torch.randn(2, POINTS, C)
    dots = lambda: cuda_ops.neighbor_dot(q, k, table, GROUPS)  # noqa: E731
    assert counted(dots) == 2 * sum(C for _ in loops(table))
    weights = torch.rand(POINTS, TAPS, GROUPS)
    assert counted(lambda: cuda_ops.neighbor_sum(weights, q, table)) == counted(dots)


def test_codebook_attention():
    books = tables(3)
    v = torch.randn(POINTS, C, requires_grad=True)
    choice = torch.rand(POINTS, 3, GROUPS, requires_grad=True)
    codes = torch.randn(3 * TAPS, C, requires_grad=True)
    sums = sum(C for table in books for _ in loops(table))
    mixed = 3 * POINTS * C  # each code's sums times its choice
    run = lambda: cuda_ops.codebook_attention(v, choice, codes, books)  # noqa: E731
    assert counted(run) == 2 * (sums + mixed)
    # By v: the same. By the codes: the choice times the gradient, and its products with v. By the
    # choice: each code's sums once more, and their products with the gradient.
    assert counted(lambda: run().sum().backward()) == 2 * 4 * (sums + mixed)
    alone = lambda: cuda_ops.codebook_attention(v, None, codes, books)  # noqa: E731
    assert counted(alone) == 2 * sums
    assert counted(lambda: alone().sum().backward()) == 2 * 3 * sums


def test_of_a_routed_codebook_only_the_chosen_codes_count():
    books = tables(3)
    chosen = torch.randint(3, (POINTS, GROUPS))
    products = sum(
        C // GROUPS
        for n in range(POINTS)
        for g in range(GROUPS)
        for k in range(TAPS)
        if found(books[chosen[n, g]], k, n)
    )
    v, codes = torch.randn(POINTS, C), torch.randn(3 * TAPS, C)
    run = lambda: cuda_ops.routed_codebook_attention(v, chosen, codes, books)  # noqa: E731
    with torch.no_grad():
        assert counted(run) == 2 * products > 0


def test_vector_attention():
    (table,) = tables(1)
    pairs = sum(1 for _ in loops(table))
    q, k = torch.randn(2, POINTS, C)
    hidden, lift = torch.randn(TAPS, POINTS, HIDDEN), torch.randn(HIDDEN, C)
    weight = torch.randn(C, GROUPS)
    with torch.no_grad():
        logits = lambda: cuda_ops.relation_logits(  # noqa: E731
            q, k, hidden, lift, torch.zeros(C), weight, table
        )
        assert counted(logits) == 2 * pairs * (HIDDEN * C + C * GROUPS)
    leaves = [torch.rand(POINTS, TAPS, GROUPS), k, hidden, lift]
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    run = lambda: cuda_ops.vector_sum(*leaves, table)  # noqa: E731
    lifted = pairs * GROUPS * HIDDEN + POINTS * HIDDEN * C
    assert counted(run) == 2 * (pairs * C + lifted)
    # By weights as forward; by values the pairs; by hidden layer and by lift what lifts.
    backward = (pairs * C + lifted) + pairs * C + lifted + lifted
    assert counted(lambda: run().sum().backward()) == 2 * (pairs * C + lifted) + 2 * backward


def test_every_op_that_sums_products_is_counted():
    silent = {name for name in OPS if name not in FLOPS}
    prefixes = ("morton", "neighbor_table", "down_table", "level", "voxel")
    others = {name for name in silent if not name.startswith(prefixes)}
    assert others == WITHOUT, "give it count_flops, or name it here"
    cuda_ops.register_flops()
    cuda_ops.register_flops()  # again does no harm
    assert all(getattr(torch.ops.pc3d, name) in flop_registry for name in FLOPS)
