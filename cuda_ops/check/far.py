"""Features of more than 2^31 numbers: an index of 32 bits into them would wrap."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import cuda_ops
from cuda_ops.check.cases import with_gradients
from cuda_ops.check.parity import Parity, of_bound, relative_error, same_bits
from cuda_ops.check.precision import BFLOAT16, Precision

CHANNELS = 128
NUM_ROWS = 2**31 // CHANNELS + 300_000
NUM_BYTES = 60 * 10**9
"""Of free memory that it takes: features, results and gradients, and room for copies in float32."""
TAIL = 64
"""Rows at the far end that are compared."""
REACH = 1
TAPS = (-REACH, 0, REACH)


@dataclass(frozen=True)
class Line:
    """Voxels in a line, each a neighbour of the next; only the last rows of `x` are not 0.

    Attributes:
        x: [N, C]; 0 but for the last `2 * TAIL` rows, so that sums over all rows are known.
        grad: [N, C], nowhere 0.
        weight: [3, C, C].
        codes: [3, C].
        table: [3, N].
    """

    x: Tensor
    grad: Tensor
    weight: Tensor
    codes: Tensor
    table: Tensor

    @classmethod
    def random(cls, num_rows: int, precision: Precision, device: torch.device) -> Line:
        """By a fixed seed."""
        generator = torch.Generator(device).manual_seed(0)
        dtype = precision.feats

        def random(*shape: int) -> Tensor:
            return torch.randn(*shape, dtype=dtype, device=device, generator=generator)

        x = torch.zeros(num_rows, CHANNELS, dtype=dtype, device=device)
        x[-2 * TAIL :] = random(2 * TAIL, CHANNELS)
        row = torch.arange(num_rows, dtype=torch.int32, device=device)
        table = torch.stack([row + tap for tap in TAPS])
        table[0, 0] = table[2, -1] = -1
        grad, weight = random(num_rows, CHANNELS), random(3, CHANNELS, CHANNELS)
        return cls(x, grad, weight, random(3, CHANNELS), table)

    def end(self) -> Line:
        """The last `3 * TAIL` rows in float64 on the CPU, as a line of their own."""
        count = 3 * TAIL
        first = len(self.x) - count
        table = self.table[:, -count:].cpu()
        table = torch.where(table >= first, table - first, -1)
        feats = (self.x[-count:], self.grad[-count:], self.weight, self.codes)
        x, grad, weight, codes = (tensor.cpu().double() for tensor in feats)
        return Line(x, grad, weight, codes, table)

    def conv(self) -> list[Tensor]:
        """The last rows of the result and of the gradient of x, and that of the weight."""
        constants = (self.table,)
        y, dx, dw = with_gradients(
            cuda_ops.sparse_conv, self.grad, self.x, self.weight, constants=constants
        )
        return [y[-TAIL:].clone(), dx[-TAIL:].clone(), dw]

    def attention(self) -> list[Tensor]:
        """The same for codebook attention with one code."""
        y, dx, dcodes = with_gradients(
            lambda v, codes: cuda_ops.codebook_attention(v, None, codes, [self.table]),
            *(self.grad, self.x, self.codes),
        )
        return [y[-TAIL:].clone(), dx[-TAIL:].clone(), dcodes]


def fits(device: torch.device) -> bool:
    """Whether the device has the memory."""
    return device.type == "cuda" and torch.cuda.mem_get_info(device)[0] >= NUM_BYTES


def check_far(
    device: torch.device, num_rows: int = NUM_ROWS, precision: Precision = BFLOAT16
) -> list[Parity]:
    """A convolution and codebook attention on a line of `num_rows` voxels, at its far end."""
    line = Line.random(num_rows, precision, device)
    end, rows = line.end(), []
    for op, run in (("sparse_conv", Line.conv), ("codebook_attention", Line.attention)):
        expected, got, again = run(end), run(line), run(line)
        pairs = list(zip(got, expected, strict=True))
        rows.append(
            Parity(
                op,
                scene=f"row {num_rows:,}",
                channels=(CHANNELS, CHANNELS),
                precision=precision.name,
                error=max(relative_error(a, b) for a, b in pairs),
                of_bound=max(of_bound(a, b, 3 * CHANNELS) for a, b in pairs),
                repeatable=all(same_bits(a, b) for a, b in zip(got, again, strict=True)),
            )
        )
    return rows
