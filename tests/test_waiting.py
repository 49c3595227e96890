"""Nothing in a training step waits for a GPU but one copy of the sizes of all levels.

No GPU is needed to see it. What would wait is data that Python, or the shape of a tensor, depends
on: a dispatch mode refuses that on the CPU, and fake tensors refuse it on a GPU that is not there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.utils._python_dispatch import TorchDispatchMode

import cuda_ops
from benchmarks.steps import Problem, build_model
from pc3d.losses import CrossEntropy, Dice, Focal, Lovasz
from pc3d.sparse import Batch, CoordSet, KernelSpec, PointBatch, SparseTensor
from pc3d.sparse import coords as coords_module
from tests.attack import CLOUDS

WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "_unique2", "unique_dim")
WAITING += ("unique_consecutive", "bincount", "equal", "is_nonzero")
MODELS = ["minkunet14a", "voxel_tr_a", "voxel_tr_gumbel", "voxel_tr_fusion", "dwconv_a"]
MODELS += ["spvcnn_cr0p5", "voxel_tr_spv", "ptv1", "ptv1_vq"]
TRAINED = [*MODELS, "voxel_tr_topk", "voxel_tr_vq", "votr_a"]
"""The rest not on a fake GPU: a build of torch for CPUs cannot index there."""


class WaitingError(AssertionError):
    """An operator that waits for a GPU."""


class NoWaiting(TorchDispatchMode):
    """Refuses operators whose result Python waits for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().split("::")[1].split(".")[0]
        by_mask = name in ("index", "index_put", "index_put_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        by_counts = name == "repeat_interleave" and (kwargs or {}).get("output_size") is None
        if name in WAITING or by_mask or by_counts:
            raise WaitingError(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "run",
    [
        lambda x: x[0].item(),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: bool((x > 0).all()),
        lambda x: x.unique(),
        lambda x: torch.repeat_interleave(x, x.long()),
        lambda x: x.long().bincount(),
    ],
)
def test_the_mode_sees_what_waits(run):
    with pytest.raises(WaitingError), NoWaiting():
        run(torch.arange(4.0))


STEPS = [
    *((name, CrossEntropy()) for name in TRAINED),
    *(("minkunet14a", loss) for loss in (Lovasz(), Dice(), Focal())),
]


@pytest.mark.parametrize("name, loss", STEPS)
def test_training_step(name, loss):
    cloud = CLOUDS["three, one empty"]
    batch = Problem.random(cloud.indices[cloud.indices[:, 0] == 0]).batch()
    labels = torch.arange(len(batch.voxels.coords)) % 20 - 1
    network = build_model(name)
    for _ in range(2):  # a vector-quantised codebook waits for its first vectors
        network(batch)
    optimizer = torch.optim.AdamW(network.parameters())
    with NoWaiting():
        output = network(batch)
        total = loss(output.logits, labels) + sum(output.aux_losses.values())
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()  # on the CPU, AdamW counts steps in tensors that it reads


@pytest.fixture
def fake_gpu() -> Iterator[None]:
    """A GPU that has shapes but no content."""
    coords_module._on_device.cache_clear()
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        yield
    coords_module._on_device.cache_clear()


@contextmanager
def autocast(dtype: torch.dtype) -> Iterator[None]:
    """`torch.autocast("cuda", dtype)`, which turns itself off without a GPU."""
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", dtype)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", False)


def fake_coords(name: str = "two") -> CoordSet:
    """Coordinates as `CoordSet.to` leaves them on a GPU."""
    with unset_fake_temporarily():
        coords = CoordSet(CLOUDS[name].indices, CLOUDS[name].batch_size)
        coords._count_levels()
    fake = coords._copy(on_gpu(coords.indices), on_gpu(coords.keys))
    object.__setattr__(fake, "_sizes", coords._sizes)
    return fake


def on_gpu(value: Tensor) -> Tensor:
    return torch.empty_like(value, device="cuda")


def test_maps_of_coordinates_from_the_cpu(fake_gpu):
    """Sizes were counted on the CPU, so that a GPU is not waited for at all."""
    with unset_fake_temporarily():
        expected = cuda_ops.level_sizes(CoordSet(CLOUDS["two"].indices, 2).keys, 5).tolist()
    coords = fake_coords()
    sizes = [len(coords)]
    for _ in range(4):
        coords.neighbors(KernelSpec(3))
        coords, down = coords.down()
        assert down.table.shape == (8, len(coords)) and down.table.device.type == "cuda"
        sizes.append(len(coords))
    assert sizes == expected


def test_maps_of_coordinates_that_are_on_the_gpu_wait_once(fake_gpu, monkeypatch):
    keys = torch.empty(9, dtype=torch.int64, device="cuda")
    coords = CoordSet._trusted(keys, 1, 1)
    with pytest.raises(DataDependentOutputException):
        coords.down()
    waited = []

    def count(self: CoordSet) -> None:
        if not self._sizes:
            waited.append(self)
            object.__setattr__(self, "_sizes", tuple((size,) for size in range(9, 0, -1)))

    monkeypatch.setattr(CoordSet, "_count_levels", count)
    for _ in range(4):
        coords, _ = coords.down()
    assert len(waited) == 1 and len(coords) == 5


@pytest.mark.parametrize("name", MODELS)
def test_inference_under_autocast(name, fake_gpu):
    """Through every op in bfloat16 on a GPU; logits leave in it."""
    with unset_fake_temporarily():
        network = build_model(name).eval()
        batch = Problem.random(CLOUDS["negative"].indices).batch()
    voxels = SparseTensor(coords := fake_coords("negative"), on_gpu(batch.voxels.feats))
    rows = {f.name: getattr(batch.points, f.name) for f in dataclasses.fields(batch.points)}
    rows = {key: on_gpu(value) if torch.is_tensor(value) else value for key, value in rows.items()}
    batch = Batch(PointBatch(**rows), voxels, on_gpu(batch.point2voxel))
    for module in network.modules():
        for held in (module._parameters, module._buffers):
            for key, value in held.items():
                held[key] = None if value is None else on_gpu(value)
    with autocast(torch.bfloat16):
        output = network(batch)
    assert output.logits.dtype == torch.bfloat16
    assert output.logits.shape == (len(coords), 20) and output.logits.device.type == "cuda"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_types_under_autocast(dtype, fake_gpu):
    """Features in half precision, sums of attention's scores in float32, weights as they are."""
    coords = fake_coords()
    table = coords.neighbors(KernelSpec(3)).table
    x = torch.empty(len(coords), 4, device="cuda")
    weight, codes = torch.empty(27, 4, 8, device="cuda"), torch.empty(27, 4, device="cuda")
    index = torch.zeros(8, 5, dtype=torch.int32, device="cuda")
    with autocast(dtype):
        assert cuda_ops.sparse_conv(x, weight, table).dtype == dtype
        assert cuda_ops.codebook_attention(x, None, codes, [table]).dtype == dtype
        dots = cuda_ops.neighbor_dot(x, x, table, 2)
        assert dots.dtype == torch.float32
        assert cuda_ops.neighbor_sum(dots, x, table).dtype == dtype
        assert cuda_ops.devoxelize(x, index, torch.rand(8, 5, device="cuda")).dtype == dtype
    assert cuda_ops.sparse_conv(x, weight, table).dtype == torch.float32
