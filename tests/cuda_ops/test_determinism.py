"""The same bits twice, and which ops give the same bits for any number of threads.

Tables, means and interpolation do. The convolution does not promise it: its matrix products are
BLAS calls, which may split a reduction by threads.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import cuda_ops
from tests.attack import DEVICES

NUM_POINTS, CHANNELS = 3000, 16  # above the 32,768 elements from which torch uses threads


@pytest.fixture
def restore_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def vector_inputs(x: Tensor, table: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Neighbours of no order, in unequal numbers, and weights, values, hidden and lift."""
    neighbors = torch.where(table[::3] >= 0, table[::3].flip(1), -1)
    generator = torch.Generator().manual_seed(1)
    (taps, num), channels = neighbors.shape, x.shape[1]
    shapes = ((num, taps, 2), x.shape, (taps, num, 3), (3, channels))
    made = (torch.randn(*shape, generator=generator).to(x.device) for shape in shapes)
    return neighbors, [tensor.requires_grad_() for tensor in made]


def everything(device: str) -> tuple[list[Tensor], list[Tensor]]:
    """Results of the ops that do not depend on the number of threads, and those that may."""
    generator = torch.Generator().manual_seed(0)
    indices = torch.randint(-9, 9, (NUM_POINTS, 4), generator=generator, dtype=torch.int32)
    indices[:, 0] = indices[:, 0].remainder(3)
    feats = torch.randn(NUM_POINTS, CHANNELS, generator=generator).to(device).requires_grad_()
    weight = torch.randn(27, CHANNELS, CHANNELS, generator=generator).to(device).requires_grad_()
    offsets = torch.cartesian_prod(*[torch.arange(-1, 2, dtype=torch.int32)] * 3).to(device)
    position = indices[:, 1:].to(device) + torch.rand(NUM_POINTS, 3, generator=generator).to(device)

    keys, point2voxel, counts = cuda_ops.voxelize(cuda_ops.morton_encode(indices.to(device)))
    table = cuda_ops.neighbor_table(keys, offsets)
    x = cuda_ops.voxel_mean(feats, point2voxel, counts)
    corners = cuda_ops.trilinear(keys, indices[:, 0].long().to(device), position)
    y = cuda_ops.devoxelize(x, *corners)
    (feats_grad,) = torch.autograd.grad(y.pow(2).sum(), feats, retain_graph=True)
    z = cuda_ops.sparse_conv(x, weight, table, table.flip(0))
    conv_grads = torch.autograd.grad(z.pow(2).sum(), (feats, weight))
    first = cuda_ops.voxel_first(point2voxel, len(keys))
    bounds = torch.tensor([0, 1000, NUM_POINTS], device=device)
    far = cuda_ops.farthest_points(position, bounds, [300, 100])
    nearest = cuda_ops.nearest_neighbors(position, bounds, position, bounds, 5)
    neighbors, leaves = vector_inputs(x.detach(), table)
    attended = cuda_ops.vector_sum(*leaves, neighbors)
    logits = cuda_ops.relation_logits(
        *(x.detach(), x.detach() + 1, *(leaf.detach() for leaf in leaves[2:])),
        *(weight.detach()[0, 0], weight.detach()[0], neighbors),
    )
    vectors = [logits, attended.detach(), *torch.autograd.grad(attended.pow(2).sum(), leaves)]
    exact = [far, *nearest, keys, point2voxel, counts, table, x.detach(), *corners, y.detach()]
    exact += [feats_grad, first, *cuda_ops.down_table(keys)]
    return [*exact, *vectors], [z.detach(), *conv_grads]


@pytest.mark.parametrize("device", DEVICES)
def test_twice_the_same_bits(device):
    for once, again in zip(everything(device), everything(device), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


@pytest.mark.usefixtures("restore_threads")
def test_one_and_two_threads():
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(everything("cpu"))
    (exact, close), (exact_2, close_2) = results
    assert all(torch.equal(a, b) for a, b in zip(exact, exact_2, strict=True))
    for a, b in zip(close, close_2, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(a.abs().max()))
