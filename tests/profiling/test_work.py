"""Multiply-adds of whole networks, against pairs that are counted with plain integers."""

from __future__ import annotations

import torch
from torch import nn

from pc3d.models import MinkUNet
from pc3d.nn.conv import PointwiseConv, SparseConv3d
from pc3d.profiling import multiply_adds
from pc3d.profiling.scopes import OUTSIDE, Scope
from pc3d.sparse import Batch, SparseTensor
from tests import oracle
from tests.profiling.scenes import make_batch, small_network


def pairs_of(conv: SparseConv3d, levels: dict[int, list], stride: int) -> int:
    """Neighbours of a convolution whose finer side is at a stride, by set membership."""
    rows = levels[stride]
    if conv.spec.stride == 2:
        return len(rows)  # each voxel has one parent
    table = oracle.neighbor_table(rows, oracle.offsets(conv.spec.size, conv.spec.dilation))
    return sum(row >= 0 for tap in table for row in tap)


def finest_strides(network: MinkUNet, batch: Batch) -> dict[str, int]:
    """Of every module on voxels by its name: the finer stride of what it is given and gives."""
    strides: dict[str, int] = {}
    handles = []
    for name, module in network.named_modules():

        def note(module: nn.Module, given: tuple, result: object, name: str = name) -> None:
            sides = [side for side in (*given, result) if isinstance(side, SparseTensor)]
            if sides:
                strides[name] = min(side.coords.stride for side in sides)

        handles.append(module.register_forward_hook(note))
    with torch.no_grad():
        network(batch)
    for handle in handles:
        handle.remove()
    return strides


def test_every_layer_of_a_network():
    network, batch = small_network().eval(), make_batch()
    levels = {1: oracle.rows_of(batch.voxels.coords.indices)}
    for stride in (2, 4, 8, 16):
        levels[stride] = oracle.coarse_rows(levels[stride // 2])
    expected = {Scope("head"): len(levels[1]) * network.head.weight.numel()}
    for name, stride in finest_strides(network, batch).items():
        module = network.get_submodule(name)
        if isinstance(module, SparseConv3d):
            products = module.in_channels * module.out_channels
            expected[Scope(name)] = pairs_of(module, levels, stride) * products
        elif isinstance(module, PointwiseConv):
            expected[Scope(name)] = len(levels[stride]) * module.weight.numel()
    assert len(expected) > 20
    with torch.no_grad():
        assert multiply_adds(network, lambda: network(batch)) == expected


def test_the_way_back_doubles_what_forward_takes():
    network, batch = small_network(), make_batch()
    forward = multiply_adds(network, lambda: network(batch))
    step = multiply_adds(network, lambda: network(batch).logits.sum().backward())
    stem = sum(macs for scope, macs in forward.items() if scope.module == "backbone.stem.0.conv")
    assert stem > 0, "the first layer has no gradient by its input"
    assert sum(step.values()) == 3 * sum(forward.values()) - stem
    assert step[OUTSIDE] == 2 * sum(forward.values()) - stem
