"""A scatter-add whose order of summation is fixed, on every device."""

from __future__ import annotations

from torch import Tensor


def sum_rows(values: Tensor, row: Tensor, num_rows: int) -> Tensor:
    """`out[r] = sum of values[i] where row[i] == r`, the same to the last bit on every run.

    Args:
        values: [M, C] floating point.
        row: [M] int64 in `[0, num_rows)`.
        num_rows: rows of the result.

    Returns:
        [num_rows, C], the dtype of `values`.
    """
    out = values.new_zeros((num_rows, values.shape[1]))
    if values.is_cuda:
        # index_add_ uses atomics there; accumulating index_put_ sorts first.
        return out.index_put_((row,), values, accumulate=True)
    return out.index_add_(0, row, values)
