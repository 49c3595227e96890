"""What `torch.library` promises for every op: schema, fake kernel, compilation, autocast."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import cuda_ops
from cuda_ops.library import OPS
from cuda_ops.runtime import serving
from tests import oracle
from tests.attack import CLOUDS, asymmetric
from tests.cuda_ops.vector_problems import attention as vector_attention


def tables(cloud_name: str = "two") -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """indices, keys, and the tables of the 2x2x2 kernel, whose sets differ in size."""
    cloud = CLOUDS[cloud_name]
    down, up = (torch.tensor(t, dtype=torch.int32) for t in oracle.down_tables(cloud.rows))
    return cloud.indices, torch.tensor([oracle.key(row) for row in cloud.rows]), down, up


def submanifold_tables(cloud_name: str) -> list[Tensor]:
    """Tables of two codes with 7 taps and 1."""
    rows = CLOUDS[cloud_name].rows
    shapes = (oracle.offsets(3, 1, "cross"), oracle.offsets(1))
    return [torch.tensor(oracle.neighbor_table(rows, s), dtype=torch.int32) for s in shapes]


def vector_samples() -> dict[str, tuple[object, ...]]:
    """Arguments for the ops of vector attention."""
    a = vector_attention(4, 6, 3, 6, 2, 3).changed(lambda tensor: tensor.nan_to_num().float())
    leaves = [tensor.clone().requires_grad_() for tensor in a.of_sum[:4]]
    return {
        "relation_logits": a.of_logits,
        "vector_sum": (*leaves, a.table),
        "vector_sum_grad_weights": (a.grad, *a.of_sum[1:], a.groups),
        "vector_sum_grad_v": (a.grad, a.weights, a.table, len(a.v)),
        "vector_sum_grad_hidden": (a.grad, a.weights, a.lift, a.table),
        "vector_sum_grad_lift": (a.grad, a.weights, a.hidden, a.table),
    }


def samples() -> dict[str, tuple[object, ...]]:
    """Arguments for every op, by its name."""
    indices, keys, table, table_t = tables()
    x = asymmetric(len(keys), 3, dtype=torch.float32).requires_grad_()
    y = asymmetric(table.shape[1], 2, dtype=torch.float32)
    weight = asymmetric(8, 3, 2, dtype=torch.float32).requires_grad_()
    point2voxel = torch.tensor([2, 0, 2, 1, 2])
    feats = asymmetric(5, 2, dtype=torch.float32).requires_grad_()
    corner = torch.tensor([[0, 3, -1], [3, 1, -1]], dtype=torch.int32)
    share = asymmetric(2, 3, dtype=torch.float32)
    codes = asymmetric(8, 3, dtype=torch.float32, seed=3).requires_grad_()
    choice = asymmetric(len(keys), 2, 3, dtype=torch.float32, seed=4).requires_grad_()
    attention = (choice, codes, submanifold_tables("two"))
    bounds = torch.tensor([0, len(x)])
    plain = (choice.detach(), codes.detach(), attention[2])
    return {
        "codebook_attention": (x, *attention),
        "codebook_attention_grad_v": (x.detach(), *plain),
        "codebook_attention_grad_codes": (x.detach(), *plain, x.detach() + 1),
        "neighbor_dot": (x, x.detach() + 1, attention[2][0], 3),
        "neighbor_sum": (choice.detach()[:, :1].repeat(1, 7, 1), x, attention[2][0]),
        "neighbor_transpose": (choice.detach()[:, :1].repeat(1, 7, 1), attention[2][0]),
        "routed_codebook_attention": (x.detach(), choice.argmax(dim=1), *plain[1:]),
        **vector_samples(),
        "morton_encode": (indices,),
        "morton_decode": (keys,),
        "lookup": (keys, keys[:5] + 1),
        "nearest_neighbors": (x.detach(), bounds, x.detach() + 0.1, bounds, 3, 0.5),
        "neighbor_table": (keys, torch.tensor(oracle.offsets(3), dtype=torch.int32)),
        "down_table": (keys, None),
        "level_sizes": (keys, 5),
        "devoxelize": (x, corner, share),
        "devoxelize_grad": (asymmetric(3, 2, dtype=torch.float32), corner, share, 5),
        "trilinear": (keys, torch.zeros(4, dtype=torch.int64), torch.rand(4, 3)),
        "farthest_points": (asymmetric(9, 3, dtype=torch.float32), torch.tensor([0, 5, 9]), [3, 2]),
        "sparse_conv": (x, weight, table, table_t),
        "sparse_conv_weight_grad": (x.detach(), y, table),
        "voxelize": (keys.repeat(2),),
        "voxel_mean": (feats, point2voxel, torch.tensor([1, 1, 3])),
        "voxel_representative": (point2voxel, torch.randperm(5), 3),
    }


def test_every_op_has_a_sample_and_is_reported():
    assert set(samples()) == set(OPS)
    assert [row.name for row in cuda_ops.info()] == list(OPS)
    assert all(row.kernel and row.reason for row in cuda_ops.info())


@pytest.mark.parametrize("name", OPS)
def test_opcheck(name):
    torch.library.opcheck(getattr(torch.ops.pc3d, name).default, samples()[name])


def check_compiled(
    function: Callable[..., Tensor], small: tuple[Tensor, ...], large: tuple[Tensor, ...]
) -> None:
    """The compiled function and its gradient equal the eager ones, at two sizes by one graph."""
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend="aot_eager")
    for number, args in enumerate((small, large)):
        with torch._dynamo.config.patch(error_on_recompile=number > 0):
            expected, actual = run(function, args), run(compiled, args)
        for a, b in zip(actual, expected, strict=True):
            assert torch.equal(a, b)


def run(function: Callable[..., Tensor], args: tuple[Tensor, ...]) -> list[Tensor]:
    args = tuple(a.detach().requires_grad_(a.is_floating_point()) for a in args)
    result = function(*args)
    outputs = list(result) if isinstance(result, tuple) else [result]
    leaves = [a for a in args if a.requires_grad]
    if leaves:
        outputs += torch.autograd.grad(outputs[0].pow(2).sum(), leaves)
    return [o.detach() for o in outputs]


def conv_args(name: str) -> tuple[Tensor, ...]:
    _, keys, table, table_t = tables(name)
    return asymmetric(len(keys), 3), asymmetric(8, 3, 2, seed=1), table, table_t


def mean_args(name: str) -> tuple[Tensor, ...]:
    cloud = CLOUDS[name]
    feats = asymmetric(len(cloud.points), 3)
    return feats, torch.tensor(cloud.point2voxel), torch.tensor(cloud.counts)


def devoxelize_args(num_points: int) -> tuple[Tensor, ...]:
    index = torch.arange(2 * num_points, dtype=torch.int32).reshape(2, -1) % 7 - 1
    return asymmetric(6 + num_points, 3), index


def attention_args(name: str) -> tuple[Tensor, ...]:
    tables = submanifold_tables(name)
    num = tables[0].shape[1]
    choice = asymmetric(num, 2, 2, seed=2)
    return asymmetric(num, 4), choice, asymmetric(8, 4, seed=1), *tables


@pytest.mark.parametrize(
    "function, small, large",
    [
        (
            lambda v, choice, codes, *tables: cuda_ops.codebook_attention(v, choice, codes, tables),
            attention_args("negative"),
            attention_args("two"),
        ),
        (cuda_ops.sparse_conv, conv_args("negative"), conv_args("two")),
        (cuda_ops.voxel_mean, mean_args("negative"), mean_args("two")),
        (
            lambda x, index: cuda_ops.devoxelize(x, index, torch.ones_like(index) * 0.5),
            devoxelize_args(5),
            devoxelize_args(9),
        ),
    ],
    ids=["codebook_attention", "sparse_conv", "voxel_mean", "devoxelize"],
)
def test_compiles_with_its_gradient(function, small, large):
    check_compiled(function, small, large)


def table_ops(indices: Tensor) -> tuple[Tensor, ...]:
    """All integer ops in a row; the sizes of voxels and parents are known only from the data."""
    keys, point2voxel, counts = cuda_ops.voxelize(cuda_ops.morton_encode(indices))
    offsets = torch.tensor([[0, 0, -1], [1, 0, 2]], dtype=torch.int32)
    table = cuda_ops.neighbor_table(keys, offsets)
    coarse_keys, down, up = cuda_ops.down_table(keys)
    found = cuda_ops.lookup(coarse_keys, coarse_keys + 1)
    cells = cuda_ops.morton_decode(coarse_keys)
    first = cuda_ops.voxel_first(point2voxel, keys.shape[0])
    index, weight = cuda_ops.trilinear(keys, indices[:, 0].long(), indices[:, 1:] + 0.25)
    return point2voxel, counts, table, down, up, found, cells, first, index, weight


def test_table_ops_compile_with_sizes_that_depend_on_the_data():
    small, large = CLOUDS["negative"].point_indices, CLOUDS["two"].point_indices
    check_compiled(table_ops, (small,), (large,))


@pytest.mark.parametrize("name", ["codebook_attention", "sparse_conv", "voxel_mean", "devoxelize"])
def test_autocast_computes_in_float32(name):
    """bfloat16 inputs under autocast give exactly what their float32 copies give without."""
    op = getattr(cuda_ops, name)
    args = [a.detach() if isinstance(a, Tensor) else a for a in samples()[name]]
    half = [a.bfloat16() if isinstance(a, Tensor) and a.is_floating_point() else a for a in args]
    with torch.autocast("cpu", torch.bfloat16):
        leaf = half[0].requires_grad_()
        out = op(leaf, *half[1:])
    assert out.dtype == torch.float32
    full = [a.float() if isinstance(a, Tensor) and a.is_floating_point() else a for a in half]
    assert torch.equal(out, op(*full))
    out.sum().backward()
    assert leaf.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("name", OPS)
def test_results_are_contiguous_whatever_the_strides_of_arguments(name):
    """A compiler believes the fake kernel: its strides and the kernel's must be the same."""
    op = getattr(torch.ops.pc3d, name).default
    args = [a.detach() if isinstance(a, Tensor) else a for a in samples()[name]]
    odd = [a.T.contiguous().T if isinstance(a, Tensor) and a.ndim == 2 else a for a in args]
    with torch._subclasses.fake_tensor.FakeTensorMode(
        shape_env=torch.fx.experimental.symbolic_shapes.ShapeEnv()
    ) as mode:
        fakes = [
            [mode.from_tensor(t) if isinstance(t, Tensor) else t for t in a]
            if isinstance(a, list)
            else mode.from_tensor(a)
            if isinstance(a, Tensor)
            else a
            for a in odd
        ]
        faked = op(*fakes)
    for serve in ("reference", None):
        with serving(serve) if serve else contextlib.nullcontext():
            found = op(*odd)
        for real, fake in zip(as_tuple(found), as_tuple(faked), strict=True):
            assert real.is_contiguous() and fake.is_contiguous()
            assert real.dtype == fake.dtype


def as_tuple(found: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (found,) if isinstance(found, Tensor) else tuple(found)
