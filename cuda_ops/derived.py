"""What a kernel makes of a table, made once and kept for as long as the table lives."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

T = TypeVar("T")
_known = WeakTensorKeyDictionary()
"""For every table in use: its version, and what was made of it then."""


def derived(table: Tensor, kind: Hashable, make: Callable[[], T]) -> T:
    """What `make` returned for this table before; it is called again if the table has changed.

    Args:
        table: whose content decides the result.
        kind: tells different things made of one table apart.
        make: makes it; must not hold on to the table.
    """
    if table.is_cuda and torch.cuda.is_current_stream_capturing():
        return make()  # nothing is computed yet
    version = None if table.is_inference() else table._version
    known: tuple[int | None, dict[Hashable, Any]] | None = _known.get(table)
    if known is None or known[0] != version:
        known = _known[table] = version, {}
    things = known[1]
    if kind not in things:
        things[kind] = make()
    found: T = things[kind]
    return found
