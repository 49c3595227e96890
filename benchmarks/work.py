"""What a network has to do at least: the work of every operator that it calls, whatever it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cuda_ops.check.floors import Ceilings, Work

MATRIX_PRODUCTS = ("mm", "addmm", "bmm")


class Ledger(TorchDispatchMode):
    """Within the block, notes the work of matrix products and of our operators, backward as well.

    What lies between them (normalization, activation, sums) could be done in passing, and counts
    nothing. Counting waits for the device: it is not to be timed.

    Attributes:
        works: of every call, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.works: list[Work] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        """Run the operator and note it."""
        result = func(*args, **(kwargs or {}))
        namespace, _, name = str(func.name()).partition("::")
        name = name.partition(".")[0]
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if torch.is_tensor(leaf)]
        if namespace == "pc3d" or (namespace == "aten" and name in MATRIX_PRODUCTS):
            floats = [tensor for tensor in tensors if tensor.is_floating_point()]
            rate = str(floats[0].dtype).removeprefix("torch.") if floats else "float32"
            self.works.append(Work.touching(*tensors, flop=flop_of(name, tensors), rate=rate))
        return result

    def floor_ms(self, ceilings: Ceilings) -> float:
        """The sum of the floors of all calls."""
        return sum(ceilings.floor_ms(work) for work in self.works)


def flop_of(name: str, tensors: list[Tensor]) -> float:
    """Useful additions and multiplications of a call.

    Args:
        name: of the operator, without its namespace.
        tensors: arguments and results, in order.
    """
    if name in MATRIX_PRODUCTS:
        left, right = [tensor for tensor in tensors if tensor.ndim == tensors[-1].ndim][:2]
        return 2.0 * left.numel() * right.shape[-1]
    tables = [tensor for tensor in tensors if tensor.dtype == torch.int32 and tensor.ndim == 2]
    if name.startswith("sparse_conv"):
        # Every pair multiplies a row by a matrix: x and weight, or x and the gradient.
        weight = next(tensor for tensor in tensors if tensor.ndim == 3)
        return 2.0 * pairs(tables[0]) * weight.shape[1] * weight.shape[2]
    if "codebook_attention" in name:
        return 2.0 * sum(map(pairs, tables)) * tensors[0].shape[1]
    return 0.0


def pairs(table: Tensor) -> int:
    """Neighbours that exist."""
    return int((table >= 0).sum())


def work_of(run: Callable[[], object]) -> Ledger:
    """The work of one call."""
    ledger = Ledger()
    with ledger:
        run()
    return ledger
