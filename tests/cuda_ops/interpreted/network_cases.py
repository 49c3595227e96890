"""Whole networks through the GPU's kernels on a CPU: CUDA emulated, Triton interpreted.

Run by test_triton.py in a process of its own. What is expected is computed first, by the CPU's
kernels; then the GPU's take their place.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.steps import build_model
from cuda_ops import library
from pc3d.models import MinkUNet
from pc3d.sparse import Batch, CoordSet, PointBatch, SparseTensor
from tests.attack import CLOUDS
from tests.cuda_ops.emulation.gpu import EmulatedGpu

CALLED: set[str] = set()
"""Ops that the GPU's kernels served."""


def batch() -> Batch:
    """Two clouds of unequal size, with a point in every voxel."""
    cloud = CLOUDS["two"]
    coords = CoordSet(cloud.indices[::3], cloud.batch_size)
    feats = torch.randn(len(coords), 4, generator=torch.Generator().manual_seed(0))
    counts = coords.indices[:, 0].long().bincount(minlength=2)
    offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    rows = torch.arange(len(coords))
    points = PointBatch(("a", "b"), offsets, coords.indices[:, 1:].float(), torch.zeros(2, 3), rows)
    return Batch(points, SparseTensor(coords, feats), rows)


def minkunet() -> nn.Module:
    torch.manual_seed(0)
    return MinkUNet(
        in_channels=4, num_classes=5, stem_channels=8, widths=[8, 8, 16, 16] * 2, depths=[1] * 8
    )


def voxel_tr() -> nn.Module:
    torch.manual_seed(0)
    return build_model("voxel_tr_t")


def votr() -> nn.Module:
    torch.manual_seed(0)
    return build_model("votr_a")


NETWORKS = {"minkunet": minkunet, "voxel_tr": voxel_tr, "votr": votr}
SERVED = {
    "minkunet": {"sparse_conv", "sparse_conv_weight_grad", "neighbor_table", "down_table"},
    "voxel_tr": {
        "codebook_attention",
        "codebook_attention_grad_v",
        "codebook_attention_grad_codes",
    },
    "votr": {"neighbor_dot", "neighbor_sum", "neighbor_transpose"},
}
"""Ops that must have been served by the GPU's kernels."""


def results(network: nn.Module) -> list[Tensor]:
    """Logits, and gradients of all parameters."""
    logits = network(batch()).logits
    logits.square().sum().backward()
    return [logits.detach(), *(p.grad for p in network.parameters() if p.grad is not None)]


EXPECTED = {name: results(make()) for name, make in NETWORKS.items()}
assert not CALLED


def _take_over(name: str, cuda: Any, gpu: EmulatedGpu) -> None:
    def run(*args: Any) -> Any:
        CALLED.add(name)
        found = cuda(gpu, *args)
        assert found is not None
        return found

    _override.impl(name, run, "CPU")


_override = torch.library.Library("pc3d", "IMPL")
for _name, _cuda in library.CUDA_KERNELS.items():
    _take_over(_name, _cuda, EmulatedGpu())


@pytest.mark.parametrize("name", NETWORKS)
def test_forward_and_backward(name):
    found = results(NETWORKS[name]())
    assert len(found) == len(EXPECTED[name]) > 20
    largest = max(float(expected.abs().max()) for expected in EXPECTED[name])
    for ours, expected in zip(found, EXPECTED[name], strict=True):
        # Some gradients are zero but for roundings: those of biases before a batch norm.
        scale = max(float(expected.abs().max()), 1e-3 * largest)
        assert float((ours - expected).abs().max()) <= 2e-3 * scale
    assert SERVED[name] <= CALLED
