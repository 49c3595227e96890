"""Bytes by scope, of modules that ask for amounts that are known, and of a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pc3d.profiling import memory_of
from pc3d.profiling.memory import Block, _account
from pc3d.profiling.scopes import OUTSIDE, Scope
from pc3d.profiling.subject import Subject
from tests.profiling.scenes import make_batch, small_network

MIB = 2**20


class Scratch(nn.Module):
    """Needs so many MiB for a moment, and gives one."""

    def __init__(self, mib: int) -> None:
        super().__init__()
        self.mib = mib
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        scratch = torch.empty(self.mib * MIB, dtype=torch.uint8)
        del scratch
        return x.clone()


def test_the_peak_and_who_is_to_blame():
    network = nn.Sequential(Scratch(3), Scratch(8), Scratch(5))
    with torch.no_grad():
        use = memory_of(network, lambda: network(torch.zeros(MIB // 4)))
    # What the first gives is alive while the second works; the input is from before.
    assert use.peak == 9 * MIB + MIB, "the input was made within"
    assert use.at_peak == {Scope("1"): 8 * MIB, Scope("0"): MIB, OUTSIDE: MIB}
    assert use.held == {Scope("2"): MIB}


def test_what_training_holds_until_the_way_back():
    network = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 32))
    x = torch.randn(1000, 64)
    use = memory_of(network, lambda: network(x), lambda y: y.sum().backward())
    rows = 1000 * 4
    # ReLU keeps its result; what the first layer gave is freed, as nobody needs it any more.
    assert use.held == {Scope("1"): 128 * rows, Scope("2"): 32 * rows}
    assert use.peak > sum(use.held.values())
    assert network[0].weight.grad is not None


def test_held_bytes_are_those_that_autograd_saves():
    """The sum of the parts, beside an account by other means, within 5 %."""
    subject, batch, again = Subject(small_network(), make_batch, None), make_batch(), make_batch()
    use = memory_of(subject.network, lambda: subject.loss(batch))
    known = {t.untyped_storage().data_ptr() for t in subject.network.parameters()}
    known |= {again.voxels.feats.untyped_storage().data_ptr()}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if tensor.is_floating_point() and storage.data_ptr() not in known:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = subject.loss(again)
    held = sum(size for scope, size in use.held.items() if not scope.maps)
    assert loss.requires_grad and abs(held / sum(saved.values()) - 1) < 0.05
    maps = sum(size for scope, size in use.held.items() if scope.maps)
    fresh = make_batch().voxels.coords.nbytes
    assert 0.9 * (batch.voxels.coords.nbytes - fresh) <= maps <= 1.6 * batch.voxels.coords.nbytes


def test_blocks_from_before_and_addresses_that_come_back():
    first, second = Scope("a"), Scope("b")
    use = _account(
        [
            Block(1, 500, -70, first),  # given before the account begins
            Block(2, 100, 30, first),
            Block(3, 100, -30, second),  # freed by another
            Block(4, 100, 20, second),  # the same place
            Block(5, 200, 15, OUTSIDE),
            Block(8, 200, -15, OUTSIDE),
            Block(9, 300, 14, first),
        ],
        forward_end=6,
    )
    assert use.peak == 35 and use.at_peak == use.held == {second: 20, OUTSIDE: 15}
    assert _account([], forward_end=1).peak == 0
