"""How much an op computes, for torch's own counter of floating-point operations.

Two operations for every multiplication that is added to a sum, as torch counts a matrix product;
pairs that do not exist count nothing, nor do norms, activations and plain sums.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

FLOPS: dict[str, Callable[..., int]] = {}
"""Operations of a call by the name of the op, from its arguments."""


def count_flops(name: str, multiply_adds: Callable[..., int]) -> None:
    """Say how many multiply-adds a call of the op `name` needs, by a function of its arguments."""
    FLOPS[name] = lambda *args: 2 * multiply_adds(*args)


def register_flops() -> None:
    """Have `torch.utils.flop_counter.FlopCounterMode` count our ops too.

    Not done at import: torch's counter takes half a second to import. Counting looks into tables
    and waits for the device, so that what is counted is not to be timed.
    """
    from torch.utils.flop_counter import flop_registry, register_flop_formula

    for name, formula in FLOPS.items():
        packet = getattr(torch.ops.pc3d, name)
        if packet not in flop_registry:
            register_flop_formula(packet, get_raw=True)(_for_torch(formula))


def _for_torch(formula: Callable[..., int]) -> Callable[..., int]:
    return lambda *args, out_val=None, **kwargs: formula(*args, **kwargs)


def num_pairs(*tables: Tensor) -> int:
    """Entries that are not -1."""
    return sum(int((table >= 0).sum()) for table in tables)
