"""A voxel transformer under DDP, with all regularizers and codes that are split on the way."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pc3d.models import VoxelTransformer
from pc3d.nn import CodebookAttention, VoxelTransformerBlock
from pc3d.sparse import Batch, SparseTensor
from tests.attack import asymmetric, make, random_points
from tests.parity import coords_of

SECONDS = 100.0
STEPS = 4
REGULARIZERS = {"usage": 0.5, "balance": 0.5, "diversity": 2.0, "orthogonality": 2.0}


def network() -> VoxelTransformer:
    torch.manual_seed(0)
    codes, split = [{"dilation": 2}, {}, {"stride": 2}], {"at": (0.5,), "noise": 0.3}
    attention = partial(CodebookAttention, codes=codes, groups=2, choice={}, split=split)
    block = partial(VoxelTransformerBlock, attention=attention)
    sizes = {"widths": [4, 6, 8, 6], "depths": [1, 1, 1, 1], "attention_stages": [1, 2]}
    net = VoxelTransformer(
        in_channels=2, num_classes=3, block=block, regularizers=REGULARIZERS, **sizes
    )
    return net.double()


def batch(rank: int) -> Batch:
    coords = coords_of(make(random_points(90 + 40 * rank, 0, -12, 13, rank), 1))
    return Batch(None, SparseTensor(coords, asymmetric(len(coords), 2, seed=rank)), None)


def loss_of(net: nn.Module, rank: int) -> Tensor:
    output = net(batch(rank))
    assert output.aux_losses.keys() == REGULARIZERS.keys()
    return output.logits.square().mean() + sum(output.aux_losses.values())


def train(net: VoxelTransformer, ranks: tuple[int, ...], forward: nn.Module) -> dict[str, Tensor]:
    """The parameters after some steps of gradient descent, with a split in between."""
    for step in range(STEPS):
        if step == STEPS // 2:
            for layer in net.modules():
                if isinstance(layer, CodebookAttention):
                    layer.split()
        (sum(loss_of(forward, rank) for rank in ranks) / len(ranks)).backward()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter -= 0.1 * parameter.grad
                parameter.grad = None
    return {name: parameter.detach() for name, parameter in net.named_parameters()}


def run_rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    timeout = timedelta(seconds=SECONDS)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=timeout)
    net = network()
    torch.manual_seed(rank)
    # It complains, in the next step, about parameters without a gradient.
    torch.save(train(net, (rank,), DistributedDataParallel(net)), folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_learn_what_one_process_learns_from_both_batches(tmp_path):
    context = mp.spawn(run_rank, (tmp_path,), nprocs=2, join=False)
    net = network()
    expected = train(net, (0, 1), net)
    while not context.join():  # a rank that waits for the other one in vain fails by itself
        pass
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for name, value in expected.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, msg=lambda text, name=name: name + text)
