"""Seeing what modules inside a network give, for the length of a `with` block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def observe(network: nn.Module, kind: type[nn.Module]) -> Iterator[dict[str, Any]]:
    """Collects the output of every module of a class, by its name within the network.

    The dictionary fills while the network runs within the `with` block; later runs replace earlier
    ones. Nothing stays with the network.
    """
    seen: dict[str, Any] = {}
    handles = []
    for name, module in network.named_modules():
        if isinstance(module, kind):

            def record(module: nn.Module, args: Any, output: Any, name: str = name) -> None:
                seen[name] = output

            handles.append(module.register_forward_hook(record))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
