"""Vector attention and the block around it, against loops over points and neighbours."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

import cuda_ops
from pc3d.nn import PointTransformerBlock, VectorAttention
from pc3d.nn.norm import RowNorm
from pc3d.sparse import Neighbors, NeighborSearch
from tests.attack import asymmetric
from tests.sparse.test_point_set import points_of

CHANNELS = 12
WHOLE = torch.float64


def layer(group_channels: int = 4) -> VectorAttention:
    torch.manual_seed(0)
    made = VectorAttention(CHANNELS, group_channels=group_channels).to(WHOLE)
    return settled(made)


def settled(module: nn.Module) -> nn.Module:
    """Norms that have seen data."""
    generator = torch.Generator().manual_seed(1)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d):
            for tensor, low, high in (
                (norm.running_mean, -0.2, 0.2),
                (norm.running_var, 0.5, 2.0),
                (norm.weight.data, -1.5, 1.5),
                (norm.bias.data, -0.2, 0.5),
            ):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
    return module


def neighbors(kind: str, name: str = "two") -> Neighbors:
    radius = 0.7 if kind == "ball" else None
    near = points_of(name).neighbors(NeighborSearch(kind, 5, radius))
    return Neighbors(near.table, near.relative.to(WHOLE), near.pairs)


def loops(attention: VectorAttention, x: Tensor, near: Neighbors) -> Tensor:
    """The formula in the module's docstring, row by row; norms with running statistics."""
    queries, keys = attention.relation(x)
    values, found = attention.values(x), []
    size = CHANNELS // (attention.reduce.out_features)
    for n in range(len(x)):
        taps = [j for j in range(len(near.table)) if near.table[j, n] >= 0]
        rows = near.table[taps, n].long()
        code = attention.lift(attention.position(near.relative[taps, n]))
        relation = keys[rows] - queries[n] + code
        hidden = attention.reduce(attention.norm(relation).relu())
        weights = attention.weigh(hidden).softmax(dim=0).repeat_interleave(size, dim=1)
        found.append((weights * (values[rows] + code)).sum(dim=0))
    return torch.stack(found)


@pytest.mark.parametrize("kind", ["knn", "ball", "voxel"])
@pytest.mark.parametrize("group_channels", [1, 4, 12])
def test_formula(kind, group_channels):
    attention, near = layer(group_channels).eval(), neighbors(kind)
    x = asymmetric(near.table.shape[1], CHANNELS)
    with torch.no_grad():
        expected = loops(attention, x, near)
        torch.testing.assert_close(attention(x, near), expected)  # fused
    torch.testing.assert_close(attention(x, near), expected)  # with gradients


def test_a_missing_neighbour_has_no_part_in_the_statistics_of_norms():
    """What has no neighbours but itself is normalized as if the table had one row."""
    near = neighbors("knn")
    lonely = near.table.clone()
    lonely[1:] = -1
    lonely[0] = torch.arange(lonely.shape[1])
    relative = torch.zeros_like(near.relative)
    relative[0] = asymmetric(lonely.shape[1], 3, seed=2)
    x = asymmetric(lonely.shape[1], CHANNELS)
    pairs = (lonely >= 0).flatten().nonzero().squeeze(1)
    padded, alone = layer().train(), layer().train()
    y = padded(x, Neighbors(lonely, relative, pairs))
    z = alone(x, Neighbors(lonely[:1], relative[:1], None))
    torch.testing.assert_close(y, z)
    for a, b in zip(padded.buffers(), alone.buffers(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("kind", ["knn", "voxel"])
def test_gradients(kind):
    attention, near = layer().eval(), neighbors(kind, "one voxel")
    x = asymmetric(near.table.shape[1], CHANNELS).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: attention(x, near), (x,))
    near = neighbors(kind)
    x = asymmetric(near.table.shape[1], CHANNELS).requires_grad_()
    grad = torch.randn_like(x)
    ours = torch.autograd.grad(attention(x, near), [x, *attention.parameters()], grad)
    theirs = torch.autograd.grad(loops(attention, x, near), [x, *attention.parameters()], grad)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["one voxel", "none", "three, one empty"])
def test_small_and_empty_clouds(name):
    attention, near = layer(), neighbors("knn", name)
    x = asymmetric(near.table.shape[1], CHANNELS)
    for mode in (True, False):
        with torch.no_grad():
            y = attention.train(mode)(x, near)
        assert y.shape == x.shape and torch.isfinite(y).all()


def test_nothing_of_the_size_of_all_pairs_exists_in_inference():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, (tuple, list)) else [out]:
                if isinstance(tensor, Tensor):
                    Largest.size = max(Largest.size, tensor.numel())
            return out

    attention = settled(VectorAttention(64).eval())
    near = points_of("two").neighbors(NeighborSearch("knn", 16))
    num_points = near.table.shape[1]
    x = asymmetric(num_points, 64, dtype=torch.float32)
    with torch.no_grad(), Largest():
        attention(x, near)
    assert Largest.size == num_points * 16 * 8  # a weight for each group of 8 channels


def test_weights_stay_precise_under_autocast(monkeypatch):
    seen, real = [], cuda_ops.vector_sum

    def watched(weights, *others):
        seen.append(weights.dtype)
        return real(weights, *others)

    monkeypatch.setattr(cuda_ops, "vector_sum", watched)
    near = points_of("two").neighbors(NeighborSearch("knn", 5))
    x = asymmetric(near.table.shape[1], CHANNELS, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        VectorAttention(CHANNELS, group_channels=4)(x, near)
    assert seen == [torch.float32]


def test_groups_that_do_not_divide():
    with pytest.raises(ValueError, match="group_channels must divide"):
        VectorAttention(12, group_channels=5)


@pytest.mark.parametrize(("norm", "kind"), [("layer", nn.LayerNorm), ("batch", RowNorm)])
def test_block(norm, kind):
    torch.manual_seed(0)
    attention = partial(VectorAttention, group_channels=4)
    block = PointTransformerBlock(CHANNELS, attention=attention, norm=norm)
    block = settled(block.to(WHOLE)).eval()
    near = neighbors("knn")
    x = asymmetric(near.table.shape[1], CHANNELS)
    y = block.before[1](x @ block.before[0].weight.T).relu()
    y = block.after[0](loops(block.attention, y, near)).relu() @ block.after[2].weight.T
    torch.testing.assert_close(block(x, near), (block.norm(y) + x).relu())
    own = [block.before[1], block.after[0], block.norm]
    assert all(type(module) is kind for module in own)


def test_another_norm_is_refused():
    with pytest.raises(ValueError, match="norm must be one of layer, batch; got 'group'"):
        PointTransformerBlock(CHANNELS, attention=VectorAttention, norm="group")
