"""What a network has to do at least: the work of every operator that it calls, whatever it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

import cuda_ops
from cuda_ops.check.floors import Ceilings, Work


class Ledger(TorchDispatchMode):
    """Within the block, notes the work of matrix products and of our operators, backward as well.

    What lies between them (normalization, activation, sums) could be done in passing, and counts
    nothing. Counting waits for the device: it is not to be timed.

    Attributes:
        works: of every call, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        cuda_ops.register_flops()
        self.works: list[Work] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        """Run the operator and note it."""
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None or func.namespace == "pc3d":
            flop = formula(*args, **(kwargs or {}), out_val=result) if formula else 0.0
            leaves = tree_leaves((args, kwargs, result))
            tensors = [leaf for leaf in leaves if torch.is_tensor(leaf)]
            floats = [tensor for tensor in tensors if tensor.is_floating_point()]
            rate = str(floats[0].dtype).removeprefix("torch.") if floats else "float32"
            self.works.append(Work.touching(*tensors, flop=flop, rate=rate))
        return result

    def floor_ms(self, ceilings: Ceilings) -> float:
        """The sum of the floors of all calls."""
        return sum(ceilings.floor_ms(work) for work in self.works)


def work_of(run: Callable[[], object]) -> Ledger:
    """The work of one call."""
    ledger = Ledger()
    with ledger:
        run()
    return ledger
