"""What only a GPU can show: whole networks on it, without waiting, under autocast, in a graph."""

from __future__ import annotations

import pytest
import torch

import cuda_ops
from benchmarks.steps import Problem, build_model
from cuda_ops.runtime import serving
from pc3d.losses import CrossEntropy
from pc3d.sparse import Batch, CoordSet, KernelSpec
from tests.attack import CLOUDS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
MODELS = ["minkunet14a", "voxel_tr_a", "votr_a"]
TRAINED = [*MODELS, "spvcnn_cr0p5", "ptv1"]
CLOUD = "three, one empty"


def batch_on_gpu() -> Batch:
    indices = CLOUDS[CLOUD].indices
    return Problem.random(indices[indices[:, 0] == 0]).batch().to("cuda")


@pytest.mark.parametrize("name", TRAINED)
def test_kernels_agree_with_the_reference(name):
    network, batch = build_model(name).cuda().eval(), batch_on_gpu()
    results = []
    for serve in (None, "reference"):
        batch.voxels.coords.clear()
        network.zero_grad()
        if serve is None:
            logits = network(batch).logits
            logits.square().sum().backward()
        else:
            with serving(serve):
                logits = network(batch).logits
                logits.square().sum().backward()
        grads = [p.grad.clone() for p in network.parameters() if p.grad is not None]
        results.append([logits.detach(), *grads])
    for ours, reference in zip(*results, strict=True):
        scale = reference.abs().max()
        assert (ours - reference).abs().max() <= 1e-3 * scale


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_training_step_does_not_wait(name, dtype):
    """Sizes of levels come with the coordinates from the CPU: not even one copy is needed."""
    network, loss = build_model(name).cuda(), CrossEntropy()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)

    def step(batch: Batch, labels: torch.Tensor) -> None:
        with torch.autocast("cuda", torch.bfloat16, enabled=dtype == torch.bfloat16):
            total = loss(network(batch).logits, labels)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()

    batches = [batch_on_gpu() for _ in range(2)]
    labels = torch.arange(len(batches[0].voxels.coords), device="cuda") % 20
    step(batches[0], labels)  # compiles, and copies offsets of kernels once
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(batches[1], labels)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", MODELS)
def test_inference_in_a_graph(name):
    """An inference step with given maps is captured and gives the same for new features."""
    network, batch = build_model(name).cuda().eval(), batch_on_gpu()
    with torch.no_grad():
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            network(batch)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = network(batch).logits
        batch.voxels.feats.copy_(torch.randn_like(batch.voxels.feats))
        graph.replay()
        assert torch.equal(captured, network(batch).logits)


@pytest.mark.parametrize("name", ["minkunet14a", "voxel_tr_a", "spvcnn_cr0p5", "ptv1"])
def test_training_repeats_bit_for_bit(name):
    network, batch = build_model(name).cuda(), batch_on_gpu()
    runs = []
    for _ in range(2):
        batch.voxels.coords.clear()
        network.zero_grad()
        network(batch).logits.square().sum().backward()
        runs.append([p.grad.clone() for p in network.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_bad_input_leaves_the_stream_usable():
    coords = CoordSet(CLOUDS["two"].indices, 2).to("cuda")
    table = coords.neighbors(KernelSpec(3)).table
    x, weight = torch.ones(len(coords), 8, device="cuda"), torch.ones(27, 8, 8, device="cuda")
    expected = cuda_ops.sparse_conv(x, weight, table)
    with pytest.raises(ValueError, match="one device"):
        cuda_ops.sparse_conv(x.cpu(), weight, table)
    with pytest.raises(ValueError, match="same dtype"):
        cuda_ops.sparse_conv(x, weight.double(), table)
    wrong = table.clone()
    wrong[13, 5] = len(coords)
    with pytest.raises(IndexError, match="names rows"):
        cuda_ops.sparse_conv(x, weight, wrong)
        cuda_ops.synchronize()
    with pytest.raises(torch.cuda.OutOfMemoryError):
        torch.empty(2**50, dtype=torch.uint8, device="cuda")
    cuda_ops.synchronize()
    assert torch.equal(cuda_ops.sparse_conv(x, weight, table), expected)


def test_compiled_by_inductor():
    coords = CoordSet(CLOUDS["two"].indices, 2).to("cuda")
    table = coords.neighbors(KernelSpec(3)).table
    x = torch.randn(len(coords), 16, device="cuda", requires_grad=True)
    weight = torch.randn(27, 16, 16, device="cuda", requires_grad=True)

    def layer(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return cuda_ops.sparse_conv(x, weight, table).relu()

    compiled = torch.compile(layer, fullgraph=True)
    for expected, actual in zip(
        torch.autograd.grad(layer(x, weight).sum(), (x, weight)),
        torch.autograd.grad(compiled(x, weight).sum(), (x, weight)),
        strict=True,
    ):
        torch.testing.assert_close(actual, expected)
