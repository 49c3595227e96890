"""Multiply-adds by scope, from the tensors that operators are really called with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import cuda_ops
from pc3d.profiling.scopes import OUTSIDE, Scope, scopes

Work = dict[Scope, int]


class MultiplyAdds(TorchDispatchMode):
    """Within the block, counts what torch's own flop counter counts, and our ops.

    A pair of voxels counts where it exists. What runs on the way back is counted in the scope that
    starts it, so that of `loss.backward()` only the sum is known.

    Attributes:
        by_scope: multiply-adds so far.
    """

    def __init__(self) -> None:
        super().__init__()
        cuda_ops.register_flops()
        self.by_scope: Work = {}
        self._stack = [OUTSIDE]

    def enter(self, scope: Scope) -> None:
        """For `scopes`."""
        self._stack.append(scope)

    def leave(self) -> None:
        """For `scopes`."""
        self._stack.pop()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        """Run the operator and count."""
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            flops = formula(*args, **(kwargs or {}), out_val=result)
            scope = self._stack[-1]
            self.by_scope[scope] = self.by_scope.get(scope, 0) + int(flops) // 2
        return result


def multiply_adds(network: nn.Module, run: Callable[[], object]) -> Work:
    """Of a call that runs the network, by scope. Gradients are as the caller has set them."""
    counter = MultiplyAdds()
    with counter, scopes(network, counter.enter, counter.leave):
        run()
    return counter.by_scope
