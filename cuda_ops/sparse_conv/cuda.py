"""The Triton kernels of this folder, called on tensors."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from cuda_ops.runtime import Gpu, int32
from cuda_ops.sparse_conv.config import Config, config_for, grad_config_for
from cuda_ops.sparse_conv.plan import plan, tap_tiles
from cuda_ops.sparse_conv.tuning import chosen


def sparse_conv(
    gpu: Gpu, x: Tensor, weight: Tensor, table: Tensor, table_t: Tensor | None
) -> Tensor | None:
    """`reference_sparse_conv`; None where Triton does not serve this GPU."""
    if not gpu.has_triton("sparse_conv"):
        return None
    x, weight, table = x.contiguous(), weight.to(x.dtype), int32(table)
    (num_taps, c_in, c_out), num_out = weight.shape, table.shape[1]
    y = x.new_empty(num_out, c_out)
    if min(num_out, len(x), num_taps, c_in, c_out) == 0:
        return y.zero_()
    sizes = (num_out, num_taps, c_in, c_out)

    def run(config: Config) -> None:
        _launch(gpu, x, weight, table, y, config)

    model = config_for(gpu.capability, x.dtype.itemsize, *sizes)
    with gpu.guard():
        run(chosen(gpu, x.dtype, sizes, model, run))
    return y


def _launch(gpu: Gpu, x: Tensor, weight: Tensor, table: Tensor, y: Tensor, config: Config) -> None:
    from cuda_ops.sparse_conv import kernel_triton

    num_taps, c_in, c_out = weight.shape
    order, taps, counts, _ = plan(gpu, table, len(x), config.tile)
    _, stride_in, stride_out = weight.stride()
    grid = (len(taps), -(-c_out // config.columns))
    kernel_triton.conv_kernel[grid](
        *(x, weight, table, order, taps, counts, y),
        *(len(x), len(y), num_taps, c_in, c_out, *weight.stride()),
        TILE=config.tile,
        COLUMNS=config.columns,
        DEPTH=config.depth,
        STEP_IN=math.gcd(stride_in, 16),
        STEP_OUT=math.gcd(stride_out, 16),
        num_warps=config.warps,
        num_stages=config.stages,
        **_arithmetic(x.dtype, c_in, c_out),
    )


def weight_grad(gpu: Gpu, x: Tensor, grad: Tensor, table: Tensor) -> Tensor | None:
    """`reference_weight_grad`, in float32; None where Triton does not serve this GPU."""
    if not gpu.has_triton("sparse_conv"):
        return None
    from cuda_ops.sparse_conv import kernel_triton

    x, grad, table = x.contiguous(), grad.to(x.dtype).contiguous(), int32(table)
    (num_taps, num_out), c_in, c_out = table.shape, x.shape[1], grad.shape[1]
    if min(num_out, len(x), num_taps, c_in, c_out) == 0:
        return x.new_zeros(num_taps, c_in, c_out, dtype=torch.float32)
    sizes = (num_out, num_taps, c_in, c_out)
    config = grad_config_for(gpu.capability, x.dtype.itemsize, *sizes)
    tile = config_for(gpu.capability, x.dtype.itemsize, *sizes).tile
    sums = x.new_empty(config.splits, num_taps, c_in, c_out, dtype=torch.float32)
    blocks = -(-c_in // config.columns_in) * -(-c_out // config.columns_out)
    with gpu.guard():
        order = plan(gpu, table, len(x), tile).order
        tiles, counts = tap_tiles(gpu, table, len(x), tile)
        kernel_triton.weight_grad_kernel[(num_taps, config.splits, blocks)](
            *(x, grad, table, order, tiles, counts, sums),
            *(len(x), num_out, tiles.shape[1], c_in, c_out, config.splits),
            TILE=tile,
            ROWS=config.rows,
            COLUMNS_IN=config.columns_in,
            COLUMNS_OUT=config.columns_out,
            num_warps=config.warps,
            num_stages=config.stages,
            **_arithmetic(x.dtype, c_in, c_out),
        )
    return sums.sum(dim=0)


def _arithmetic(dtype: torch.dtype, c_in: int, c_out: int) -> dict[str, Any]:
    """Constants of both kernels: float32 is exact unless torch is allowed to multiply it in tf32.

    IN and OUT are the powers of two up to 16 that divide the numbers of channels.
    """
    from cuda_ops.sparse_conv.kernel_triton import INTERPRETED

    # However it was said: by this setting, by `allow_tf32`, or by set_float32_matmul_precision.
    tf32 = torch.backends.cuda.matmul.fp32_precision == "tf32"
    upcast = INTERPRETED and dtype == torch.bfloat16
    multiples = {"IN": math.gcd(c_in, 16), "OUT": math.gcd(c_out, 16)}
    return {**multiples, "PRECISION": "tf32" if tf32 else "ieee", "UPCAST": upcast}
